//! What a server says of itself: its role, its place in the replication, its history.

use std::time::Duration;

use super::Role;
use crate::addr::NodeAddr;
use crate::replication::{Position, ReplicationId};

/// A server's own account, as far as it gives one: whatever rights or a proxy withhold is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) role: Option<Role>,
    /// Names the process: another one at the same address has another.
    pub(crate) run_id: Option<Box<str>>,
    pub(crate) zone: Option<Box<str>>,
    /// It reads its data from disk, and answers nothing else.
    pub(crate) loading: bool,
    pub(crate) history: Option<History>,
    /// It has a backlog, out of which replicas can go on: without one, what a master says that it continues may be gone.
    pub(crate) has_backlog: bool,
    /// How many bytes it has received as a replica since it was started; they stand still while it is a master.
    pub(crate) received: Option<u64>,
    /// What a master has written, or a replica has applied, in bytes.
    pub(crate) offset: Option<u64>,
    /// A replica's link to its master.
    pub(crate) link: Option<Link>,
    /// The replicas that this node lists, as it knows them.
    pub(crate) followers: Vec<NodeAddr>,
}

/// The names of a replication history: who shares one shares its data up to the smaller offset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    pub(crate) id: Box<str>,
    /// The history that this one continues.
    pub(crate) earlier: Option<Box<str>>,
    /// The first offset at which it went another way than that one.
    pub(crate) parted_at: Option<u64>,
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
/// The longest name that is kept, in bytes: of a host, a zone, a process or a history. Longer ones are none: whatever a server
/// says, it must not fill the memory.
const LONGEST_NAME: usize = 255;

impl Report {
    /// Reads the text of `INFO`, whatever sections it has.
    pub(crate) fn of_info(text: &str) -> Self {
        let mut report = Self::default();
        let mut link = Link { master: None, is_up: false, is_syncing: false, silent_for: None };
        let (mut host, mut port, mut earlier, mut parted_at) = (None, None, None, None);
        let (mut written, mut applied) = (None, None);
        for (field, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match field {
                "role" => report.role = role_of(value),
                "run_id" => report.run_id = name(value),
                "availability_zone" => report.zone = name(value),
                "loading" => report.loading = value == "1",
                "master_replid" => {
                    report.history = name(value).map(|id| History { id, earlier: None, parted_at: None })
                }
                // All zeros: it continues nothing.
                "master_replid2" => earlier = name(value).filter(|id| id.bytes().any(|byte| byte != b'0')),
                "second_repl_offset" => parted_at = value.parse().ok(),
                "repl_backlog_active" => report.has_backlog = value == "1",
                "total_net_repl_input_bytes" => report.received = value.parse().ok(),
                "master_repl_offset" => written = value.parse().ok(),
                "slave_repl_offset" => applied = value.parse().ok(),
                "master_host" => host = Some(value),
                "master_port" => port = value.parse().ok(),
                "master_link_status" => link.is_up = value == "up",
                "master_sync_in_progress" => link.is_syncing = value == "1",
                "master_last_io_seconds_ago" => link.silent_for = value.parse().ok().map(Duration::from_secs),
                _ => {
                    report.followers.extend(follower(field, value).filter(|_| report.followers.len() < MOST_FOLLOWERS))
                }
            }
        }
        if let Some(history) = &mut report.history {
            (history.earlier, history.parted_at) = (earlier, parted_at);
        }
        let is_replica = report.role == Some(Role::Replica);
        // A replica's `master_repl_offset` is what it received, not what it applied.
        report.offset = if is_replica { applied } else { written };
        if is_replica {
            link.master = host.zip(port).and_then(|(host, port)| addr_of(host, port));
            report.link = Some(link);
        }
        report
    }

    /// What `ROLE` tells of a replica: its master, and whether its link is `connected`, in `sync`, or none of the two.
    pub(crate) fn of_replica_role(master: Option<NodeAddr>, state: Option<&str>, offset: Option<u64>) -> Self {
        let link = state.map(|state| Link {
            master,
            // Dragonfly says `online` or `stable_sync`.
            is_up: matches!(state, "connected" | "online" | "stable_sync"),
            is_syncing: matches!(state, "sync" | "full_sync" | "preparation"),
            silent_for: None,
        });
        Self { role: Some(Role::Replica), link, offset, ..Self::default() }
    }

