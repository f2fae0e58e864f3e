//! What a server proves by its own reply to `INFO replication`.

use redis::{ServerError, Value};

use super::ancestry::Ancestry;
use super::history::{History, Relation};
use super::info::{Fields, lines};
use super::position::{Position, ReplicationId};
use super::role::Role;
use super::source::EvidenceSource;

/// What a server said of its data at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) source: EvidenceSource,
    /// The server contains all of this history up to this offset.
    pub(crate) position: Position,
    /// The history that this one continues, and the first offset at which they differ. `None` also where the server's word
    /// for it is not good enough.
    pub(crate) earlier: Option<(ReplicationId, u64)>,
}

/// The request that [`evidence_of`] reads the reply of.
pub(crate) const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// What a server reports of itself beside its reply.
pub(crate) type InfoEvidence = Result<Evidence, NoEvidence>;

/// The server does not report its position.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoEvidence {
    /// The server's error, if it refused.
    pub(crate) refusal: Option<ServerError>,
}

/// What evidence says about a position that a caller has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Proof {
    /// The server contains it.
    Contained,
    /// The server does not contain it yet, or does not say enough. Another server may prove it.
    Open,
    /// The history of a master diverged before it: what was written there is lost.
    Lost,
}

impl Evidence {
    /// Reads the text of `INFO replication`. `None`: the server does not say enough, or numbers its writes another way.
    ///
    /// Redis and Valkey name both histories. Dragonfly, whose offset is a sum over shards, names only one. Servers that
    /// replicate in both directions have other roles.
    pub(crate) fn of_info(text: &[u8]) -> Option<Self> {
        let mut said = Fields::default();
        // Every reply to a session's read is read here.
        for (field, value) in lines(text) {
            said.read(field, value);
        }
        let (source, offset) = match said.role? {
            Role::Master => (EvidenceSource::Master, said.written?),
            Role::Replica => {
                let applied = said.applied?;
                let source = EvidenceSource::of_replica(said.link?, said.is_syncing?, said.is_read_only?, applied);
                (source, applied)
            }
        };
        let history = source.believed(said.history_in_full()?, said.has_backlog);
        Some(Self { source, position: Position { history: history.id, offset }, earlier: history.origin() })
    }

    /// Returns the history of the server, as far as its word for it is good enough.
    pub(crate) fn history(&self) -> History {
        let (earlier, diverged_at) = self.earlier.unzip();
        History { id: self.position.history, earlier, diverged_at }
    }

    /// Returns what the server proves of a position, by its own word.
    pub(crate) fn prove(&self, seen: Position) -> Proof {
        match self.history().relate(seen) {
            Relation::Contained if self.source.is_reliable() && self.has_reached(seen) => Proof::Contained,
            // A replica says where it diverged itself, which may be later than its master did.
            Relation::Lost if self.is_master() => Proof::Lost,
            _ => Proof::Open,
        }
    }

    /// Returns whether the server contains a position, by its own word or by what is known of its history. Of a replica
    /// without a link, only its own word counts.
    pub(crate) fn contains(&self, seen: Position, ancestry: &Ancestry) -> bool {
        let is_contained = || ancestry.relate(seen, self.position.history) == Relation::Contained;
        self.prove(seen) == Proof::Contained || (self.is_linked() && self.has_reached(seen) && is_contained())
    }

    pub(crate) fn is_master(&self) -> bool {
        self.source == EvidenceSource::Master
    }

    /// Returns whether the server is a master, or hears one.
    pub(crate) fn is_linked(&self) -> bool {
        self.source.is_linked()
    }

    /// Returns whether the offset is far enough. Offsets go on from one history to the next.
    fn has_reached(&self, seen: Position) -> bool {
        self.position.offset >= seen.offset
    }
}

