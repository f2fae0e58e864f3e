//! What observers are told: of calls, attempts, connections, nodes, the set and sessions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis_replicated::observe::{
    CloseReason, ConnectionChange, ConnectionKind, Event, Interest, NodeChange, Observer, ProvenBy, SessionChange,
    TopologyChange,
};
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet};
use redis_replicated::{ErrorKind, NodeAddr, ReadFrom, ReplicatedClient, Role};

use crate::support::{addrs, follow, promote, set_with_key, wait_until, wait_until_set_is};

/// Keeps what it is told, as text that a test can compare.
#[derive(Debug)]
struct Notes {
    interest: Interest,
    lines: Mutex<Vec<String>>,
}

impl Notes {
    fn of(interest: Interest) -> Arc<Self> {
        Arc::new(Self { interest, lines: Mutex::default() })
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }
}

impl Observer for Notes {
    fn observe(&self, event: &Event<'_>) {
        // Not a key, nor a value, however it is shown.
        assert!(!format!("{event:?}").contains("secret"), "{event:?}");
        let line = match event {
            Event::Call(call) => {
                let (node, role) =
                    (shown(call.node()), call.role().map_or_else(|| "-".to_owned(), |role| role.to_string()));
                let kind = call.error_kind().map_or_else(|| "ok".to_owned(), |kind| format!("{kind:?}"));
                assert!(call.timing().total() <= call.took(), "{call:?}");
                let batch = call.batch_size().map_or_else(String::new, |size| format!(" batch={size}"));
                let fallback = if call.is_fallback() { " fallback" } else { "" };
                let code = call.code().unwrap_or("-");
                format!(
                    "call {} {kind} {code} {role} {node} attempts={}{batch}{fallback}",
                    call.operation(),
                    call.attempts()
                )
            }
            Event::Attempt(attempt) => {
                let error = attempt.error().map_or_else(|| "ok".to_owned(), |error| format!("{:?}", error.kind()));
                let last = if attempt.is_last() { " last" } else { "" };
                format!("attempt {} {} {} {error}{last}", attempt.number(), attempt.operation(), attempt.node())
            }
            Event::Connection(connection) => {
                let what = match connection.change() {
                    ConnectionChange::Opened { took, .. } => {
                        assert!(!took.is_zero());
                        "opened".to_owned()
                    }
                    ConnectionChange::Failed { error, .. } => format!("failed {error}"),
                    ConnectionChange::Closed { reason, .. } => format!("closed {reason}"),
                    ConnectionChange::Waited { got_one, .. } => format!("waited {got_one}"),
                    _ => "?".to_owned(),
                };
                format!("connection {} {} {what}", connection.node(), connection.kind())
            }
            Event::Node(node) => {
                let what = match node.change() {
                    NodeChange::Ejected { outcome, reason, .. } => {
                        format!("ejected {outcome} {}", reason.unwrap_or("-"))
                    }
                    NodeChange::Probed { serves, .. } => format!("probed {serves}"),
                    NodeChange::Returned { after, .. } => {
                        assert!(!after.is_zero());
                        "returned".to_owned()
                    }
                    NodeChange::SyncState(state) => format!("sync state {state}"),
                    NodeChange::Role(role) => format!("role {role}"),
                    NodeChange::Gauges(gauges) => {
                        format!("gauges {:?} idle={} lag={:?}", gauges.assigned_role, gauges.idle, gauges.lag_bytes)
                    }
                    _ => "?".to_owned(),
                };
                format!("node {} {what}", node.node())
            }
            Event::Topology(topology) => match topology.change() {
                TopologyChange::Changed { master, replicas, .. } => format!("set {} {}", shown(master), replicas.len()),
                TopologyChange::Failover { from, to, .. } => format!("failover {from} {to}"),
                TopologyChange::WritesResumed { master, after, .. } => {
                    assert!(after < Duration::from_secs(60));
                    format!("writes resumed {master}")
                }
                TopologyChange::ProviderFailed { .. } => "provider failed".to_owned(),
                _ => "?".to_owned(),
            },
            Event::Session(session) => match session.change() {
                SessionChange::Proven { by, staleness, .. } => {
                    format!(
                        "session {} proven by {by}{}",
                        session.node(),
                        if staleness.is_some() { " bounded" } else { "" }
                    )
                }
                lost => format!("session {} {lost:?}", session.node()),
            },
            _ => "?".to_owned(),
        };
        self.lines.lock().unwrap().push(line);
    }

    fn interest(&self) -> Interest {
        self.interest
    }
}

