//! What the data of a replica is worth: links along the chain of replication, and how far it lags behind.

use std::time::Duration;

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{Builder, Exclusion, NodeAddr, NodeSnapshot, ReadFrom, ReplicatedClient, SyncState};

use crate::support::{Distant, follow, set_with_key, wait_until};

/// Holds what a replica applies, while its link stays up.
fn hold(replica: &Server) {
    replica.pause_writes(Duration::from_secs(600)).unwrap();
}

fn release(replica: &Server) {
    replica.unpause().unwrap();
}

fn state(client: &ReplicatedClient, addr: &NodeAddr) -> SyncState {
    let snapshot = client.snapshot();
    let of = |node: &NodeSnapshot| node.addr == *addr;
    snapshot.nodes.iter().find(|node| of(node)).map_or(SyncState::InSync, |node| node.sync_state)
}

fn wait_for_state(client: &ReplicatedClient, addr: &NodeAddr, expected: SyncState) {
    wait_until(&format!("{addr} is {expected}"), || state(client, addr) == expected);
}

fn quick(servers: &ReplicaSet) -> Builder {
    servers.client_builder().monitor_interval(Duration::from_millis(50))
}

#[test]
fn a_replica_of_a_replica_is_cut_off_where_its_parent_is() {
    // The first replica hears the master through a proxy, the second one follows the first.
    let set = Distant::start(2);
    let [parent, leaf] = set.servers.replicas() else { panic!("two replicas") };
    follow(leaf, parent);
    let link = |server: &Server| server.info("replication", "master_link_status").unwrap();
    wait_until("the chain is up", || link(leaf).as_deref() == Some("up"));
    let client = quick(&set.servers).lag_limit(None).build().unwrap();
    client.set("k", "v").unwrap();
    set.servers.wait_until_in_sync().unwrap();
    wait_until("both serve", || {
        let states = [parent, leaf].map(|server| state(&client, &server.addr()));
        client.get::<Option<String>>("k").is_ok() && states == [SyncState::InSync; 2]
    });
    set.proxies[0].set(NetworkFault::Refuse).unwrap();
    set.proxies[0].cut();
    wait_until("the parent is cut off", || link(parent).as_deref() == Some("down"));
    wait_for_state(&client, &parent.addr(), SyncState::LinkDown);
    assert_eq!(link(leaf).as_deref(), Some("up"), "the leaf itself has nothing to complain of");
    wait_for_state(&client, &leaf.addr(), SyncState::LinkDown);
    client.set("k", "w").unwrap();
    for _ in 0..100 {
        assert_eq!(client.get::<String>("k").unwrap(), "w", "stale replicas come last");
    }
    set.proxies[0].set(NetworkFault::None).unwrap();
    wait_for_state(&client, &leaf.addr(), SyncState::InSync);
}

#[test]
fn a_replica_that_does_not_apply_what_the_master_writes_lags() {
    let servers = set_with_key(2);
    let [held, other] = servers.replicas() else { panic!("two replicas") };
    let limit = Duration::from_millis(400);
    let client = quick(&servers).lag_limit(limit).build().unwrap();
    wait_until("the set is known", || client.set("k", "v").is_ok() && client.snapshot().settled);
    hold(held);
    // The master writes, also while this test waits.
    wait_until("it lags", || {
        client.set("k", "w").unwrap();
        state(&client, &held.addr()) == SyncState::Lagging
    });
    assert_eq!(held.info("replication", "master_link_status").unwrap().as_deref(), Some("up"));
    assert_eq!(state(&client, &other.addr()), SyncState::InSync);
    let explained = client.explain(redis::cmd("GET").arg("k"));
    assert_eq!(explained.candidates(), [other.addr()]);
    assert!(explained.excluded().contains(&(held.addr(), Exclusion::Lagging)), "{explained}");
    assert!(explained.to_string().contains("lags behind the master"), "{explained}");
    // Where no replica is in sync, the master serves as far as it may; then those that lag.
    hold(other);
    wait_until("both lag", || {
        client.set("k", "x").unwrap();
        state(&client, &other.addr()) == SyncState::Lagging
    });
    assert_eq!(client.explain(redis::cmd("GET").arg("k")).candidates(), [servers.master().addr()]);
    assert_eq!(client.get::<String>("k").unwrap(), "x");
    let stale = client.read_from(ReadFrom::Replica);
    assert_eq!(stale.explain(redis::cmd("GET").arg("k")).candidates().len(), 2, "they are what there is");
    assert!(stale.get::<Option<String>>("k").is_ok());
    [held, other].into_iter().for_each(release);
    wait_for_state(&client, &held.addr(), SyncState::InSync);
    wait_for_state(&client, &other.addr(), SyncState::InSync);
}

