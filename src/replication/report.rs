//! What a server says of itself to the monitor.

use std::time::Duration;

use super::history::History;
use super::info::{Fields, lines, number};
use super::position::Position;
use super::role::Role;
use super::source::{EvidenceSource, LinkStatus, holds_what_it_names};
use crate::addr::NodeAddr;

/// A server's own account, as far as it gives one. What rights or a proxy withhold is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) role: Option<Role>,
    /// Names the process. Another process at the same address has another one.
    pub(crate) run_id: Option<Box<str>>,
    pub(crate) zone: Option<Box<str>>,
    /// The server reads its data from disk, and answers nothing else.
    pub(crate) loading: bool,
    pub(crate) history: Option<History>,
    /// The server has a backlog, from which replicas can go on. Without one, what a master says that it continues may be
    /// gone.
    pub(crate) has_backlog: bool,
    /// How many bytes the server has received as a replica since it was started. They stand still while it is a master.
    pub(crate) received: Option<u64>,
    /// What a master has written, or a replica has applied, in bytes.
    pub(crate) offset: Option<u64>,
    /// A replica's link to its master.
    pub(crate) link: Option<Link>,
    /// The replicas that this server lists, as it knows them.
    pub(crate) followers: Vec<NodeAddr>,
}

/// A replica's link to its master.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) master: Option<NodeAddr>,
    pub(crate) is_up: bool,
    pub(crate) is_syncing: bool,
    /// How long the master has been silent, in whole seconds.
    pub(crate) silent_for: Option<Duration>,
}

/// How many replicas are read from a list: more than a set has.
pub(crate) const MOST_FOLLOWERS: usize = 256;
/// The longest name of a host, a zone or a process that is kept, in bytes. A longer one is not known: whatever a server
/// says, it must not fill the memory.
const LONGEST_NAME: usize = 255;

impl Report {
    /// Reads the text of `INFO`, whatever sections it has.
    pub(crate) fn of_info(text: &str) -> Self {
        let (mut report, mut said) = (Self::default(), Fields::default());
        let (mut host, mut port, mut silent_for) = (None, None, None);
        for (field, value) in lines(text.as_bytes()) {
            if said.read(field, value) {
                continue;
            }
            match field {
                b"run_id" => report.run_id = name(value),
                b"availability_zone" => report.zone = name(value),
                b"loading" => report.loading = value == b"1",
                b"total_net_repl_input_bytes" => report.received = number(value),
                b"master_host" => host = std::str::from_utf8(value).ok(),
                b"master_port" => port = number(value),
                b"master_last_io_seconds_ago" => silent_for = number(value).map(Duration::from_secs),
                _ => {
                    report.followers.extend(follower(field, value).filter(|_| report.followers.len() < MOST_FOLLOWERS));
                }
            }
        }
        report.link = (said.role == Some(Role::Replica)).then(|| Link {
            master: host.zip(port).and_then(|(host, port)| addr_of(host, port)),
            is_up: said.link == Some(LinkStatus::Up),
            is_syncing: said.is_syncing == Some(true),
            silent_for,
        });
        let (role, history, offset) = (said.role, said.history(), said.offset());
        Self { role, history, offset, has_backlog: said.has_backlog, ..report }
    }

    /// Makes the report of a replica from its reply to `ROLE`: its master, and whether its link is `connected`, in `sync`,
    /// or none of the two.
    pub(super) fn of_replica_role(master: Option<NodeAddr>, state: Option<&[u8]>, offset: Option<u64>) -> Self {
        let link = state.map(|state| Link {
            master,
            // Dragonfly says `online` or `stable_sync`.
            is_up: matches!(state, b"connected" | b"online" | b"stable_sync"),
            is_syncing: matches!(state, b"sync" | b"full_sync" | b"preparation"),
            silent_for: None,
        });
        Self { role: Some(Role::Replica), link, offset, ..Self::default() }
    }

    /// Makes the report of a master from its reply to `ROLE`: how much it has written, and its replicas.
    pub(super) fn of_master_role(offset: Option<u64>, followers: impl Iterator<Item = NodeAddr>) -> Self {
        let followers = followers.take(MOST_FOLLOWERS).collect();
        Self { role: Some(Role::Master), offset, followers, ..Self::default() }
    }