    /// What `ROLE` tells of a master: how much it has written, and its replicas.
    pub(crate) fn of_master_role(offset: Option<u64>, followers: impl Iterator<Item = NodeAddr>) -> Self {
        let followers = followers.take(MOST_FOLLOWERS).collect();
        Self { role: Some(Role::Master), offset, followers, ..Self::default() }
    }

    /// Returns how far its data is.
    pub(crate) fn position(&self) -> Option<Position> {
        let history = ReplicationId::parse(&self.history.as_ref()?.id)?;
        Some(Position { history, offset: self.offset? })
    }

    /// Returns the history that it continues, and where the two parted, as far as its word for that is good enough.
    ///
    /// A replica whose full resynchronisation was cut short has dropped its data and its backlog. When it is promoted, it
    /// claims the history that it had before, all of it.
    pub(crate) fn earlier(&self) -> Option<(ReplicationId, u64)> {
        let history = self.history.as_ref().filter(|_| self.has_backlog)?;
        ReplicationId::parse(history.earlier.as_ref()?).zip(history.parted_at)
    }

    /// Its word for what it continues is not good enough.
    pub(crate) fn distrust(&mut self) {
        self.has_backlog = false;
    }

    /// Returns whether a replica holds the data that its id and offset name. `None`: without a link, it still does if it did.
    ///
    /// One that has dropped its data, or loads other data, prints offset 1.
    pub(crate) fn holds_what_it_names(&self) -> Option<bool> {
        let link = self.link.as_ref()?;
        match (link.is_up, link.is_syncing, self.offset) {
            (true, false, _) => Some(true),
            (false, false, Some(2..)) => None,
            _ => Some(false),
        }
    }

    /// Takes over from an earlier report of the same connection what is asked for only once.
    pub(crate) fn completed_by(mut self, earlier: &Self) -> Self {
        self.received = self.received.or(earlier.received);
        self.run_id = self.run_id.or_else(|| earlier.run_id.clone());
        self.zone = self.zone.or_else(|| earlier.zone.clone());
        self
    }

    /// Translates the addresses that it names.
    pub(crate) fn translate(&mut self, reachable: impl Fn(&NodeAddr) -> NodeAddr) {
        let master = self.link.as_mut().and_then(|link| link.master.as_mut());
        self.followers.iter_mut().chain(master).for_each(|addr| *addr = reachable(addr));
    }

    /// Tells whether it is a replica that receives what its master writes, as far as it says so.
    pub(crate) fn is_linked(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.is_up && !link.is_syncing)
    }

    /// Tells whether it says that its master has been silent for longer than this.
    pub(crate) fn hears_nothing_for(&self, time: Duration) -> bool {
        self.link.as_ref().and_then(|link| link.silent_for).is_some_and(|silent| silent > time)
    }

    pub(crate) fn is_syncing(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_syncing)
    }

    /// Returns whether a server says of its history what it said before.
    pub(crate) fn has_same_history_as(&self, before: &Self) -> bool {
        self.role == before.role
            && match (&self.history, &before.history) {
                (Some(now), Some(before)) => now.id == before.id,
                (now, before) => now.is_none() && before.is_none(),
            }
    }

    /// Tells whether two nodes say that they share the present part of their history. Not known is no.
    pub(crate) fn shares_history_with(&self, other: &Self) -> bool {
        matches!((&self.history, &other.history), (Some(one), Some(two)) if one.id == two.id)
    }
}

impl History {
    /// Tells whether a node with this history continues, or has, the one called `id`.
    pub(crate) fn contains(&self, id: &str) -> bool {
        &*self.id == id || self.earlier.as_deref() == Some(id)
    }
}

impl History {
    /// Tells whether a node with the history called `id` went on in it where this one had parted from it.
    pub(crate) fn is_left_at(&self, id: &str, offset: Option<u64>) -> bool {
        let is_earlier = self.earlier.as_deref() == Some(id) && *self.id != *id;
        is_earlier && self.parted_at.zip(offset).is_some_and(|(parted, offset)| offset >= parted)
    }
}