/// Reads the evidence in the reply to [`INFO`].
pub(crate) fn evidence_of(reply: Value) -> InfoEvidence {
    let evidence = match &reply {
        Value::BulkString(bytes) => Evidence::of_info(bytes),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Evidence::of_info(text.as_bytes()),
        _ => None,
    };
    let refusal = || if let Value::ServerError(error) = reply { Some(error) } else { None };
    evidence.ok_or_else(|| NoEvidence { refusal: refusal() })
}

#[cfg(test)]
impl Evidence {
    /// Makes evidence for a test. Ids are repetitions of one byte.
    pub(crate) fn example(source: EvidenceSource, position: Position, earlier: Option<(u8, u64)>) -> Self {
        let id = |name: u8| ReplicationId::of([name; 20]);
        let earlier = earlier.and_then(|(name, diverged_at)| id(name).map(|id| (id, diverged_at)));
        Self { source, position, earlier }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::at;
    use super::{Ancestry, Evidence, EvidenceSource, Proof};
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use proptest::sample::{Index, select};

    #[test]
    fn the_same_history_proves_by_its_offset() {
        for source in [EvidenceSource::Master, EvidenceSource::Replica, EvidenceSource::LinkDown] {
            let evidence = Evidence::example(source, at(1, 100), None);
            assert_eq!(evidence.prove(at(1, 100)), Proof::Contained);
            assert_eq!(evidence.prove(at(1, 101)), Proof::Open);
            assert_eq!(evidence.prove(at(2, 1)), Proof::Open);
        }
        assert_eq!(Evidence::example(EvidenceSource::Unreliable, at(1, 100), None).prove(at(1, 5)), Proof::Open);
    }

    #[test]
    fn an_earlier_history_counts_up_to_where_they_diverged() {
        let master = Evidence::example(EvidenceSource::Master, at(2, 300), Some((1, 151)));
        assert_eq!(master.prove(at(1, 150)), Proof::Contained);
        assert_eq!(master.prove(at(1, 151)), Proof::Lost);
        let replica = Evidence::example(EvidenceSource::Replica, at(2, 300), Some((1, 151)));
        assert_eq!(replica.prove(at(1, 150)), Proof::Contained);
        assert_eq!(replica.prove(at(1, 151)), Proof::Open, "it says where it diverged itself");
        let behind = Evidence::example(EvidenceSource::Replica, at(2, 120), Some((1, 110)));
        assert_eq!(behind.prove(at(1, 105)), Proof::Contained);
        assert_eq!(behind.prove(at(2, 121)), Proof::Open);
        assert_eq!(
            Evidence::example(EvidenceSource::Unreliable, at(2, 300), Some((1, 151))).prove(at(1, 5)),
            Proof::Open
        );
    }

    const MASTER: &str = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:0101010101010101010101010101010101010101\r\n\
        master_replid2:0202020202020202020202020202020202020202\r\nmaster_repl_offset:84\r\nsecond_repl_offset:51\r\n\
        repl_backlog_active:1\r\n";
    const REPLICA: &str = "role:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:99\r\n\
        slave_repl_offset:70\r\nslave_read_only:1\r\nmaster_replid:0101010101010101010101010101010101010101\r\n\
        master_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:99\r\nsecond_repl_offset:-1\r\n";

    #[test]
    fn info_is_read() {
        assert_eq!(
            Evidence::of_info(MASTER.as_bytes()),
            Some(Evidence::example(EvidenceSource::Master, at(1, 84), Some((2, 51))))
        );
        assert_eq!(
            Evidence::of_info(REPLICA.as_bytes()),
            Some(Evidence::example(EvidenceSource::Replica, at(1, 70), None))
        );
        for (is, may_be) in [("status:up", "status:gone"), ("progress:0", "progress:1"), ("only:1", "only:0")] {
            let unreliable = Evidence::of_info(REPLICA.replace(is, may_be).as_bytes()).unwrap();
            assert_eq!(unreliable.source, EvidenceSource::Unreliable, "{may_be}");
        }
    }

    #[test]
    fn a_replica_without_a_link_proves_by_its_present_history_alone() {
        let down = REPLICA.replace("status:up", "status:down").replace("replid2:00000000", "replid2:02020202");
        let down =
            down.replace("second_repl_offset:-1", "second_repl_offset:51").replace(&"00".repeat(16), &"02".repeat(16));
        let cut = Evidence::of_info(down.as_bytes()).unwrap();
        assert_eq!(cut, Evidence::example(EvidenceSource::LinkDown, at(1, 70), None));
        let ancestry = Ancestry::default();
        ancestry.record(Evidence::example(EvidenceSource::Master, at(1, 300), Some((2, 51))).history());
        assert!(cut.contains(at(1, 70), &ancestry) && !cut.contains(at(1, 71), &ancestry));
        assert!(!cut.contains(at(2, 5), &ancestry), "neither its second id nor what is known of its history");
        let up = Evidence::of_info(down.replace("status:down", "status:up").as_bytes()).unwrap();
        assert!(up.prove(at(2, 5)) == Proof::Contained && up.contains(at(2, 5), &ancestry));
    }

    #[test]
    fn a_replica_that_holds_nothing_prints_offset_1() {
        // Its full resynchronisation failed after the flush, or it loaded the data of another server.
        for (offset, source) in
            [(0, EvidenceSource::Unreliable), (1, EvidenceSource::Unreliable), (2, EvidenceSource::LinkDown)]
        {
            let down = REPLICA.replace("status:up", "status:down");
            let down = down.replace("slave_repl_offset:70", &format!("slave_repl_offset:{offset}"));
            assert_eq!(Evidence::of_info(down.as_bytes()).unwrap().source, source, "{offset}");
        }
    }

    #[test]
    fn a_master_without_a_backlog_is_not_believed_what_it_continues() {
        for text in [MASTER.replace("active:1", "active:0"), MASTER.replace("repl_backlog_active", "x")] {
            let emptied = Evidence::of_info(text.as_bytes()).unwrap();
            assert_eq!(emptied, Evidence::example(EvidenceSource::Master, at(1, 84), None));
            assert_eq!((emptied.prove(at(2, 50)), emptied.prove(at(2, 51))), (Proof::Open, Proof::Open));
        }
    }

    #[test]
    fn what_says_too_little_proves_nothing() {
        // Dragonfly has neither a second id nor its offset; KeyDB's active replicas have a role of their own.
        for (is, may_be) in [
            ("role:master", "role:active-replica"),
            ("master_replid2", "x"),
            ("second_repl_offset", "x"),
            ("master_repl_offset", "x"),
            ("replid:0101", "replid:01"),
        ] {
            assert_eq!(Evidence::of_info(MASTER.replace(is, may_be).as_bytes()), None, "{may_be}");
        }
        for field in ["slave_read_only", "master_link_status", "slave_repl_offset"] {
            assert_eq!(Evidence::of_info(REPLICA.replace(field, "x").as_bytes()), None, "{field}");
        }
        // Dragonfly's replicas call themselves "replica" if they are configured so.
        let dragonfly = REPLICA.replace("role:slave", "role:replica").replace("master_replid2", "x");
        assert_eq!(Evidence::of_info(dragonfly.as_bytes()), None);
        assert_eq!(Evidence::of_info(b""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_is_too_odd(
            text in select(&[MASTER, REPLICA][..]),
            changes in vec((any::<Index>(), any::<u8>()), 0..8),
            cut in any::<Index>(),
            odd in vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = text.as_bytes().to_vec();
            changes.iter().for_each(|(index, byte)| bytes[index.index(text.len())] = *byte);
            bytes.truncate(cut.index(text.len() + 1));
            let said = Evidence::of_info(&bytes);
            prop_assert!(said.is_none_or(|said| said.prove(at(9, u64::MAX)) != Proof::Contained));
            Evidence::of_info(&odd);
            Evidence::of_info(&[&bytes[..], &odd[..]].concat());
        }
    }
}