    /// Returns how far the data of the server is.
    pub(crate) fn position(&self) -> Option<Position> {
        Some(Position { history: self.history?.id, offset: self.offset? })
    }

    /// Returns the history of a master, as far as its word for it is good enough. A replica says nothing about what its
    /// master's history continues.
    pub(crate) fn believed_history(&self) -> Option<History> {
        let is_master = self.role == Some(Role::Master);
        let source = if is_master { EvidenceSource::Master } else { EvidenceSource::Unreliable };
        self.history.map(|history| source.believed(history, self.has_backlog))
    }

    /// Has nobody believe what the server says that its history continues.
    pub(crate) fn distrust(&mut self) {
        self.has_backlog = false;
    }

    /// Returns whether a replica holds the data that its id and offset name. `None`: without a link, it still does if it did.
    pub(crate) fn holds_what_it_names(&self) -> Option<bool> {
        let link = self.link.as_ref()?;
        holds_what_it_names(link.is_up, link.is_syncing, self.offset)
    }

    /// Takes over from an earlier report of the same connection what is asked for only once.
    pub(crate) fn completed_by(mut self, earlier: &Self) -> Self {
        self.received = self.received.or(earlier.received);
        self.run_id = self.run_id.or_else(|| earlier.run_id.clone());
        self.zone = self.zone.or_else(|| earlier.zone.clone());
        self
    }

    /// Translates the addresses that the server names.
    pub(crate) fn translate(&mut self, reachable: impl Fn(&NodeAddr) -> NodeAddr) {
        let master = self.link.as_mut().and_then(|link| link.master.as_mut());
        self.followers.iter_mut().chain(master).for_each(|addr| *addr = reachable(addr));
    }

    /// Returns whether the server does not say that it is cut off from its master, or synchronises.
    pub(crate) fn is_linked(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.is_up && !link.is_syncing)
    }

    /// Returns whether the server says that its master has been silent for longer than this.
    pub(crate) fn hears_nothing_for(&self, time: Duration) -> bool {
        self.link.as_ref().and_then(|link| link.silent_for).is_some_and(|silent| silent > time)
    }

    pub(crate) fn is_syncing(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_syncing)
    }

    /// Returns whether the server names the same role and the same history as before.
    pub(crate) fn has_same_history_as(&self, before: &Self) -> bool {
        let id = |report: &Self| report.history.map(|history| history.id);
        self.role == before.role && id(self) == id(before)
    }

    /// Returns whether two servers say that they have the same history now. What is not known is not the same.
    pub(crate) fn shares_history_with(&self, other: &Self) -> bool {
        self.history.zip(other.history).is_some_and(|(one, two)| one.id == two.id)
    }

    /// Returns how many bytes the node is behind the master; 0 if the master was asked earlier. `None` without a common history.
    pub(crate) fn lag_behind(&self, master: &Self) -> Option<u64> {
        let both = master.offset.zip(self.offset).filter(|_| master.shares_history_with(self));
        both.map(|(master, own)| master.saturating_sub(own))
    }
}

fn name(value: &[u8]) -> Option<Box<str>> {
    let fits = (1..=LONGEST_NAME).contains(&value.len());
    std::str::from_utf8(value).ok().filter(|_| fits).map(Into::into)
}

/// Makes the address that a server names, unless no host can have that name.
pub(crate) fn addr_of(host: &str, port: u16) -> Option<NodeAddr> {
    (host.len() <= LONGEST_NAME).then(|| NodeAddr::tcp(host, port))
}

