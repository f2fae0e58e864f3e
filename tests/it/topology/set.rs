//! Changing a set while it is used.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::testing::{Sentinels, Server, free_port};
use redis_replicated::{Endpoint, ErrorKind, NodeAddr, ReadFrom, ReplicatedClient};

use crate::support::{addrs, follow, places, promote, set_with_key, wait_until, wait_until_set_is};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn replicas_come_and_go() {
    let servers = set_with_key(2);
    let [first, second] = [servers.replica(0), servers.replica(1)];
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(first.url());
    let client = builder.build().unwrap();
    client.add_replica(Endpoint::from(second.url()).weight(3).zone("b")).unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let snapshot = client.snapshot();
    assert_eq!((snapshot.nodes[2].weight, snapshot.nodes[2].zone.as_deref()), (3, Some("b")));
    wait_until("both serve", || {
        (0..20).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        first.calls("GET").unwrap() > 0 && second.calls("GET").unwrap() > 0
    });
    client.remove_replica(&first.addr()).unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &[second.addr()]);
    first.reset_counts().unwrap();
    (0..20).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    assert_eq!(first.calls("GET").unwrap(), 0);
    client.remove_replica(&second.addr()).unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v", "a set without replicas");
    client.add_replica(first.url()).unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &[first.addr()]);
    client.refresh().unwrap();
}

#[test]
fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let before = places(&client);
    let free = |path: &str| format!("redis://127.0.0.1:{}{path}", free_port().unwrap());
    for node in [servers.master().url(), servers.replica(0).url(), free("/5"), "no address".to_owned()] {
        let error = client.add_replica(node.as_str()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert_eq!(client.add_replica(Endpoint::from(free("")).weight(0)).unwrap_err().kind(), ErrorKind::Config);
    let unknown = NodeAddr::tcp("127.0.0.1", 1);
    for node in [servers.master().addr(), unknown.clone()] {
        let error = client.remove_replica(&node).unwrap_err();
        assert_eq!((error.kind(), error.node()), (ErrorKind::Topology, Some(&node)), "{error}");
    }
    assert_eq!(client.set_weight(&unknown, 2).unwrap_err().kind(), ErrorKind::Topology);
    assert_eq!(client.set_weight(&servers.replica(0).addr(), 0).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(places(&client), before);
    client.set_weight(&servers.replica(0).addr(), 7).unwrap();
    assert_eq!(client.snapshot().nodes[1].weight, 7);
    client.refresh().unwrap();
    assert_eq!((places(&client), client.snapshot().nodes[1].weight), (before, 7));
    let found = ReplicatedClient::builder().discover([servers.master().url()]).build().unwrap();
    assert_eq!(found.add_replica(servers.replica(0).url()).unwrap_err().kind(), ErrorKind::Topology);
    assert_eq!(found.remove_replica(&servers.replica(0).addr()).unwrap_err().kind(), ErrorKind::Topology);
}

#[test]
fn a_set_takes_64_nodes_and_no_more() {
    let dead = free_port().unwrap();
    let builder = ReplicatedClient::builder().master(("127.0.0.1", dead)).monitor_interval(Duration::ZERO);
    let client = builder.build().unwrap();
    for port in 1..64 {
        client.add_replica(NodeAddr::tcp("192.0.2.1", port)).unwrap();
    }
    let error = client.add_replica(NodeAddr::tcp("192.0.2.1", 64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(client.snapshot().nodes.len(), 64);
    client.remove_replica(&NodeAddr::tcp("192.0.2.1", 7)).unwrap();
    client.add_replica(NodeAddr::tcp("192.0.2.1", 64)).unwrap();
}

/// A read on the only replica that ends when something is added to the stream `s`.
fn blocking_read() -> redis::Cmd {
    redis::cmd("XREAD").arg("BLOCK").arg(0).arg("STREAMS").arg("s").arg("$").to_owned()
}

fn wait_until_blocked(server: &Server) {
    let is_blocked = || server.info("clients", "blocked_clients").unwrap().as_deref() == Some("1");
    wait_until("the read is under way", is_blocked);
}

#[test]
fn a_node_that_leaves_finishes_what_it_has_begun() {
    let servers = set_with_key(1);
    let client = servers.client_builder().read_from(ReadFrom::Replica).deadline(LONG).build().unwrap();
    let replica = servers.replica(0).addr();
    thread::scope(|scope| {
        let read = scope.spawn(|| client.query::<redis::Value>(&blocking_read()).unwrap());
        wait_until_blocked(servers.replica(0));
        let removal = scope.spawn(|| client.remove_replica(&replica).unwrap());
        wait_until("the node is out", || client.snapshot().nodes.len() == 1);
        assert!(!removal.is_finished() && !read.is_finished(), "the removal waits for the read");
        client.query::<()>(redis::cmd("XADD").arg("s").arg("*").arg("f").arg("v")).unwrap();
        assert!(matches!(read.join().unwrap(), redis::Value::Array(_)));
        removal.join().unwrap();
    });
    assert_eq!(client.get::<String>("k").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_removal_does_not_wait_past_its_deadline() {
    let servers = set_with_key(1);
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    thread::scope(|scope| {
        let read = scope.spawn(|| client.query::<redis::Value>(&blocking_read()).unwrap());
        wait_until_blocked(servers.replica(0));
        client.deadline(Duration::from_millis(100)).remove_replica(&servers.replica(0).addr()).unwrap();
        assert!(!read.is_finished());
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        client.query::<()>(redis::cmd("XADD").arg("s").arg("*").arg("f").arg("v")).unwrap();
        read.join().unwrap();
    });
}

#[test]
fn the_former_master_can_be_removed() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let old = servers.master().addr();
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    client.set("k", "v").unwrap();
    client.remove_replica(&old).unwrap();
    wait_until_set_is(&client, &servers.replica(0).addr(), &[servers.replica(1).addr()]);
    let late = redis_replicated::testing::ReplicaSet::start(0).unwrap();
    follow(late.master(), servers.replica(0));
    client.add_replica(late.master().url()).unwrap();
    client.refresh().unwrap();
    wait_until_set_is(&client, &servers.replica(0).addr(), &[servers.replica(1).addr(), late.master().addr()]);
    client.set("k", "w").unwrap();
}

#[test]
fn changes_by_several_threads_all_count() {
    let builder = ReplicatedClient::builder().master(("127.0.0.1", free_port().unwrap()));
    let client = builder.monitor_interval(Duration::ZERO).build().unwrap();
    let node = |thread: u16, round: u16| NodeAddr::tcp("192.0.2.1", 1000 * (thread + 1) + round);
    thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..50 {
                    client.add_replica(node(thread, round)).unwrap();
                    assert!(places(client).1.contains(&node(thread, round)));
                    if round > 0 {
                        client.remove_replica(&node(thread, round - 1)).unwrap();
                        assert!(!places(client).1.contains(&node(thread, round - 1)));
                    }
                }
            });
        }
    });
    let left: Vec<NodeAddr> = (0..8).map(|thread| node(thread, 49)).collect();
    assert_eq!(places(&client).1, left);
}

