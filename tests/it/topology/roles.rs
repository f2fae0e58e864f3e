//! Roles that change by hand: masters that are demoted, replicas that are promoted, strays, links that are cut.

use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server, free_port};
use redis_replicated::{ErrorKind, ReplicatedClient, Role, SyncState, redis};

use crate::support::{Load, follow, follow_port, promote, set_with_key, wait_until};

const LONG: Duration = Duration::from_secs(20);

/// Where writes go, as the client sees it.
fn place_of_master(client: &ReplicatedClient) -> usize {
    client.snapshot().nodes.iter().position(|node| node.assigned_role == Role::Master).unwrap()
}

/// Swaps the master and its first replica.
fn swap_roles(servers: &ReplicaSet) {
    promote(servers.replica(0));
    follow(servers.master(), servers.replica(0));
    servers.replicas()[1..].iter().for_each(|replica| follow(replica, servers.replica(0)));
}

#[test]
fn without_a_monitor_calls_find_a_replica_that_is_back() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().monitor_interval(Duration::ZERO).build().unwrap();
    servers.replica_mut(0).stop();
    (0..4).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    assert!(client.snapshot().nodes[1].ejected);
    servers.replica_mut(0).restart().unwrap();
    servers.wait_until_in_sync().unwrap();
    wait_until("it serves again", || {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        let node = &client.snapshot().nodes[1];
        !node.ejected && node.answered > 0
    });
    assert_eq!(servers.master().calls("GET").unwrap(), 0);
}

#[test]
fn without_a_monitor_calls_notice_that_roles_were_swapped() {
    let servers = set_with_key(2);
    let client = servers.client_builder().monitor_interval(Duration::ZERO).deadline(LONG).build().unwrap();
    client.set("n", 0).unwrap();
    swap_roles(&servers);
    (1..=50).for_each(|n| assert_eq!(client.incr("n").unwrap(), n));
    assert_eq!(servers.replica(0).info("replication", "role").unwrap().as_deref(), Some("master"));
    assert_eq!(place_of_master(&client), 1);
    servers.wait_until_in_sync().unwrap();
    for _ in 0..20 {
        assert_eq!(client.get::<i64>("n").unwrap(), 50);
    }
}

#[test]
fn writes_go_on_after_a_promotion_by_hand() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    client.set("n", 0).unwrap();
    let ((), failures) = Load::run(&client, 4, |load| {
        servers.master_mut().stop();
        wait_until("the master is out", || client.snapshot().nodes[0].ejected);
        let writer = client.clone();
        let write = thread::spawn(move || (writer.set("n", 1), Instant::now()));
        promote(servers.replica(0));
        let promoted = Instant::now();
        follow(servers.replica(1), servers.replica(0));
        let (written, at) = write.join().unwrap();
        written.unwrap();
        println!("written {:?} after the promotion", at.saturating_duration_since(promoted));
        load.flow(1000);
    });
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
    assert_eq!(place_of_master(&client), 1);
}

#[test]
fn a_write_into_a_black_hole_is_in_doubt_and_the_next_goes_to_the_new_master() {
    let servers = set_with_key(1);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url()).replica(servers.replica(0).url());
    let client = builder.response_timeout(Duration::from_millis(200)).deadline(LONG).build().unwrap();
    client.set("n", 0).unwrap();
    servers.wait_until_in_sync().unwrap();
    proxy.set(NetworkFault::BlackHole).unwrap();
    let error = client.incr("n").unwrap_err();
    // Not sent at all, if the monitor was the first to find out.
    assert_eq!(error.may_have_executed(), error.kind() == ErrorKind::Interrupted, "{error}");
    // The replica sees its master: it has to be promoted before writes may go there.
    let sets = servers.replica(0).calls("SET").unwrap();
    let error = client.deadline(Duration::from_millis(300)).set("k", "x").unwrap_err();
    assert_eq!(servers.replica(0).calls("SET").unwrap(), sets, "{error}");
    promote(servers.replica(0));
    let promoted = Instant::now();
    wait_until("a write is done", || client.set("k", "new").is_ok());
    println!("written {:?} after the promotion", promoted.elapsed());
    assert_eq!(servers.replica(0).calls("SET").unwrap(), sets + 1);
    // What the black hole held back arrives at the old master, but nothing new does.
    proxy.set(NetworkFault::None).unwrap();
    wait_until("the old master is seen", || client.snapshot().nodes[0].sync_state == SyncState::Diverged);
    let (sets, gets) = (servers.master().calls("SET").unwrap(), servers.master().calls("GET").unwrap());
    for _ in 0..50 {
        client.set("k", "newer").unwrap();
        assert_eq!(client.get::<String>("k").unwrap(), "newer");
    }
    assert_eq!((servers.master().calls("SET").unwrap(), servers.master().calls("GET").unwrap()), (sets, gets));
}