#[test]
fn a_replica_that_lags_serves_while_the_master_is_dead() {
    let mut servers = set_with_key(1);
    let client = quick(&servers).lag_limit(Duration::from_millis(300)).build().unwrap();
    let replica = servers.replica(0).addr();
    wait_until("the set is known", || client.set("k", "v").is_ok() && client.snapshot().settled);
    servers.wait_until_in_sync().unwrap();
    hold(servers.replica(0));
    wait_until("it lags", || {
        client.set("other", "w").unwrap();
        state(&client, &replica) == SyncState::Lagging
    });
    servers.master_mut().stop();
    wait_for_state(&client, &replica, SyncState::InSync);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn nobody_lags_behind_a_master_that_writes_nothing_and_none_where_the_limit_is_off() {
    let servers = set_with_key(1);
    let replica = servers.replica(0).addr();
    let strict = quick(&servers).lag_limit(Duration::from_millis(100)).build().unwrap();
    let off = quick(&servers).lag_limit(None).build().unwrap();
    for client in [&strict, &off] {
        wait_until("the set is known", || client.snapshot().settled);
    }
    servers.wait_until_in_sync().unwrap();
    hold(servers.replica(0));
    let offset = || servers.master().info("replication", "master_repl_offset").unwrap();
    let before = offset();
    let asked = servers.replica(0).calls("INFO").unwrap();
    wait_until("it is asked a while", || servers.replica(0).calls("INFO").unwrap() > asked + 20);
    // Redis pings its replicas every 10 s, which counts as written.
    if offset() == before {
        assert_eq!(state(&strict, &replica), SyncState::InSync);
    }
    wait_until("it lags by what is written", || {
        strict.set("k", "w").unwrap();
        state(&strict, &replica) == SyncState::Lagging
    });
    assert_eq!(state(&off, &replica), SyncState::InSync);
    release(servers.replica(0));
}

#[test]
fn a_chain_of_three_is_as_good_as_its_middle() {
    let servers = ReplicaSet::start(3).unwrap();
    let [first, middle, leaf] = servers.replicas() else { panic!("three replicas") };
    let proxy = FaultProxy::start(&first.addr()).unwrap();
    crate::support::follow_port(middle, proxy.addr().port().unwrap());
    follow(leaf, middle);
    let link = |server: &Server| server.info("replication", "master_link_status").unwrap();
    wait_until("the chain is up", || [middle, leaf].iter().all(|server| link(server).as_deref() == Some("up")));
    // The proxy is not a node: what the middle says of its parent leads to one by the map.
    let (from, to) = (proxy.addr(), first.addr());
    let map = move |addr: &NodeAddr| if *addr == from { to.clone() } else { addr.clone() };
    let client = quick(&servers).map_address(map).lag_limit(Duration::from_millis(500)).build().unwrap();
    wait_until("the set is known", || client.set("k", "v").is_ok() && client.snapshot().settled);
    wait_until("all are in sync", || {
        let snapshot = client.snapshot();
        snapshot.nodes.iter().all(|node| node.sync_state == SyncState::InSync)
    });
    // The first one holds what it applies: it lags, and so do those behind it.
    hold(first);
    for server in [first, middle, leaf] {
        wait_until("they lag", || {
            client.set("k", "w").unwrap();
            state(&client, &server.addr()) == SyncState::Lagging
        });
    }
    release(first);
    for server in [first, middle, leaf] {
        wait_for_state(&client, &server.addr(), SyncState::InSync);
    }
    proxy.set(NetworkFault::Refuse).unwrap();
    proxy.cut();
    wait_for_state(&client, &leaf.addr(), SyncState::LinkDown);
    assert_eq!(state(&client, &first.addr()), SyncState::InSync);
}
