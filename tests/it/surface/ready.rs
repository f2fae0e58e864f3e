//! `ready`: whether the client can serve, and what is missing.

use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, free_port};
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient};

use crate::support::{configure, set_with_key};

const LIMIT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(400);

#[test]
fn a_client_is_ready_when_it_has_a_connection_for_writes_and_one_for_reads() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    client.ready(LIMIT).unwrap();
    let open: Vec<u32> = client.snapshot().nodes.iter().map(|node| node.connections_open).collect();
    assert!(open.iter().all(|open| *open >= 1), "{open:?}");
    client.ready(Duration::ZERO).expect("it is ready");
}

#[test]
fn it_is_told_what_is_missing_and_by_the_limit() {
    let port = free_port().unwrap();
    let client = ReplicatedClient::builder().master(format!("redis://127.0.0.1:{port}")).build().unwrap();
    let began = Instant::now();
    let error = client.ready(SHORT).unwrap_err();
    // The machine may be late, but not by as much as an attempt may take.
    assert!(began.elapsed() < SHORT + Duration::from_millis(600), "{:?}", began.elapsed());
    let text = error.to_string();
    assert!(text.contains("not ready for writes") && text.contains("refused"), "{text}");
    assert!(text.contains(&port.to_string()), "{text}");
    // A replica alone.
    let servers = ReplicaSet::start(1).unwrap();
    let client = ReplicatedClient::builder().master(servers.replica(0).url()).build().unwrap();
    let error = client.ready(SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("not ready for writes"), "{error}");
    // A master alone, where only replicas may serve reads.
    let client = ReplicatedClient::builder().master(servers.master().url()).build().unwrap();
    client.ready(LIMIT).unwrap();
    let error = client.read_from(ReadFrom::Replica).ready(SHORT).unwrap_err();
    assert!(error.to_string().contains("not ready for reads"), "{error}");
    // A login that is refused.
    configure(servers.master(), "requirepass", "secret");
    let client = ReplicatedClient::builder().master(servers.master().url()).build().unwrap();
    let error = client.ready(SHORT).unwrap_err();
    assert!(error.to_string().contains("not ready for writes") && error.to_string().contains("NOAUTH"), "{error}");
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn it_waits_for_servers_that_start_late() {
    let mut servers = set_with_key(1);
    servers.master_mut().stop();
    servers.replica_mut(0).stop();
    let client = servers.client_builder().build().unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| client.ready(LIMIT));
        // Both come up while it waits.
        assert!(client.ready(SHORT).is_err());
        servers.master_mut().restart().unwrap();
        servers.replica_mut(0).restart().unwrap();
        waits.join().unwrap().unwrap();
    });
}