fn name(value: &str) -> Option<Box<str>> {
    (1..=LONGEST_NAME).contains(&value.len()).then(|| value.into())
}

/// Makes the address that a server names, unless no host can be called so.
pub(crate) fn addr_of(host: &str, port: u16) -> Option<NodeAddr> {
    (host.len() <= LONGEST_NAME).then(|| NodeAddr::tcp(host, port))
}

/// The word for a role, in the replies to `HELLO`, `INFO` and `ROLE` of all servers.
pub(crate) fn role_of(word: &str) -> Option<Role> {
    match word {
        "master" => Some(Role::Master),
        // HELLO of Redis and Valkey says replica; ROLE, INFO, and HELLO of Dragonfly, say slave.
        "replica" | "slave" => Some(Role::Replica),
        _ => None,
    }
}

/// Reads `slave0:ip=10.0.0.2,port=6379,state=online,…`.
fn follower(field: &str, value: &str) -> Option<NodeAddr> {
    field.strip_prefix("slave")?.parse::<u32>().ok()?;
    let part = |name: &str| value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    addr_of(part("ip")?, part("port")?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{Report, Role};
    use crate::addr::NodeAddr;
    use crate::replication::ReplicationId;
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_oneof, proptest};
    use proptest::sample::select;
    use std::time::Duration;

    const MASTER: &str = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=7001,state=online,offset=70,lag=0\r\n\
        master_failover_state:no-failover\r\nmaster_replid:aaaa\r\nmaster_replid2:bbbb\r\nmaster_repl_offset:84\r\nsecond_repl_offset:51\r\n\
        repl_backlog_active:1\r\n";
    const REPLICA: &str = "# Server\r\nrun_id:0123\r\navailability_zone:eu-1a\r\n# Replication\r\nrole:slave\r\nmaster_host:::1\r\nmaster_port:7000\r\nmaster_link_status:up\r\n\
        master_last_io_seconds_ago:3\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:99\r\nslave_repl_offset:70\r\nslave_priority:100\r\nslave_read_only:1\r\n\
        master_replid:aaaa\r\nmaster_replid2:0000000000000000000000000000000000000000\r\nmaster_repl_offset:99\r\nsecond_repl_offset:-1\r\n";

    #[test]
    fn a_master_names_its_histories_and_its_replicas() {
        let report = Report::of_info(MASTER);
        assert_eq!((report.role, report.offset), (Some(Role::Master), Some(84)));
        assert_eq!(report.followers, [NodeAddr::tcp("127.0.0.1", 7001)]);
        let history = report.history.as_ref().unwrap();
        assert!(history.contains("aaaa") && history.contains("bbbb") && !history.contains("cccc"));
        assert!(report.link.is_none() && report.is_linked());
    }

    #[test]
    fn a_master_without_a_backlog_is_not_believed_what_it_continues() {
        let (one, two) = ("a1".repeat(20), "b2".repeat(20));
        let text = MASTER.replace("aaaa", &one).replace("bbbb", &two);
        let report = Report::of_info(&text);
        assert_eq!(report.earlier(), ReplicationId::parse(&two).map(|id| (id, 51)));
        let emptied = Report::of_info(&text.replace("active:1", "active:0"));
        assert_eq!((emptied.earlier(), emptied.history.unwrap().contains(&two)), (None, true));
    }

    #[test]
    fn a_replica_tells_what_it_applied_and_of_its_link() {
        let report = Report::of_info(REPLICA);
        assert_eq!((report.role, report.offset), (Some(Role::Replica), Some(70)));
        assert_eq!((report.run_id.as_deref(), report.zone.as_deref()), (Some("0123"), Some("eu-1a")));
        assert_eq!(report.history.as_ref().unwrap().earlier, None);
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
    fn role_tells_of_the_link() {
        for (state, linked, syncing) in
            [("connected", true, false), ("online", true, false), ("sync", false, true), ("connect", false, false)]
        {
            let report = Report::of_replica_role(None, Some(state), None);
            assert_eq!((report.is_linked(), report.is_syncing()), (linked, syncing), "{state}");
        }
        assert!(Report::of_replica_role(None, None, None).is_linked(), "not known");
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
            prop_assert!(report.earlier().is_none() || report.history.is_some());
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