#[test]
fn a_transaction_that_a_demotion_aborts_was_not_executed() {
    let servers = set_with_key(1);
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    redis::cmd("SET").arg("k").arg("x").exec(&mut connection).unwrap();
    swap_roles(&servers);
    let error = redis::cmd("EXEC").exec(&mut connection).unwrap_err();
    assert_eq!(error.code(), Some("EXECABORT"), "{error}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    redis::cmd("SET").arg("k").arg("again").exec(&mut connection).unwrap();
    assert_eq!(place_of_master(&client), 1);
    let mut master = servers.replica(0).connection().unwrap();
    assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut master).unwrap(), "again");
}

#[test]
fn a_pipeline_that_a_demotion_interrupts_is_sent_again_only_if_nothing_of_it_was_executed() {
    let servers = set_with_key(1);
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    let interrupted = |pipeline: redis::Pipeline| {
        let blocked = client.clone();
        let call = thread::spawn(move || blocked.query_pipeline::<redis::Value>(&pipeline));
        wait_until("it blocks", || {
            servers
                .servers()
                .iter()
                .any(|server| server.info("clients", "blocked_clients").unwrap().as_deref() == Some("1"))
        });
        call
    };
    let call = interrupted(redis::pipe().incr("n", 1).blpop("queue", 15.0).to_owned());
    swap_roles(&servers);
    let error = call.join().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, true), "{error}");
    assert_eq!(client.get::<i64>("n").unwrap(), 1, "once");
    servers.wait_until_in_sync().unwrap();
    let call = interrupted(redis::pipe().blpop("queue", 15.0).to_owned());
    promote(servers.master());
    follow(servers.replica(0), servers.master());
    client.rpush("queue", "item").unwrap();
    let popped = call.join().unwrap().unwrap();
    assert!(format!("{popped:?}").contains("item"), "{popped:?}");
}

#[test]
fn a_replica_that_claims_mastership_serves_nobody_until_it_follows_again() {
    let servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    let stray = servers.replica(1);
    client.set("k", "v").unwrap();
    promote(stray);
    wait_until("it is seen", || client.snapshot().nodes[2].sync_state == SyncState::Diverged);
    let calls = |server: &Server| (server.calls("GET").unwrap(), server.calls("SET").unwrap());
    let before = calls(stray);
    for _ in 0..100 {
        client.set("k", "v").unwrap();
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    assert_eq!(calls(stray), before);
    assert_eq!((place_of_master(&client), servers.master().calls("GET").unwrap()), (0, 0));
    follow(stray, servers.master());
    let answered = client.snapshot().nodes[2].answered;
    wait_until("it serves again", || {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        client.snapshot().nodes[2].answered > answered
    });
    assert_eq!(client.snapshot().nodes[2].sync_state, SyncState::InSync);
}

#[test]
fn a_replica_that_is_cut_off_serves_only_where_no_master_lives() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    let (dead, cut) = (free_port().unwrap(), 0);
    let ((), failures) = Load::run(&client, 4, |load| {
        follow_port(servers.replica(cut), dead);
        wait_until("it is out", || {
            matches!(client.snapshot().nodes[1].sync_state, SyncState::LinkDown | SyncState::Diverged)
        });
        println!("sync_state: {}", client.snapshot().nodes[1].sync_state);
        load.finish_calls();
        let gets = servers.replica(cut).calls("GET").unwrap();
        load.flow(1000);
        assert_eq!(servers.replica(cut).calls("GET").unwrap(), gets);
        assert_eq!(servers.master().calls("GET").unwrap(), 0, "the other replica lives");
        servers.master_mut().stop();
        load.flow(1000);
        servers.replica_mut(1).stop();
        load.flow(1000);
        assert!(servers.replica(cut).calls("GET").unwrap() > gets + 500);
    });
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
}

#[test]
fn without_a_monitor_writes_go_on_after_a_promotion_by_hand() {
    let servers = set_with_key(2);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    for fault in [NetworkFault::Refuse, NetworkFault::BlackHole] {
        proxy.set(NetworkFault::None).unwrap();
        let builder =
            ReplicatedClient::builder().master(proxy.url()).replicas(servers.replicas().iter().map(Server::url));
        let builder = builder.monitor_interval(Duration::ZERO).response_timeout(Duration::from_millis(200));
        let client = builder.deadline(LONG).build().unwrap();
        client.set("n", 0).unwrap();
        proxy.set(fault).unwrap();
        promote(servers.replica(0));
        let promoted = Instant::now();
        follow(servers.replica(1), servers.replica(0));
        // The first may be in doubt.
        wait_until("a write is done", || client.set("n", 1).is_ok());
        println!("{fault:?}: written {:?} after the promotion", promoted.elapsed());
        assert_eq!(place_of_master(&client), 1);
        follow(servers.replica(0), servers.master());
        follow(servers.replica(1), servers.master());
        servers.wait_until_in_sync().unwrap();
    }
}