/// Reads `slave0:ip=10.0.0.2,port=6379,state=online,…`.
fn follower(field: &[u8], value: &[u8]) -> Option<NodeAddr> {
    number::<u32>(field.strip_prefix(b"slave")?)?;
    let value = std::str::from_utf8(value).ok()?;
    let part = |name: &str| value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    addr_of(part("ip")?, part("port")?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::evidence::Evidence;
    use super::super::examples::id;
    use super::{Report, Role};
    use crate::addr::NodeAddr;
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_oneof, proptest};
    use proptest::sample::select;
    use std::time::Duration;

    const MASTER: &str = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=7001,state=online,offset=70,lag=0\r\n\
        master_failover_state:no-failover\r\nmaster_replid:0101010101010101010101010101010101010101\r\n\
        master_replid2:0202020202020202020202020202020202020202\r\nmaster_repl_offset:84\r\nsecond_repl_offset:51\r\n\
        repl_backlog_active:1\r\n";
    const REPLICA: &str = "# Server\r\nrun_id:0123\r\navailability_zone:eu-1a\r\n# Replication\r\nrole:slave\r\nmaster_host:::1\r\nmaster_port:7000\r\nmaster_link_status:up\r\n\
        master_last_io_seconds_ago:3\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:99\r\nslave_repl_offset:70\r\nslave_priority:100\r\nslave_read_only:1\r\n\
        master_replid:0101010101010101010101010101010101010101\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:99\r\nsecond_repl_offset:-1\r\n";

    #[test]
    fn a_master_names_its_histories_and_its_replicas() {
        let report = Report::of_info(MASTER);
        assert_eq!((report.role, report.offset), (Some(Role::Master), Some(84)));
        assert_eq!(report.followers, [NodeAddr::tcp("127.0.0.1", 7001)]);
        let history = report.history.unwrap();
        assert!(history.continues(id(1)) && history.continues(id(2)) && !history.continues(id(3)));
        assert!(report.link.is_none() && report.is_linked());
    }

    #[test]
    fn a_master_without_a_backlog_is_not_believed_what_it_continues() {
        let report = Report::of_info(MASTER);
        assert_eq!(report.believed_history().unwrap().origin(), Some((id(2), 51)));
        let emptied = Report::of_info(&MASTER.replace("active:1", "active:0"));
        assert!(emptied.believed_history().unwrap().origin().is_none() && emptied.history.unwrap().continues(id(2)));
        let mut distrusted = report;
        distrusted.distrust();
        assert_eq!(distrusted.believed_history(), emptied.believed_history());
    }

    #[test]
    fn a_replica_says_what_it_applied_and_how_its_link_is() {
        let report = Report::of_info(REPLICA);
        assert_eq!((report.role, report.offset), (Some(Role::Replica), Some(70)));
        assert_eq!((report.run_id.as_deref(), report.zone.as_deref()), (Some("0123"), Some("eu-1a")));
        assert_eq!(report.history.unwrap().earlier, None);
        let link = report.link.as_ref().unwrap();
        assert_eq!(link.master, Some(NodeAddr::tcp("::1", 7000)));
        assert_eq!(link.silent_for, Some(Duration::from_secs(3)));
        assert!(report.is_linked() && !report.is_syncing());
        assert!(report.shares_history_with(&Report::of_info(MASTER)));
        let cut = Report::of_info(&REPLICA.replace("status:up", "status:down").replace("ago:3", "ago:-1"));
        assert!(!cut.is_linked() && cut.link.unwrap().silent_for.is_none());
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        for text in ["", "nonsense", "role:", "role:sentinel\r\n:\r\nslave:x\r\nslave0:x\r\nslave1:ip=a,port=b"] {
            let report = Report::of_info(text);
            assert_eq!(report, Report::default(), "{text}");
            assert!(!report.shares_history_with(&report) && report.is_linked());
        }
    }

    #[test]
    fn role_names_the_state_of_the_link() {
        for (state, linked, syncing) in
            [("connected", true, false), ("online", true, false), ("sync", false, true), ("connect", false, false)]
        {
            let report = Report::of_replica_role(None, Some(state.as_bytes()), None);
            assert_eq!((report.is_linked(), report.is_syncing()), (linked, syncing), "{state}");
        }
        assert!(Report::of_replica_role(None, None, None).is_linked(), "not known");
    }

    /// Sessions and the monitor must not understand the same text in two ways.
    #[test]
    fn both_readers_of_info_agree() {
        let (one, two, none) = ("a1".repeat(20), "b2".repeat(20), "0".repeat(40));
        let ids = |second: &str, diverged_at: i64| {
            format!(
                "master_replid:{one}\r\nmaster_replid2:{second}\r\nsecond_repl_offset:{diverged_at}\r\nmaster_repl_offset:90\r\n"
            )
        };
        let master = |backlog: u8| format!("role:master\r\nrepl_backlog_active:{backlog}\r\n");
        let replica = |link: &str, is_syncing: u8, applied: u64| {
            format!(
                "role:slave\r\nmaster_link_status:{link}\r\nmaster_sync_in_progress:{is_syncing}\r\nslave_read_only:1\r\nslave_repl_offset:{applied}\r\n"
            )
        };
        for text in [
            master(1) + &ids(&two, 51),
            master(0) + &ids(&two, 51),
            master(1) + &ids(&none, -1),
            replica("up", 0, 70) + &ids(&two, 51),
            replica("down", 0, 70) + &ids(&none, -1),
            replica("down", 0, 1) + &ids(&none, -1),
            replica("down", 1, 70) + &ids(&none, -1),
        ] {
            let (evidence, report) = (Evidence::of_info(text.as_bytes()).unwrap(), Report::of_info(&text));
            assert_eq!(report.position(), Some(evidence.position), "{text}");
            if evidence.is_master() {
                assert_eq!(report.believed_history(), Some(evidence.history()), "{text}");
            } else {
                assert_eq!(report.holds_what_it_names(), evidence.source.holds_what_it_names(), "{text}");
                assert_eq!(report.is_linked(), evidence.is_linked(), "{text}");
            }
        }
    }

    /// How much of a report is kept, in bytes.
    fn size(report: &Report) -> usize {
        format!("{report:?}").len()
    }

    #[test]
    fn what_is_kept_of_a_report_is_bounded() {
        let long = "x".repeat(1 << 20);
        let mut text =
            format!("run_id:{long}\r\navailability_zone:{long}\r\nmaster_replid:{long}\r\nmaster_replid2:{long}\r\n");
        text += &format!("role:slave\r\nmaster_host:{long}\r\nmaster_port:1\r\nslave0:ip={long},port=1\r\n");
        let report = Report::of_info(&text);
        assert!((&report.run_id, &report.zone, &report.history) == (&None, &None, &None), "longer than any name");
        assert!(report.followers.is_empty() && report.link.unwrap().master.is_none());
        let many: String = (0..100_000).map(|n| format!("slave{n}:ip=10.0.0.1,port={}\r\n", n % 60_000 + 1)).collect();
        assert_eq!(Report::of_info(&many).followers.len(), super::MOST_FOLLOWERS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_is_too_odd(lines in vec(line(), 0..40), zone in "\\PC{0,600}") {
            let report = Report::of_info(&lines.join("\r\n"));
            prop_assert!(size(&report) < 20_000);
            prop_assert!(report.zone.as_ref().is_none_or(|zone| zone.len() <= super::LONGEST_NAME));
            prop_assert!(!report.shares_history_with(&report) || report.history.is_some());
            prop_assert!(report.position().is_none() || report.history.is_some());
            prop_assert!(report.believed_history().is_none() || report.history.is_some());
            prop_assert!(report.is_linked() || report.link.is_some());
            let report = Report::of_info(&format!("availability_zone:{zone}"));
            prop_assert!(size(&report) < 20_000);
        }
    }

    /// A line of INFO, most of them with a field that counts and a value that fits or does not.
    fn line() -> impl Strategy<Value = String> {
        let fields = [
            "role",
            "run_id",
            "availability_zone",
            "loading",
            "master_replid",
            "master_replid2",
            "second_repl_offset",
            "master_repl_offset",
            "slave_repl_offset",
            "master_host",
            "master_port",
            "master_link_status",
            "master_sync_in_progress",
            "master_last_io_seconds_ago",
            "slave0",
            "slave4294967296",
            "slave-1",
            "slaveé",
        ];
        let values =
            ["master", "slave", "up", "1", "-1", "18446744073709551616", "ip=::1,port=1", "ip=,port=65536", ""];
        let value = prop_oneof![select(values.to_vec()).prop_map(str::to_owned), "\\PC{0,40}", "[0-9a-f]{39,41}"];
        prop_oneof![4 => (select(fields.to_vec()), value).prop_map(|(field, value)| format!("{field}:{value}")), 1 => "\\PC{0,40}"]
    }
}
