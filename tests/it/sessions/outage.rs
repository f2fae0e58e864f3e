//! Sessions while no master serves: replicas that have what the session has seen go on serving it, at once.

use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient};

use crate::support::{Distant, follow, follow_port, promote, unloadable_master, wait_until};

const ROUND: Duration = Duration::from_millis(100);

/// How the master goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Killed,
    Stopped,
}

/// What became of the reads of an outage.
#[derive(Debug, Default)]
struct Reads {
    asked: usize,
    failed: Vec<Error>,
    took: Vec<Duration>,
}

impl Reads {
    fn of(count: usize, mut read: impl FnMut(usize) -> redis_replicated::Result<usize>, expected: usize) -> Self {
        let mut reads = Self { asked: count, ..Self::default() };
        for n in 0..count {
            let start = Instant::now();
            match read(n) {
                Ok(value) => {
                    assert_eq!(value, expected, "a stale read");
                    reads.took.push(start.elapsed());
                }
                Err(error) => reads.failed.push(error),
            }
        }
        reads.took.sort();
        reads
    }

    fn check(&self, what: &str) {
        let served = self.asked - self.failed.len();
        println!("{what}: {served} of {}, median {:?}, longest {:?}", self.asked, self.median(), self.took.last());
        assert!(served * 100 >= self.asked * 97, "{served} of {} served: {}", self.asked, self.failed[0]);
        assert!(self.median() < Duration::from_millis(20), "the median is {:?}", self.median());
    }

    fn median(&self) -> Duration {
        self.took.get(self.took.len() / 2).copied().unwrap_or(Duration::MAX)
    }
}

fn builder(servers: &ReplicaSet) -> redis_replicated::Builder {
    servers.client_builder().monitor_interval(ROUND).response_timeout(Duration::from_millis(300))
}

#[test]
fn sessions_read_on_while_the_master_is_dead() {
    for end in [End::Killed, End::Stopped] {
        let mut servers = ReplicaSet::start(2).unwrap();
        let client = builder(&servers).build().unwrap();
        let sessions: Vec<ReplicatedClient> = (0..20).map(|_| client.session()).collect();
        sessions.iter().for_each(|session| session.set("n", 7).unwrap());
        servers.wait_until_in_sync().unwrap();
        match end {
            End::Killed => servers.master_mut().stop(),
            End::Stopped => servers.master().pause().unwrap(),
        }
        let read = |n: usize| sessions[n % sessions.len()].get("n");
        Reads::of(400, read, 7).check(&format!("{end:?}, at once"));
        wait_until("the master is out", || client.snapshot().nodes.iter().any(|node| node.ejected));
        Reads::of(400, read, 7).check(&format!("{end:?}, once it is known"));
        let pipelined = |n: usize| {
            let (value, _): (usize, usize) = sessions[n % 20].query_pipeline(redis::pipe().get("n").exists("n"))?;
            Ok(value)
        };
        Reads::of(100, pipelined, 7).check(&format!("{end:?}, in pipelines"));
        let resumed = client.resume(&sessions[0].token().unwrap());
        assert_eq!(resumed.get::<usize>("n").unwrap(), 7);
        if end == End::Stopped {
            servers.master().resume().unwrap();
        }
    }
}

/// A replica that lacks a write of the session is not taken for one that has it, link or no link.
#[test]
fn what_a_replica_lacks_is_served_by_the_others_during_an_outage() {
    let mut set = Distant::start(3);
    let client = builder(&set.servers).build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    set.freeze(1);
    session.set("n", 2).unwrap();
    let has_it =
        || redis::Cmd::get("n").query::<usize>(&mut set.servers.replica(2).connection().unwrap()).unwrap() == 2;
    wait_until("one has it", has_it);
    set.servers.master_mut().stop();
    set.proxies.iter().for_each(|proxy| proxy.cut());
    Reads::of(300, |_| session.get("n"), 2).check("one of three has it");
    let beside: usize = client.session().get("n").unwrap();
    assert!(beside == 1 || beside == 2);
    set.servers.replica_mut(2).stop();
    let error = session.deadline(Duration::from_millis(500)).get::<usize>("n").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Checkout), "{error}");
    assert!(!error.to_string().contains("nothing was sent"), "replicas answered: {error}");
}

/// A bound on staleness needs a link: without one, what is there gets older all the time.
#[test]
fn a_bounded_read_needs_the_link() {
    let mut servers = ReplicaSet::start(1).unwrap();
    let client = builder(&servers).build().unwrap();
    let bounded = client.max_staleness(Duration::from_secs(5)).deadline(Duration::from_millis(300));
    client.set("n", 7).unwrap();
    servers.wait_until_in_sync().unwrap();
    wait_until("the replica serves", || bounded.read_from(ReadFrom::Replica).get::<usize>("n").is_ok());
    servers.master_mut().stop();
    wait_until("the link is down", || {
        servers.replica(0).info("replication", "master_link_status").unwrap().as_deref() == Some("down")
    });
    assert!(bounded.get::<usize>("n").is_err());
}

