//! What a snapshot says of real servers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{FaultProxy, NetworkFault};
use redis_replicated::{Health, NodeSnapshot, Outcome, ReadFrom, ReplicatedClient, Snapshot};

use crate::support::{addrs, set_with_key, wait_until, wait_until_set_is};

const MS: Duration = Duration::from_millis(1);

/// Repeats a call on so many threads until the snapshot is as wanted. Whether the calls succeed is not looked at.
fn call_until(client: &ReplicatedClient, threads: usize, what: &str, is_wanted: impl Fn(&Snapshot) -> bool) {
    let is_over = AtomicBool::new(false);
    /// Also when the wait was in vain: the scope would wait for ever.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let _ = client.get::<String>("k");
                }
            });
        }
        wait_until(what, || is_wanted(&client.snapshot()));
    });
}

/// Returns the line of a node in the table.
fn line_of(snapshot: &Snapshot, node: &NodeSnapshot) -> String {
    let (shown, addr) = (snapshot.to_string(), node.addr.to_string());
    shown.lines().find(|line| line.starts_with(&addr)).unwrap().to_owned()
}

#[test]
fn a_killed_replica_is_shown_with_its_reason_and_for_how_long() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let before = client.snapshot();
    assert!(before.nodes.iter().all(|node| node.health == Health::Available && node.ejections == 0), "{before}");
    assert!(before.nodes.iter().all(|node| line_of(&before, node).contains("available")), "{before}");
    servers.replica_mut(0).stop();
    let refused = Some("connection refused");
    wait_until("it is known to be down", || client.snapshot().nodes[1].reason.as_deref() == refused);
    let first = client.snapshot();
    let node = &first.nodes[1];
    assert!(node.ejected && matches!(node.health, Health::Ejected | Health::Probing), "{first}");
    assert_eq!((node.outcome, node.ejections), (Some(Outcome::Unreachable), 1), "{first}");
    let line = line_of(&first, node);
    assert!(line.contains("ejected") && line.ends_with(": unreachable, connection refused"), "{first}");
    // Also while probes fail.
    wait_until("the time grows", || client.snapshot().nodes[1].health_for > node.health_for + 700 * MS);
    let later = client.snapshot();
    assert_eq!((later.nodes[1].ejections, later.nodes[1].ejected), (1, true), "{later}");
    servers.replica_mut(0).restart().unwrap();
    wait_until("it is back", || !client.snapshot().nodes[1].ejected);
    let back = client.snapshot();
    let node = &back.nodes[1];
    assert!(matches!(node.health, Health::SlowStart | Health::Available), "{back}");
    assert_eq!((node.outcome, node.reason.as_deref(), node.ejections), (None, None, 1), "{back}");
}

#[test]
fn a_replica_that_does_not_answer_is_shown_with_that_reason() {
    let servers = set_with_key(1);
    let proxy = FaultProxy::start(&servers.replica(0).addr()).unwrap();
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(proxy.url());
    let client = builder.monitor_interval(Duration::ZERO).response_timeout(20 * MS).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    proxy.set(NetworkFault::BlackHole).unwrap();
    call_until(&client, 1, "it is ejected", |snapshot| snapshot.nodes[1].ejected);
    let snapshot = client.snapshot();
    let node = &snapshot.nodes[1];
    // Its open connection gave no replies, or it accepted no other one: both are told as what they are.
    assert!(matches!(node.outcome, Some(Outcome::Failed | Outcome::Unreachable)), "{snapshot}");
    assert_eq!(node.reason.as_deref(), Some("no answer in time"), "{snapshot}");
    assert!(snapshot.retries > 0, "reads went on at the master: {snapshot}");
}

#[test]
fn percentiles_are_there_after_some_calls() {
    let servers = set_with_key(1);
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    assert!(client.snapshot().nodes.iter().all(|node| node.percentiles.is_none()), "{}", client.snapshot());
    (0..800).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    let snapshot = client.snapshot();
    let found = snapshot.nodes[1].percentiles.unwrap();
    // One in eight, but for those that waited for their connection.
    assert!((90..=110).contains(&found.timed), "{found:?}");
    assert!(found.p50 > Duration::ZERO && found.p50 <= found.p90, "{found:?}");
    assert!(found.p90 <= found.p99 && found.p99 <= found.p999, "{found:?}");
    assert!(found.p999 < Duration::from_secs(2), "{found:?}");
    assert_eq!(snapshot.nodes[0].percentiles, None, "no call went to the master");
    assert!(snapshot.nodes[1].connections_open >= 1, "{snapshot}");
    assert_eq!(snapshot.nodes[1].connections_idle, snapshot.nodes[1].connections_open, "{snapshot}");
}

