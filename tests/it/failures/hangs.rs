//! Calls that hang on one node hold nothing that others need: no lock, and no more connections than the settings allow.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, free_port};
use redis_replicated::{Builder, Endpoint, NodeAddr, ReadFrom, ReplicatedClient, Target};

use crate::calls::time_limits::unix_socket::FullSocket;
use crate::support::{Fake, never_answer, set_with_key, wait_until};

/// How long calls hang on the node, unless something ends them.
const HANG: Duration = Duration::from_secs(20);
/// How long anything else may take, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A client of a master, of one replica that answers, and of one more.
fn client(servers: &ReplicaSet, hung: impl Into<Endpoint>) -> ReplicatedClient {
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(servers.replica(0).url());
    let builder = builder.replica(hung).strategy(RoundRobin::new()).connect_timeout(HANG).response_timeout(HANG);
    builder.deadline(2 * HANG).build().unwrap()
}

/// Has calls of both kinds hang on the node, and checks meanwhile that nothing else takes long.
fn check_that_nothing_waits(what: &str, servers: &ReplicaSet, client: &ReplicatedClient, hung: &NodeAddr) {
    let under_way = Arc::new(AtomicUsize::new(0));
    for _ in 0..4 {
        let (client, hung, under_way) = (client.clone(), hung.clone(), Arc::clone(&under_way));
        // Left to itself: it hangs for longer than the test takes.
        thread::spawn(move || {
            under_way.fetch_add(1, Ordering::SeqCst);
            let connected = client.dedicated(Target::Node(hung));
            let _ = connected.map(|mut connection| redis::cmd("GET").arg("k").exec(&mut connection));
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
    }
    for _ in 0..16 {
        let client = client.read_from(ReadFrom::Replica);
        thread::spawn(move || client.get::<String>("k"));
    }
    let in_flight = || client.snapshot().nodes.iter().find(|node| node.addr == *hung).unwrap().in_flight;
    wait_until("calls hang", || in_flight() > 0 && under_way.load(Ordering::SeqCst) == 4);
    let spare = NodeAddr::tcp("127.0.0.1", free_port().unwrap());
    let on_master = client.read_from(ReadFrom::Master);
    let begin = Instant::now();
    for round in 0..20 {
        let act = |name: &str, act: &dyn Fn()| {
            let start = Instant::now();
            act();
            assert!(start.elapsed() < AT_ONCE, "{what}: {name} took {:?}", start.elapsed());
        };
        act("a snapshot", &|| assert!(client.snapshot().nodes.len() >= 3));
        act("its text", &|| assert!(client.snapshot().to_string().contains("node")));
        act("an explanation", &|| assert!(client.explain(&redis::cmd("GET")).to_string().len() > 1));
        act("a write", &|| client.set("n", round).unwrap());
        act("a read of the master", &|| assert_eq!(on_master.get::<u32>("n").unwrap(), round));
        act("a connection", &|| drop(client.dedicated(Target::Master).unwrap()));
        act("another connection", &|| drop(client.dedicated(Target::Node(servers.replica(0).addr())).unwrap()));
        act("a node more", &|| client.add_replica(spare.clone()).unwrap());
        act("a weight", &|| client.set_weight(hung, 1 + round).unwrap());
        act("a node less", &|| client.remove_replica(&spare).unwrap());
        act("the text of a client", &|| assert!(!format!("{client:?}").is_empty()));
    }
    let still = under_way.load(Ordering::SeqCst);
    assert_eq!(still, 4, "{what}: calls that hang ended within {:?}", begin.elapsed());
}

#[test]
fn a_node_that_hangs_in_connect_delays_nothing_else() {
    let servers = set_with_key(1);
    let mut socket = FullSocket::start();
    socket.fill();
    let client = client(&servers, socket.url());
    let hung = client.snapshot().nodes[2].addr.clone();
    check_that_nothing_waits("connect", &servers, &client, &hung);
}

#[test]
fn a_node_that_hangs_in_its_handshake_delays_nothing_else() {
    let servers = set_with_key(2);
    let proxy = FaultProxy::start(&servers.replica(1).addr()).unwrap();
    proxy.set(NetworkFault::BlackHole).unwrap();
    check_that_nothing_waits("handshake", &servers, &client(&servers, proxy.url()), &proxy.addr());
}

#[test]
fn a_node_that_hangs_in_its_replies_delays_nothing_else() {
    let servers = set_with_key(2);
    let proxy = FaultProxy::start(&servers.replica(1).addr()).unwrap();
    let client = client(&servers, proxy.url());
    (0..8).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    proxy.set(NetworkFault::BlackHole).unwrap();
    check_that_nothing_waits("reply", &servers, &client, &proxy.addr());
}

/// A master that counts its open connections and the most it ever had, and never answers after its greeting, if it has one.
fn counting(greets: bool) -> (Fake, Arc<AtomicUsize>) {
    let (open, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let hang = move |stream: TcpStream| {
        seen.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        never_answer(stream);
        open.fetch_sub(1, Ordering::SeqCst);
    };
    let fake = if greets { Fake::start("master", hang) } else { Fake::raw(hang) };
    (fake, most)
}

/// Has calls on many threads hang; returns how many connections were open at most, once there are as many as expected.
fn most_connections(expected: usize, greets: bool, blocks: bool, set_up: impl Fn(Builder) -> Builder) -> usize {
    const CALLERS: usize = 64;
    let (hung, most) = counting(greets);
    let builder = ReplicatedClient::builder().master(hung.url()).monitor_interval(Duration::ZERO);
    let builder = builder.connect_timeout(HANG).response_timeout(HANG).checkout_timeout(HANG).deadline(HANG);
    let client = set_up(builder).build().unwrap();
    let under_way = Arc::new(AtomicUsize::new(0));
    for caller in 0..CALLERS {
        let (client, under_way) = (client.clone(), Arc::clone(&under_way));
        // Left to itself: it hangs for longer than the test takes.
        thread::spawn(move || {
            under_way.fetch_add(1, Ordering::SeqCst);
            if blocks && caller % 2 == 1 {
                let _ = client.query::<()>(redis::cmd("BLPOP").arg("list").arg(1));
            } else {
                let _ = client.get::<String>("k");
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let is_there = || under_way.load(Ordering::SeqCst) == CALLERS && most.load(Ordering::SeqCst) >= expected;
    wait_until("all callers wait", is_there);
    // Nothing tells that nobody connects any more: long enough for several connections.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(under_way.load(Ordering::SeqCst), CALLERS, "some calls did not hang");
    most.load(Ordering::SeqCst)
}

#[test]
fn callers_of_a_node_that_hangs_take_no_more_connections_than_the_settings_allow() {
    let alone = |builder: Builder| builder.shared_connections(0);
    assert_eq!(most_connections(2, false, false, |builder| builder), 2, "max_connecting is 2 by default");
    assert_eq!(most_connections(5, false, false, |builder| builder.max_connecting(5)), 5);
    assert_eq!(most_connections(10, true, false, alone), 10, "pool_size is 10 by default");
    assert_eq!(most_connections(3, true, false, |builder| alone(builder).pool_size(3)), 3);
    assert_eq!(most_connections(4, true, false, |builder| builder.pool_size(3)), 4, "and one that callers share");
    assert_eq!(
        most_connections(6, true, true, |builder| alone(builder).pool_size(3)),
        6,
        "as many again for blocking commands"
    );
}
