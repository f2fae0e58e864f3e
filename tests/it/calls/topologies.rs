//! The topology that a call works with: what changes while an attempt is under way counts after the next wait.

use std::thread;
use std::time::Duration;

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{ReadFrom, ReplicatedClient, Result, SyncState};

use crate::support::{set_with_key, wait_until};

/// Reads from the only replica. While that hangs, another one joins; then the first is killed, and the read goes on.
fn read_while_a_replica_joins(read_from: ReadFrom) -> (ReplicaSet, ReplicatedClient, Result<String>) {
    let mut servers = set_with_key(2);
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(servers.replica(0).url());
    // Neither a limit nor the monitor ends the attempt before the other replica is there.
    let builder = builder.response_timeout(Duration::from_secs(15)).deadline(Duration::from_secs(30));
    let client = builder.monitor_interval(Duration::from_secs(60)).read_from(read_from).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    servers.replica(0).pause().unwrap();
    let reader = client.clone();
    let read = thread::spawn(move || reader.get::<String>("k"));
    wait_until("the read is under way", || client.snapshot().nodes[1].in_flight == 1);
    let before = client.snapshot().generation;
    client.add_replica(servers.replica(1).url()).unwrap();
    wait_until("the other replica may serve", || {
        let snapshot = client.snapshot();
        let node = snapshot.nodes.iter().find(|node| node.addr == servers.replica(1).addr());
        node.is_some_and(|node| node.replication.is_some() && node.sync_state == SyncState::InSync)
    });
    assert!(client.snapshot().generation > before);
    assert_eq!(client.snapshot().nodes[1].in_flight, 1, "the attempt ended too early:\n{}", client.snapshot());
    servers.replica_mut(0).stop();
    (servers, client, read.join().unwrap())
}

#[test]
fn a_read_goes_on_in_the_topology_it_began_with() {
    let (servers, client, read) = read_while_a_replica_joins(ReadFrom::ReplicaPreferred);
    assert_eq!(read.unwrap(), "v");
    let reads = |index: usize| servers.servers()[index].calls("GET").unwrap();
    // In the topology it began with, the master is all that is left; in the present one, the other replica comes first.
    assert_eq!((reads(0), reads(2)), (1, 0), "{}", client.snapshot());
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert_eq!((reads(0), reads(2)), (1, 1), "a new call begins with the present topology\n{}", client.snapshot());
}

#[test]
fn a_read_that_has_waited_goes_on_in_the_topology_of_then() {
    let (servers, client, read) = read_while_a_replica_joins(ReadFrom::Replica);
    // In the topology it began with, nobody is left.
    assert_eq!(read.unwrap(), "v", "{}", client.snapshot());
    let reads = |index: usize| servers.servers()[index].calls("GET").unwrap();
    assert_eq!((reads(0), reads(2)), (0, 1), "{}", client.snapshot());
}