fn shown(node: Option<&NodeAddr>) -> String {
    node.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn ready(servers: &ReplicaSet, notes: &Arc<Notes>) -> ReplicatedClient {
    let client = servers.client_builder().observer(Arc::clone(notes)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    client
}

#[test]
fn each_call_is_told_with_its_node_and_how_it_ended() {
    let servers = set_with_key(1);
    let notes = Notes::of(Interest::CALLS);
    let client = ready(&servers, &notes);
    let (master, replica) = (servers.master().addr(), servers.replica(0).addr());
    notes.take();
    client.set("secret", "secret").unwrap();
    let _: Option<String> = client.get("k").unwrap();
    assert_eq!(client.query::<i64>(redis::cmd("llen").arg("k")).unwrap_err().kind(), ErrorKind::Server);
    assert!(client.query::<i64>(&redis::cmd("no.such.command")).is_err());
    let _: Option<String> = client.query(redis::cmd("object").arg("encoding").arg("k")).unwrap();
    let mut pipeline = redis::pipe();
    pipeline.get("k").get("k").get("secret");
    let _: Vec<Option<String>> = client.query_pipeline(&pipeline).unwrap();
    let _: Vec<i64> = client.query_pipeline(redis::pipe().atomic().incr("n", 1).incr("n", 1)).unwrap();
    let told = notes.take();
    let expected = [
        format!("call SET ok - master {master} attempts=1"),
        format!("call GET ok - replica {replica} attempts=1"),
        format!("call LLEN Server WRONGTYPE replica {replica} attempts=1"),
        format!("call OTHER Server ERR master {master} attempts=1"),
        format!("call OBJECT ENCODING ok - replica {replica} attempts=1"),
        format!("call PIPELINE ok - replica {replica} attempts=1 batch=3"),
        format!("call MULTI ok - master {master} attempts=1 batch=2"),
    ];
    assert_eq!(told, expected);
    // Pinned connections make calls as well.
    let mut connection = client.connection();
    redis::cmd("WATCH").arg("n").exec(&mut connection).unwrap();
    let _: i64 = redis::cmd("INCR").arg("n").query(&mut connection).unwrap();
    redis::cmd("UNWATCH").exec(&mut connection).unwrap();
    let told = notes.take();
    assert!(told.contains(&format!("call INCR ok - master {master} attempts=1")), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("attempts=0")), "{told:?}");
    // Nothing was found in time.
    let none = client.deadline(Duration::from_micros(1)).get::<String>("k").unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Checkout);
    assert_eq!(notes.take(), ["call GET Checkout - - - attempts=0"]);
}

#[test]
fn an_attempt_that_fails_is_told_and_the_call_goes_on() {
    let servers = set_with_key(2);
    let proxies: Vec<FaultProxy> =
        servers.servers().iter().map(|server| FaultProxy::start(&server.addr()).unwrap()).collect();
    let notes = Notes::of(Interest::CALLS | Interest::ATTEMPTS | Interest::CONNECTIONS);
    let replicas = [proxies[1].url(), proxies[2].url()];
    let builder = ReplicatedClient::builder().master(proxies[0].url()).replicas(replicas);
    let client = builder.monitor_interval(Duration::ZERO).observer(Arc::clone(&notes)).build().unwrap();
    let read = || client.get::<String>("k").unwrap();
    // Connections to both replicas.
    wait_until("both replicas serve", || {
        read();
        notes.count("pooled opened") + notes.count("shared opened") >= 2
    });
    notes.take();
    proxies[1].set(NetworkFault::Refuse).unwrap();
    proxies[1].cut();
    wait_until("a read meets the dead node", || {
        read();
        notes.count("attempt 2 GET") > 0
    });
    let told = notes.take();
    let (bad, good) = (proxies[1].addr(), proxies[2].addr());
    let has = |text: &str| told.iter().any(|line| line.contains(text));
    assert!(has(&format!("attempt 1 GET {bad} ")) && !has(&format!("attempt 1 GET {bad} Checkout last")), "{told:#?}");
    assert!(has(&format!(" GET {good} ok last")), "{told:#?}");
    assert!(has(&format!("call GET ok - replica {good} attempts=")) && has("closed server_close"), "{told:#?}");
    assert!(
        has(&format!("connection {bad} pooled failed")) || has(&format!("connection {bad} shared failed")),
        "{told:#?}"
    );
    assert!(!has("?"), "{told:#?}");
}

#[test]
fn connections_are_told_from_their_begin_to_their_end() {
    let servers = set_with_key(1);
    let notes = Notes::of(Interest::CONNECTIONS);
    let builder = servers.client_builder().pool_size(1).shared_connections(0).observer(Arc::clone(&notes));
    let client = builder.build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let (master, replica) = (servers.master().addr(), servers.replica(0).addr());
    client.set("k", "v").unwrap();
    assert_eq!(notes.take(), [format!("connection {master} pooled opened")]);
    let _ = client.dedicated(redis_replicated::Target::Node(replica.clone())).unwrap();
    assert_eq!(notes.take(), [format!("connection {replica} dedicated opened")]);
    // The only connection is in use: the second caller waits.
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = client.connection();
            redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
            let waits = || notes.count("waited") == 0;
            // Until the other one has waited in vain.
            wait_until("the other caller waits", || !waits());
        });
        wait_until("the connection is pinned", || client.snapshot().nodes[0].connections_in_use == 1);
        let error = client.deadline(Duration::from_millis(100)).set("k", "v").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkout, "{error}");
    });
    assert!(notes.count(&format!("connection {master} pooled waited false")) >= 1, "{:?}", notes.all());
    notes.take();
    client.set("k", "v").unwrap();
    drop(client);
    let closes = |reason: CloseReason| notes.count(&format!("{} closed {reason}", ConnectionKind::Pooled));
    wait_until("its connections are closed with the client", || closes(CloseReason::Application) > 0);
}

