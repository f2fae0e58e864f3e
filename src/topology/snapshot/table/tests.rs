use super::{bytes, time};
use crate::node::{Health, Outcome, SyncState};
use crate::replication::Role;
use crate::topology::{FallbackSnapshot, NodeSnapshot, ReplicationSnapshot, Snapshot};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn node(addr: &str, role: Role, lag: u64) -> NodeSnapshot {
    let buckets = crate::Node::new(addr.parse().unwrap());
    let now = std::time::Instant::now();
    (0..100).for_each(|n| buckets.record_at(Outcome::Answered, Duration::from_micros(80 + n), now));
    NodeSnapshot {
        addr: addr.parse().unwrap(),
        role,
        assigned_role: role,
        sync_state: SyncState::InSync,
        shared: false,
        zone: None,
        weight: 1,
        health: Health::Available,
        health_for: 200 * SECOND,
        ejected: false,
        outcome: None,
        reason: None,
        ejections: 0,
        share: 1.0,
        latency: Some(Duration::from_nanos(213_400)),
        percentiles: buckets.percentiles_at(now),
        heartbeat: None,
        in_flight: 3,
        connections_in_use: 2,
        connections_open: 4,
        connections_idle: 2,
        pool_size: 10,
        connection_waiters: 0,
        connection_waits: 2,
        connection_wait_time: Duration::from_millis(9),
        connection_timeouts: 1,
        shared_connections: 1,
        shared_requests: 25,
        shared_batches: 4,
        answered: 144,
        failed: 0,
        replication: Some(ReplicationSnapshot {
            age: Duration::from_millis(250),
            run_id: None,
            replication_id: None,
            second_replication_id: None,
            offset: Some(1_000),
            lag: Some(lag),
            link_up: None,
            syncing: false,
            master_silent_for: Some(2 * SECOND),
        }),
    }
}

fn snapshot() -> Snapshot {
    let fallback = FallbackSnapshot {
        served: 20,
        in_flight: 0,
        limit: Some(5),
        waits: 3,
        wait_time: Duration::from_millis(12),
        refused: 1,
    };
    let mut nodes = vec![
        node("127.0.0.1:6379", Role::Master, 0),
        node("127.0.0.1:6380", Role::Replica, 0),
        node("127.0.0.1:6381", Role::Replica, 1_512),
    ];
    nodes[2].health = Health::Ejected;
    nodes[2].health_for = Duration::from_millis(12_900);
    nodes[2].ejected = true;
    nodes[2].outcome = Some(Outcome::Unreachable);
    nodes[2].reason = Some("connection refused".to_owned());
    nodes[2].percentiles = None;
    nodes[2].failed = 1;
    Snapshot { generation: 3, settled: true, nodes, retries: 12, retries_denied: 0, fallback }
}

/// Each column ends, or begins, at the same place in all lines of the table.
fn assert_aligned(shown: &str, nodes: usize) {
    let lines: Vec<Vec<char>> = shown.lines().take(nodes + 1).map(|line| line.chars().collect()).collect();
    let health = lines[0].windows(6).position(|word| word.iter().collect::<String>() == "health").unwrap();
    for line in &lines {
        assert!(line[health - 1] == ' ' && line[health - 2] == ' ' && line[health] != ' ', "{shown}");
    }
}

#[test]
fn a_person_reads_the_set_at_a_glance() {
    let shown = snapshot().to_string();
    let expected = "\
node            role     sync state     lag     p50     p99  in flight  used/open/max  answered  failed  health
127.0.0.1:6379  master   in sync        0 B  126 µs  172 µs          3         2/4/10       144       0  available 3 min
127.0.0.1:6380  replica  in sync        0 B  126 µs  172 µs          3         2/4/10       144       0  available 3 min
127.0.0.1:6381  replica  in sync     1.5 kB       -       -          3         2/4/10       144       1  ejected 12 s: unreachable, connection refused
client: generation 3, settled; 12 retries, 0 denied; fallback reads: 20 served, 3 waited (4.0 ms each), 1 refused
connections: 6 waits (4.5 ms each), 3 timed out; shared: 75 requests in 12 batches (6.2 each)
";
    assert_eq!(shown, expected, "\n{shown}\n{expected}");
    assert_aligned(&shown, 3);
    let usual = shown.lines().filter(|line| !line.contains("ejected"));
    assert!(usual.map(|line| line.chars().count()).max() <= Some(120));
}