#[test]
fn writes_go_on_when_a_stopped_master_runs_again() {
    let servers = set_with_key(1);
    for monitor in [Duration::from_secs(1), Duration::ZERO] {
        let builder = servers.client_builder().response_timeout(Duration::from_millis(200)).monitor_interval(monitor);
        let client = builder.deadline(LONG).build().unwrap();
        client.set("n", 0).unwrap();
        servers.master().pause().unwrap();
        let short = client.deadline(Duration::from_millis(400));
        (0..3).for_each(|_| drop(short.set("n", 1).unwrap_err()));
        assert_eq!(short.get::<String>("k").unwrap(), "v");
        let writer = client.clone();
        let write = thread::spawn(move || (writer.set("n", 2), Instant::now()));
        // Longer than the response limit: the write has met it before the master runs again.
        thread::sleep(Duration::from_millis(500));
        servers.master().resume().unwrap();
        let resumed = Instant::now();
        let (written, at) = write.join().unwrap();
        println!("monitored every {monitor:?}: {written:?} {:?} after SIGCONT", at.saturating_duration_since(resumed));
        wait_until("a write is done", || client.set("n", 3).is_ok());
        println!("written {:?} after SIGCONT", resumed.elapsed());
        assert_eq!(place_of_master(&client), 0);
    }
}

#[test]
fn without_a_monitor_a_second_outage_of_the_master_is_one() {
    let mut servers = set_with_key(2);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = ReplicatedClient::builder()
        .master(proxy.url())
        .replicas(servers.replicas().iter().map(Server::url))
        .monitor_interval(Duration::ZERO)
        .deadline(LONG)
        .build()
        .unwrap();
    client.set("n", 0).unwrap();
    // The first one: it is noticed, and over before anything changes.
    proxy.set(NetworkFault::Refuse).unwrap();
    let short = client.deadline(Duration::from_millis(300));
    // Once in doubt, on the connection that is cut, and then not sent at all.
    wait_until("it is noticed", || short.set("n", 1).unwrap_err().kind() == ErrorKind::Checkout);
    proxy.set(NetworkFault::None).unwrap();
    client.set("n", 2).unwrap();
    servers.wait_until_in_sync().unwrap();
    servers.master_mut().stop();
    proxy.set(NetworkFault::Refuse).unwrap();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    wait_until("writes go on", || client.set("n", 3).is_ok());
    assert_eq!(place_of_master(&client), 1);
}

#[test]
fn more_writers_than_connections_outlast_a_black_holed_master() {
    let servers = set_with_key(2);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = ReplicatedClient::builder()
        .master(proxy.url())
        .replicas(servers.replicas().iter().map(Server::url))
        .pool_size(2)
        .response_timeout(Duration::from_millis(300))
        .deadline(LONG)
        .build()
        .unwrap();
    client.set("n", 0).unwrap();
    proxy.set(NetworkFault::BlackHole).unwrap();
    wait_until("the master is out", || {
        assert_ne!(client.get::<Option<String>>("k").unwrap(), None);
        client.snapshot().nodes[0].ejected
    });
    thread::scope(|scope| {
        let writers: Vec<_> = (0..16).map(|_| scope.spawn(|| client.incr("n"))).collect();
        // Longer than the response limit: the writers have met it before there is another master.
        thread::sleep(Duration::from_millis(500));
        promote(servers.replica(0));
        follow(servers.replica(1), servers.replica(0));
        let written = writers.into_iter().map(|writer| writer.join().unwrap().unwrap());
        assert_eq!(written.max(), Some(16), "each once");
    });
}

#[test]
fn a_master_that_comes_back_empty_gets_no_write_before_its_heir_is_known() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    client.set("n", 10).unwrap();
    servers.wait_until_in_sync().unwrap();
    servers.master_mut().stop();
    wait_until("the master is out", || client.snapshot().nodes[0].ejected);
    thread::scope(|scope| {
        let write = scope.spawn(|| client.incr("n"));
        promote(servers.replica(0));
        follow(servers.replica(1), servers.replica(0));
        servers.master_mut().restart().unwrap();
        assert_eq!(write.join().unwrap().unwrap(), 11);
    });
    assert_eq!(servers.master().calls("INCRBY").unwrap() + servers.master().calls("INCR").unwrap(), 0);
}