#[test]
fn a_dead_replica_is_told_and_its_return() {
    let mut servers = set_with_key(2);
    let notes = Notes::of(Interest::NODES);
    let client = ready(&servers, &notes);
    let (master, replica) = (servers.master().addr(), servers.replica(0).addr());
    let gauges = |node, text| format!("node {node} gauges {text}");
    let of_master = gauges(&master, "Some(Master) idle=0 lag=None");
    let of_replica = gauges(&replica, "Some(Replica) idle=0 lag=Some(");
    wait_until("the gauges are told", || notes.count(&of_master) > 0 && notes.count(&of_replica) > 0);
    servers.replica_mut(0).stop();
    wait_until("it is ejected", || notes.count(&format!("node {replica} ejected unreachable")) == 1);
    wait_until("it is probed", || notes.count(&format!("node {replica} probed false")) > 0);
    servers.replica_mut(0).restart().unwrap();
    wait_until("it is back", || notes.count(&format!("node {replica} returned")) == 1);
    assert!(notes.count(&format!("node {replica} probed true")) > 0);
    assert_eq!((notes.count("ejected"), notes.count("returned")), (1, 1), "{:#?}", notes.all());
    drop(client);
}

#[test]
fn a_failover_is_told_with_the_first_write_after_it() {
    let mut servers = set_with_key(2);
    let notes = Notes::of(Interest::TOPOLOGY | Interest::NODES);
    let client = ready(&servers, &notes);
    let (old, new) = (servers.master().addr(), servers.replica(0).addr());
    client.set("k", "v").unwrap();
    assert_eq!(notes.count("writes resumed"), 0);
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    // The first ones may be in doubt.
    wait_until("a write succeeds", || client.set("k", "w").is_ok());
    wait_until("the failover is told", || notes.count(&format!("failover {old} {new}")) == 1);
    let resumed = format!("writes resumed {new}");
    wait_until("the first write is told", || notes.count(&resumed) == 1);
    client.set("k", "x").unwrap();
    assert_eq!(notes.count("writes resumed"), 1, "once: {:#?}", notes.all());
    assert_eq!(notes.count(&format!("node {new} role master")), 1, "{:#?}", notes.all());
    let sets: BTreeSet<String> = notes.all().into_iter().filter(|line| line.starts_with("set ")).collect();
    assert!(sets.contains(&format!("set {new} 2")), "{sets:?}");
}

#[test]
fn reads_that_only_the_master_can_serve_are_told_as_fallback_reads() {
    let mut servers = set_with_key(1);
    let notes = Notes::of(Interest::CALLS);
    let client = ready(&servers, &notes);
    servers.replica_mut(0).stop();
    let master = servers.master().addr();
    wait_until("the replica is ejected", || client.snapshot().nodes[1].ejected);
    notes.take();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert_eq!(client.read_from(ReadFrom::Master).get::<String>("k").unwrap(), "v");
    let told = notes.take();
    let read = format!("call GET ok - {} {master} attempts=1", Role::Master);
    assert_eq!(told, [format!("{read} fallback"), read]);
}

#[test]
fn sessions_tell_where_their_reads_were_proven() {
    let servers = set_with_key(2);
    let notes = Notes::of(Interest::SESSIONS);
    let client = ready(&servers, &notes);
    let session = client.session();
    let master = servers.master().addr();
    session.set("k", "w").unwrap();
    assert_eq!(notes.take(), Vec::<String>::new(), "a write is not proven");
    assert_eq!(session.get::<String>("k").unwrap(), "w");
    assert_eq!(session.read_from(ReadFrom::Master).get::<String>("k").unwrap(), "w");
    let told = notes.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("proven by"), "{told:?}");
    assert_eq!(told[1], format!("session {master} proven by {}", ProvenBy::Master));
    let bounded = client.max_staleness(Duration::from_secs(2));
    wait_until("a replica keeps the bound", || {
        let _: Option<String> = bounded.get("k").unwrap();
        notes.count("proven by first bounded") > 0
    });
    assert_eq!(client.get::<String>("k").unwrap(), "w", "a plain read proves nothing");
}

/// Panics, and then counts.
#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn observe(&self, _: &Event<'_>) {
        panic!("an observer of a test panics, on purpose");
    }
}

#[test]
fn an_observer_that_panics_harms_nobody() {
    let mut servers = set_with_key(1);
    let notes = Notes::of(Interest::ALL);
    let builder = servers.client_builder().observer(Panics).observer(Arc::clone(&notes));
    let client = builder.build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    for _ in 0..20 {
        client.set("k", "v").unwrap();
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    servers.replica_mut(0).stop();
    wait_until("the monitor goes on", || client.snapshot().nodes[1].ejected);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert!(notes.count("call SET ok") >= 20 && notes.count("ejected") == 1, "the next one is told all the same");
}
