//! What a server proves by its own reply to `INFO replication`.

use std::str::FromStr;

use super::{Ancestry, Position, Relation, ReplicationId};

/// What a server said of its data at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) source: EvidenceSource,
    /// What it contains: all of this history up to this offset.
    pub(crate) position: Position,
    /// The history that this one continues, and the first offset at which they differ. `None` also where the server's word
    /// for it is not good enough.
    pub(crate) earlier: Option<(ReplicationId, u64)>,
}

/// The offset that a replica without a link prints when it holds no data that it could name.
///
/// Whatever drops or swaps the data of a replica first forgets the id and the offset that belong to it. `INFO` then prints
/// this number, beside an id that says nothing any more.
const NO_OFFSET: u64 = 1;

/// From where a server speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EvidenceSource {
    Master,
    /// A replica that receives what its master writes and takes no writes of its own.
    Replica,
    /// A replica without a link to its master that still holds what it had applied, and takes no writes of its own.
    LinkDown,
    /// A replica that synchronises, takes writes of its own, or holds nothing for sure: its offset proves nothing.
    Unreliable,
}

/// What evidence says about a position that a caller has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Proof {
    /// The server contains it.
    Contained,
    /// Not yet, or nobody can tell from here: another server may.
    Open,
    /// A master went another way before it: what was written there is lost.
    Lost,
}

impl Evidence {
    /// Reads the text of `INFO replication`. `None`: the server does not say enough, or numbers its writes another way.
    ///
    /// Redis and Valkey tell both histories; Dragonfly, whose offset is a sum over shards, and servers that replicate in
    /// both directions do not say so, or give other roles.
    pub(crate) fn of_info(text: &[u8]) -> Option<Self> {
        let (mut role, mut id, mut earlier, mut parted_at) = (None, None, None, None);
        let (mut written, mut applied, mut link, mut is_syncing, mut is_read_only) = (None, None, None, None, None);
        let mut has_backlog = false;
        // Every reply to a session's read is read here: the lines are short, and few of them matter.
        for line in text.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (field, value) = (&line[..colon], line[colon + 1..].trim_ascii_end());
            match field {
                b"role" => role = Some(value),
                b"master_replid" => id = ReplicationId::of_digits(value),
                b"master_replid2" => earlier = Some(ReplicationId::of_digits(value)),
                b"second_repl_offset" => parted_at = number::<i64>(value),
                b"master_repl_offset" => written = number(value),
                // Not `slave_read_repl_offset`: that was read from the socket, and may not be applied.
                b"slave_repl_offset" => applied = number(value),
                b"master_link_status" => link = Some(value),
                b"master_sync_in_progress" => is_syncing = Some(value),
                b"slave_read_only" => is_read_only = Some(value),
                b"repl_backlog_active" => has_backlog = value == b"1",
                _ => {}
            }
        }
        let (source, offset) = match role? {
            b"master" => (EvidenceSource::Master, written?),
            b"slave" => {
                let offset = applied?;
                let source = match (link?, is_syncing?, is_read_only?) {
                    (b"up", b"0", b"1") => EvidenceSource::Replica,
                    (b"down", b"0", b"1") if offset > NO_OFFSET => EvidenceSource::LinkDown,
                    _ => EvidenceSource::Unreliable,
                };
                (source, offset)
            }
            _ => return None,
        };
        // Both are always there, with all zeros and -1 where there is none.
        let earlier = earlier?.zip(u64::try_from(parted_at?).ok());
        let earlier = earlier.filter(|_| match source {
            // One whose full resynchronisation was cut short has dropped its data and its backlog. When it is promoted, it
            // claims the history that it had before, all of it.
            EvidenceSource::Master => has_backlog,
            EvidenceSource::Replica => true,
            // The same, promoted and cut off again.
            EvidenceSource::LinkDown | EvidenceSource::Unreliable => false,
        });
        Some(Self { source, position: Position { history: id?, offset }, earlier })
    }

    /// Says whether the server contains all up to this position.
    pub(crate) fn prove(&self, seen: Position) -> Proof {
        let Position { history, offset } = self.position;
        let is_earlier = self.earlier.filter(|(earlier, _)| *earlier == seen.history && history != seen.history);
        match is_earlier {
            // A lagging replica's parting is its own; only a master's word says what is lost.
            Some((_, parted_at)) if seen.offset >= parted_at && self.is_master() => Proof::Lost,
            Some((_, parted_at)) if seen.offset < parted_at && self.is_reliable() && offset >= seen.offset => {
                Proof::Contained
            }
            None if history == seen.history && self.is_reliable() && offset >= seen.offset => Proof::Contained,
            _ => Proof::Open,
        }
    }

    /// Says whether the server contains a position, by its own word or by what is known of its history. Of a replica without a
    /// link, only its own word counts.
    pub(crate) fn contains(&self, seen: Position, ancestry: &Ancestry) -> bool {
        let is_descendant = || {
            self.is_linked()
                && self.position.offset >= seen.offset
                && ancestry.relate(seen, self.position.history) == Relation::Contained
        };
        self.prove(seen) == Proof::Contained || is_descendant()
    }

    pub(crate) fn is_master(&self) -> bool {
        self.source == EvidenceSource::Master
    }

    /// Returns whether the server is a master, or hears one.
    pub(crate) fn is_linked(&self) -> bool {
        matches!(self.source, EvidenceSource::Master | EvidenceSource::Replica)
    }

    fn is_reliable(&self) -> bool {
        self.source != EvidenceSource::Unreliable
    }
}

fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Evidence, EvidenceSource, Proof};
    use crate::replication::{Ancestry, Position, ReplicationId};
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
    use proptest::sample::{Index, select};

    pub(crate) fn history(name: u8) -> ReplicationId {
        ReplicationId::of([name; 20]).unwrap()
    }

    pub(crate) fn at(name: u8, offset: u64) -> Position {
        Position { history: history(name), offset }
    }

    pub(crate) fn evidence(source: EvidenceSource, position: Position, earlier: Option<(u8, u64)>) -> Evidence {
        Evidence { source, position, earlier: earlier.map(|(name, parted_at)| (history(name), parted_at)) }
    }

    #[test]
    fn the_same_history_proves_by_its_offset() {
        for source in [EvidenceSource::Master, EvidenceSource::Replica, EvidenceSource::LinkDown] {
            let evidence = evidence(source, at(1, 100), None);
            assert_eq!(evidence.prove(at(1, 100)), Proof::Contained);
            assert_eq!(evidence.prove(at(1, 101)), Proof::Open);
            assert_eq!(evidence.prove(at(2, 1)), Proof::Open);
        }
        assert_eq!(evidence(EvidenceSource::Unreliable, at(1, 100), None).prove(at(1, 5)), Proof::Open);
    }

    #[test]
    fn an_earlier_history_counts_up_to_where_they_parted() {
        let master = evidence(EvidenceSource::Master, at(2, 300), Some((1, 151)));
        assert_eq!(master.prove(at(1, 150)), Proof::Contained);
        assert_eq!(master.prove(at(1, 151)), Proof::Lost);
        let replica = evidence(EvidenceSource::Replica, at(2, 300), Some((1, 151)));
        assert_eq!(replica.prove(at(1, 150)), Proof::Contained);
        assert_eq!(replica.prove(at(1, 151)), Proof::Open, "its parting is its own");
        let behind = evidence(EvidenceSource::Replica, at(2, 120), Some((1, 110)));
        assert_eq!(behind.prove(at(1, 105)), Proof::Contained);
        assert_eq!(behind.prove(at(2, 121)), Proof::Open);
        assert_eq!(evidence(EvidenceSource::Unreliable, at(2, 300), Some((1, 151))).prove(at(1, 5)), Proof::Open);
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
            Some(evidence(EvidenceSource::Master, at(1, 84), Some((2, 51))))
        );
        assert_eq!(Evidence::of_info(REPLICA.as_bytes()), Some(evidence(EvidenceSource::Replica, at(1, 70), None)));
        for (is, may_be) in [("status:up", "status:gone"), ("progress:0", "progress:1"), ("only:1", "only:0")] {
            let adrift = Evidence::of_info(REPLICA.replace(is, may_be).as_bytes()).unwrap();
            assert_eq!(adrift.source, EvidenceSource::Unreliable, "{may_be}");
        }
    }

    #[test]
    fn a_replica_without_a_link_proves_by_its_present_history_alone() {
        let down = REPLICA.replace("status:up", "status:down").replace("replid2:00000000", "replid2:02020202");
        let down =
            down.replace("second_repl_offset:-1", "second_repl_offset:51").replace(&"00".repeat(16), &"02".repeat(16));
        let cut = Evidence::of_info(down.as_bytes()).unwrap();
        assert_eq!(cut, evidence(EvidenceSource::LinkDown, at(1, 70), None));
        let ancestry = Ancestry::default();
        ancestry.note(&evidence(EvidenceSource::Master, at(1, 300), Some((2, 51))));
        assert!(cut.contains(at(1, 70), &ancestry) && !cut.contains(at(1, 71), &ancestry));
        assert!(!cut.contains(at(2, 5), &ancestry), "neither its second id nor what is known of its history");
        let up = Evidence::of_info(down.replace("status:down", "status:up").as_bytes()).unwrap();
        assert!(up.prove(at(2, 5)) == Proof::Contained && up.contains(at(2, 5), &ancestry));
    }

    #[test]
    fn a_replica_that_holds_nothing_prints_offset_1() {
        // Its full resynchronisation failed behind the flush, or what it loaded is somebody else's.
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
            assert_eq!(emptied, evidence(EvidenceSource::Master, at(1, 84), None));
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