/// A replica whose full resynchronisation was cut short behind the flush names the history that it had, and holds nothing
/// of it. Promoted, it claims all of that by its second id.
#[test]
fn an_emptied_replica_proves_nothing() {
    let mut servers = ReplicaSet::setup().replicas(2).setting("repl-diskless-load", "disabled").start().unwrap();
    let client = builder(&servers).build().unwrap();
    let session = client.session();
    session.set("n", 7).unwrap();
    servers.wait_until_in_sync().unwrap();
    let emptied = servers.replica(0);
    let stranger = unloadable_master();
    follow_port(emptied, stranger.port);
    let size = || redis::cmd("DBSIZE").query::<usize>(&mut emptied.connection().unwrap()).unwrap();
    wait_until("its data is gone", || size() == 0);
    wait_until("its offset says so", || {
        emptied.info("replication", "slave_repl_offset").unwrap().as_deref() == Some("1")
    });
    let id = |server: &Server, name| server.info("replication", name).unwrap().unwrap();
    assert_eq!(id(emptied, "master_replid"), id(servers.replica(1), "master_replid"), "it names what it had");
    Reads::of(200, |_| session.get("n"), 7).check("beside an emptied replica");
    servers.master_mut().stop();
    Reads::of(200, |_| session.get("n"), 7).check("without a master, beside an emptied replica");
}

fn field(server: &Server, name: &str) -> String {
    server.info("replication", name).unwrap().unwrap_or_default()
}

/// Stops the master of a set with one replica, empties that one, and promotes it.
fn promote_emptied(servers: &mut ReplicaSet) {
    servers.wait_until_in_sync().unwrap();
    let history = field(servers.master(), "master_replid");
    servers.master_mut().stop();
    let heir = servers.replica(0);
    let stranger = unloadable_master();
    follow_port(heir, stranger.port);
    let size = || redis::cmd("DBSIZE").query::<usize>(&mut heir.connection().unwrap()).unwrap();
    wait_until("its data is gone", || size() == 0 && field(heir, "slave_repl_offset") == "1");
    promote(heir);
    assert_eq!((field(heir, "master_replid2"), field(heir, "repl_backlog_active").as_str()), (history, "0"));
}

fn wait_for_writes(client: &ReplicatedClient) {
    wait_until("the master takes writes", || client.deadline(Duration::from_secs(5)).set("other", 1).is_ok());
}

/// Promoted, an emptied replica claims by its second id all that it had.
#[test]
fn an_emptied_master_is_not_believed_what_it_continues() {
    let mut servers = ReplicaSet::start(1).unwrap();
    let client = builder(&servers).build().unwrap();
    let session = client.session().deadline(Duration::from_secs(20));
    session.set("n", 7).unwrap();
    promote_emptied(&mut servers);
    wait_for_writes(&client);
    let error = session.get::<Option<usize>>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
    assert_eq!(session.get::<Option<usize>>("n").unwrap(), None, "told once");
}

/// A process that got other data in between names its history as one that only got a replica.
#[test]
fn a_master_with_other_data_did_not_only_rename_its_history() {
    let servers = ReplicaSet::setup().setting("repl-backlog-ttl", "1").start().unwrap();
    let stranger = ReplicaSet::start(1).unwrap();
    let client = servers.client_builder().monitor_interval(Duration::from_secs(3600)).build().unwrap();
    let session = client.session();
    session.set("n", 7).unwrap();
    assert_eq!(session.get::<usize>("n").unwrap(), 7);
    follow(servers.master(), stranger.master());
    wait_until("it has other data", || field(servers.master(), "master_link_status") == "up");
    promote(servers.master());
    wait_until("it names nothing that it continues", || {
        field(servers.master(), "repl_backlog_active") == "0"
            && field(servers.master(), "master_replid2").starts_with("00")
    });
    let error = session.get::<Option<usize>>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unproven, "{error}");
    assert_eq!(session.get::<Option<usize>>("n").unwrap(), None, "told once");
}

#[test]
fn a_backlog_that_expires_loses_nothing() {
    let mut servers = ReplicaSet::setup().replicas(1).setting("repl-backlog-ttl", "1").start().unwrap();
    let client = builder(&servers).build().unwrap();
    let session = client.session();
    session.set("n", 7).unwrap();
    let history = field(servers.master(), "master_replid");
    servers.replica_mut(0).stop();
    wait_until("it has another name", || field(servers.master(), "master_replid") != history);
    (0..10).for_each(|_| assert_eq!(session.get::<usize>("n").unwrap(), 7));
}