#[test]
fn columns_stay_aligned_with_long_names_and_many_digits() {
    let mut snapshot = snapshot();
    let long = "redis-replica-2.redis-headless.production.svc.cluster.local:6379";
    snapshot.nodes[1].addr = long.parse().unwrap();
    snapshot.nodes[1].answered = u64::MAX;
    snapshot.nodes[1].in_flight = u32::MAX;
    snapshot.nodes[1].sync_state = SyncState::LinkDown;
    snapshot.nodes[1].replication.as_mut().unwrap().lag = Some(u64::MAX);
    snapshot.nodes[0].health = Health::SlowStart;
    snapshot.nodes[0].share = 0.3;
    snapshot.nodes[0].assigned_role = Role::Replica;
    snapshot.nodes[2].health = Health::Probing;
    snapshot.nodes[2].outcome = Some(Outcome::NotServing);
    let shown = snapshot.to_string();
    assert_aligned(&shown, 3);
    for text in [
        "slow start 3 min, share 30 %; wrong role, assigned replica\n",
        "probing, ejected 12 s: not serving, connection refused\n",
        "18446744 TB",
    ] {
        assert!(shown.contains(text), "{text}:\n{shown}");
    }
}

#[test]
fn a_client_that_did_nothing_shows_no_means() {
    let mut snapshot = snapshot();
    snapshot.nodes.clear();
    snapshot.settled = false;
    snapshot.fallback.waits = 0;
    let shown = snapshot.to_string();
    assert!(shown.contains("generation 3, not settled;") && shown.contains("0 waited, 1 refused\n"), "{shown}");
    assert!(shown.ends_with("0 waits, 0 timed out; shared: 0 requests in 0 batches\n"), "{shown}");
}

#[test]
fn times_and_sizes_are_in_sensible_units() {
    let nanos = Duration::from_nanos;
    for (value, expected) in [
        (0, "0.0 µs"),
        (8_340, "8.3 µs"),
        (999_999, "999 µs"),
        (1_000_000, "1.0 ms"),
        (42_900_000, "42 ms"),
        (1_250_000_000, "1.2 s"),
        (119_999_999_999, "119 s"),
        (3_599_000_000_000, "59 min"),
        (10_800_000_000_000, "3 h"),
        (864_000_000_000_000, "10 d"),
    ] {
        assert_eq!(time(nanos(value)), expected);
    }
    for (value, expected) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (12_345_678, "12 MB")] {
        assert_eq!(bytes(value), expected);
    }
}

#[test]
fn json_has_times_as_numbers_of_milliseconds_with_their_unit() {
    let snapshot = snapshot();
    let json = serde_json::to_value(&snapshot).unwrap();
    let node = &json["nodes"][2];
    assert_eq!(node["latency_ms"], 0.213);
    assert_eq!(node["heartbeat_ms"], serde_json::Value::Null);
    assert_eq!((&node["health"], &node["health_for_ms"]), (&"ejected".into(), &12_900.0.into()));
    assert_eq!((&node["outcome"], &node["reason"]), (&"unreachable".into(), &"connection refused".into()));
    assert_eq!(node["connection_wait_time_ms"], 9.0);
    assert_eq!(
        (&node["replication"]["age_ms"], &node["replication"]["master_silent_for_ms"]),
        (&250.0.into(), &2000.0.into())
    );
    assert_eq!((&node["role"], &node["sync_state"]), (&"replica".into(), &"in_sync".into()));
    assert!(json["nodes"][0]["percentiles"]["p999_ms"].as_f64().unwrap() > 0.1);
    assert_eq!(json["fallback"]["wait_time_ms"], 12.0);
    let text = json.to_string();
    assert!(!text.contains("\"secs\"") && !text.contains("\"nanos\""), "{text}");
    assert_eq!(snapshot.clone(), snapshot);
    assert_ne!(Snapshot { retries: 13, ..snapshot.clone() }, snapshot);
}