#[test]
fn fallback_reads_and_their_waits_are_counted() {
    let mut servers = set_with_key(1);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url()).replica(servers.replica(0).url());
    // The master is known by the address of its proxy.
    let real = servers.master().addr();
    let proxied = proxy.addr();
    let builder = builder.map_address(move |addr| if *addr == real { proxied.clone() } else { addr.clone() });
    let client = builder.fallback_limit(1).checkout_timeout(10 * MS).build().unwrap();
    wait_until_set_is(&client, &proxy.addr(), &addrs(servers.replicas()));
    assert_eq!((client.snapshot().fallback.served, client.snapshot().fallback.limit), (0, Some(1)));
    servers.replica_mut(0).stop();
    wait_until("the replica is out", || client.snapshot().nodes[1].ejected);
    call_until(&client, 1, "the master serves reads", |snapshot| snapshot.fallback.served >= 5);
    let quiet = client.snapshot().fallback;
    assert_eq!((quiet.waits, quiet.refused, quiet.in_flight), (0, 0, 0), "one caller: {quiet:?}");
    // A read at the master takes longer than the others wait for their turn.
    proxy.set(NetworkFault::Delay(60 * MS)).unwrap();
    call_until(&client, 4, "reads are refused", |snapshot| snapshot.fallback.refused > 2);
    let snapshot = client.snapshot();
    let busy = &snapshot.fallback;
    assert!(busy.served > quiet.served && busy.waits >= busy.refused, "{snapshot}");
    assert!(busy.wait_time >= 20 * MS, "each waited for 10 ms: {snapshot}");
    let shown = format!("{} served, {} waited (", busy.served, busy.waits);
    assert!(snapshot.to_string().contains(&shown), "{shown}: {snapshot}");
}

#[test]
fn waits_for_a_connection_are_counted() {
    let servers = set_with_key(0);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url()).monitor_interval(Duration::ZERO).pool_size(1);
    let client = builder.shared_connections(0).read_from(ReadFrom::Master).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    let node = client.snapshot().nodes.remove(0);
    assert_eq!((node.connection_timeouts, node.connection_waiters), (0, 0), "{node:?}");
    // The first call may have waited until the slots were made.
    let (before, waited) = (node.connection_waits, node.connection_wait_time);
    assert_eq!((node.connections_open, node.connections_in_use, node.connections_idle), (1, 0, 1), "{node:?}");
    proxy.set(NetworkFault::Delay(20 * MS)).unwrap();
    call_until(&client, 4, "calls wait", |snapshot| {
        let node = &snapshot.nodes[0];
        node.connection_waits > before + 4 && node.connection_waiters > 0 && node.connections_in_use == 1
    });
    let node = client.snapshot().nodes.remove(0);
    assert!(node.connection_wait_time >= waited + 20 * MS && node.connection_timeouts == 0, "{node:?}");
    assert_eq!((node.connection_waiters, node.connections_open), (0, 1), "{node:?}");
    let short = client.deadline(5 * MS);
    call_until(&short, 2, "a wait is in vain", |snapshot| snapshot.nodes[0].connection_timeouts > 0);
}

#[test]
fn requests_on_shared_connections_and_their_batches_are_counted() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let is_shared = |node: &NodeSnapshot| node.shared_requests > node.shared_batches && node.shared_batches > 0;
    call_until(&client, 16, "calls share", |snapshot| is_shared(&snapshot.nodes[1]));
    let snapshot = client.snapshot();
    let node = &snapshot.nodes[1];
    assert!(node.shared_requests <= node.answered + node.failed + 16, "{snapshot}");
    let batches: u64 = snapshot.nodes.iter().map(|node| node.shared_batches).sum();
    assert!(snapshot.to_string().contains(&format!("requests in {batches} batches (")), "{snapshot}");
}

#[test]
fn json_has_numbers_and_units() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    (0..100).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    wait_until("the monitor has asked", || client.snapshot().nodes[1].heartbeat.is_some());
    let snapshot = client.snapshot();
    assert_eq!(snapshot, snapshot.clone());
    let json = serde_json::to_value(&snapshot).unwrap();
    let node = &json["nodes"][1];
    for key in ["latency_ms", "heartbeat_ms", "health_for_ms", "connection_wait_time_ms", "answered", "shared_batches"]
    {
        assert!(node[key].is_number(), "{key}: {node:#}");
    }
    assert!(
        (node["latency_ms"].as_f64().unwrap() - snapshot.nodes[1].latency.unwrap().as_secs_f64() * 1e3).abs() < 0.001
    );
    assert!(node["percentiles"]["p99_ms"].is_number() && node["replication"]["age_ms"].is_number(), "{node:#}");
    assert_eq!(
        (&node["health"], &node["role"], &node["sync_state"]),
        (&"available".into(), &"replica".into(), &"in_sync".into())
    );
    assert!(json["fallback"]["wait_time_ms"].is_number() && json["retries"].is_number(), "{json:#}");
    let decision = serde_json::to_value(client.explain(redis::cmd("GET").arg("k"))).unwrap();
    assert_eq!((&decision["command"], &decision["classification"]), (&"GET".into(), &"read".into()));
    assert_eq!(decision["candidates"][0]["addr"], servers.replica(0).addr().to_string());
    assert!(decision["candidates"][0]["latency_ms"].is_number(), "{decision:#}");
    assert_eq!(decision["excluded"][0]["reason"], "fallback");
}