#[test]
fn readers_never_see_an_empty_set() {
    let servers = set_with_key(2);
    let [one, other] = [servers.replica(0), servers.replica(1)];
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(one.url());
    let client = builder.read_from(ReadFrom::Replica).deadline(Duration::from_secs(10)).build().unwrap();
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let read = client.get::<String>("k");
                    if read.as_deref().ok() != Some("v") {
                        stop.store(true, Ordering::SeqCst);
                        panic!("{read:?}");
                    }
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for swap in 0..1000 {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            match swap % 4 {
                0 => client.add_replica(other.url()).unwrap(),
                1 => client.remove_replica(&one.addr()).unwrap(),
                2 => client.add_replica(one.url()).unwrap(),
                _ => client.remove_replica(&other.addr()).unwrap(),
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    println!("{} reads during 1000 swaps", reads.load(Ordering::SeqCst));
    assert_eq!(servers.master().calls("GET").unwrap(), 0);
    assert_eq!(places(&client).1, [one.addr()]);
}

/// How many threads of clients this process has.
fn client_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("redis-")).count()
}

/// Tells that this process runs one test and nothing else.
const ALONE: &str = "REDIS_REPLICATED_TEST_RUNS_ALONE";

#[test]
fn all_threads_end_with_the_last_handle() {
    // Other tests have clients, too: only a process of its own can count.
    let test = "topology::set::all_threads_end_with_the_last_handle_in_a_process_of_its_own";
    let program = std::env::current_exe().unwrap();
    let run = Command::new(program).args(["--exact", test, "--ignored"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn all_threads_end_with_the_last_handle_in_a_process_of_its_own() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let servers = set_with_key(2);
    let sentinels = Sentinels::start(&servers, 2).unwrap();
    let kinds = [
        servers.client_builder(),
        ReplicatedClient::builder().discover([servers.replica(0).url()]),
        ReplicatedClient::builder().sentinel("main", sentinels.urls()),
        ReplicatedClient::builder().discover([servers.replica(0).url()]).monitor_interval(Duration::ZERO),
        // Nobody there, and a Sentinel that is none.
        ReplicatedClient::builder().discover([("127.0.0.1", free_port().unwrap())]),
        ReplicatedClient::builder().sentinel("main", [servers.master().url()]),
    ];
    assert_eq!(client_threads(), 0);
    for (kind, builder) in kinds.into_iter().enumerate() {
        let client = builder.deadline(Duration::from_secs(1)).build().unwrap();
        let other = client.clone();
        if kind < 4 {
            client.set("k", "v").unwrap();
            wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
        } else {
            assert!(client.set("k", "v").is_err());
        }
        drop(client);
        assert!(client_threads() > 0, "kind {kind}");
        drop(other);
        wait_until(&format!("all threads of kind {kind} end"), || client_threads() == 0);
    }
    // Dropped at once, and while all nodes hang.
    drop(servers.client_builder().build().unwrap());
    servers.servers().iter().for_each(|server| server.pause().unwrap());
    let client = servers.client_builder().deadline(Duration::from_millis(100)).build().unwrap();
    assert!(client.set("k", "v").is_err());
    drop(client);
    wait_until("all threads end", || client_threads() == 0);
}
