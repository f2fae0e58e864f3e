//! Nobody healthy is left: a budget bounds the retries, a cap protects the master, and calls wait for nodes to appear.

use std::io::{BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, free_port};
use redis_replicated::{Builder, ErrorKind, ReadFrom, ReplicatedClient};

use crate::support::{Fake, read_command, read_some, set_with_key, wait_until};

#[test]
fn a_budget_bounds_the_attempts_where_all_replicas_fail() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let failing = || {
        let attempts = Arc::clone(&attempts);
        Fake::start("replica", move |mut stream| {
            if read_some(&mut stream) > 0 {
                attempts.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let fakes = [failing(), failing(), failing()];
    let client = ReplicatedClient::builder()
        .master(("127.0.0.1", free_port().unwrap()))
        .replicas(fakes.iter().map(Fake::url))
        .read_from(ReadFrom::Replica)
        .monitor_interval(Duration::ZERO)
        .deadline(Duration::from_millis(20))
        .build()
        .unwrap();
    let (start, each) = (Instant::now(), 250);
    thread::scope(|scope| {
        let call = || (0..each).for_each(|_| assert!(client.get::<String>("k").is_err()));
        (0..8).for_each(|_| drop(scope.spawn(call)));
    });
    let (requests, seconds) = (f64::from(8 * each), start.elapsed().as_secs_f64());
    let attempts = attempts.load(Ordering::SeqCst) as f64;
    println!("{attempts} attempts for {requests} requests in {seconds:.1} s");
    assert!(attempts > requests / 10.0, "the fakes were not asked");
    assert!(attempts <= 1.2 * requests + 10.0 * seconds + 10.0, "{attempts} for {requests} in {seconds} s");
}

/// A master whose reads take a while; counts how many it serves at once.
struct SlowMaster {
    fake: Fake,
    most: Arc<AtomicUsize>,
}

impl SlowMaster {
    fn start() -> Self {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let fake = Fake::raw(move |mut output| {
            let mut input = BufReader::new(output.try_clone().unwrap());
            while let Some(words) = read_command(&mut input) {
                let reply: &[u8] = match words[0].as_str() {
                    "HELLO" => b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n",
                    "GET" => {
                        seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        // Reads that take a while, so that several are under way at once.
                        thread::sleep(Duration::from_millis(20));
                        running.fetch_sub(1, Ordering::SeqCst);
                        b"$1\r\nv\r\n"
                    }
                    _ => b"-NOPERM this user has no permissions\r\n",
                };
                if output.write_all(reply).is_err() {
                    return;
                }
            }
        });
        Self { fake, most }
    }
}

/// What the calls came to that a slow master had to serve for dead replicas.
struct Shortage {
    most_at_once: usize,
    served: usize,
    refused: Vec<Duration>,
}

fn shortage(replicas: usize, set_up: impl Fn(Builder) -> Builder) -> Shortage {
    let master = SlowMaster::start();
    let dead = (0..replicas).map(|_| ("127.0.0.1", free_port().unwrap()));
    let builder = ReplicatedClient::builder().master(master.fake.url()).replicas(dead).pool_size(10);
    // The master answers the requests of one connection one after the other.
    let builder = builder.shared_connections(0);
    let client = set_up(builder).build().unwrap();
    wait_until("the replicas are known to be out", || {
        client.get::<String>("k").unwrap();
        client.snapshot().nodes[1..].iter().all(|node| node.ejected)
    });
    let (served, refused, barrier) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Barrier::new(32));
    let read = || {
        barrier.wait();
        for _ in 0..20 {
            let start = Instant::now();
            match client.get::<String>("k") {
                Ok(_) => _ = served.fetch_add(1, Ordering::SeqCst),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                    refused.lock().unwrap().push(start.elapsed());
                    // A caller that is refused at once does not call again at once.
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    };
    thread::scope(|scope| (0..32).for_each(|_| drop(scope.spawn(read))));
    let mut refused = refused.into_inner().unwrap();
    refused.sort();
    Shortage { most_at_once: master.most.load(Ordering::SeqCst), served: served.into_inner(), refused }
}

#[test]
fn the_master_serves_so_many_reads_at_once_for_dead_replicas() {
    let seen = shortage(2, |builder| builder);
    let median = seen.refused[seen.refused.len() / 2];
    println!("{} served, {} refused within {median:?} (median)", seen.served, seen.refused.len());
    assert_eq!(seen.most_at_once, 5, "half of the pool");
    assert!(seen.served >= 5);
}

#[test]
fn the_cap_can_be_set_and_switched_off() {
    assert_eq!(shortage(2, |builder| builder.fallback_limit(2)).most_at_once, 2);
    let seen = shortage(2, |builder| builder.fallback_limit(None));
    assert!(seen.refused.is_empty() && seen.most_at_once > 5, "{} at once", seen.most_at_once);
}

#[test]
fn there_is_no_cap_where_the_master_is_meant_to_serve_reads() {
    let seen = shortage(0, |builder| builder);
    assert!(seen.refused.is_empty() && seen.most_at_once > 5, "{} at once", seen.most_at_once);
    let seen = shortage(2, |builder| builder.read_from(ReadFrom::Any));
    assert!(seen.refused.is_empty() && seen.most_at_once > 5, "{} at once", seen.most_at_once);
}

/// A client that is built while its nodes are down.
fn build(servers: &ReplicaSet) -> ReplicatedClient {
    let start = Instant::now();
    let client = servers.client_builder().deadline(Duration::from_secs(20)).build().unwrap();
    println!("built in {:?}", start.elapsed());
    client
}

#[test]
fn a_client_starts_while_all_replicas_are_dead() {
    let mut servers = set_with_key(2);
    (0..2).for_each(|index| servers.replica_mut(index).stop());
    let client = build(&servers);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    client.set("other", "x").unwrap();
    (0..2).for_each(|index| servers.replica_mut(index).restart().unwrap());
    wait_until("all replicas serve", || {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        client.snapshot().nodes[1..].iter().all(|node| node.answered > 0)
    });
}

#[test]
fn a_client_starts_while_the_master_is_dead() {
    let mut servers = set_with_key(2);
    servers.master_mut().stop();
    let client = build(&servers);
    (0..10).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    let impatient = client.deadline(Duration::from_millis(100)).set("k", "x").unwrap_err();
    assert!(!impatient.may_have_executed(), "{impatient}");
    let (writer, start) = (client.clone(), Instant::now());
    let write = thread::spawn(move || writer.set("k", "again"));
    servers.master_mut().restart().unwrap();
    write.join().unwrap().unwrap();
    println!("written {:?} after the restart began", start.elapsed());
    assert_eq!(client.read_from(ReadFrom::Master).get::<String>("k").unwrap(), "again");
}

#[test]
fn a_client_starts_while_everything_is_dead() {
    let mut servers = set_with_key(2);
    servers.master_mut().stop();
    (0..2).for_each(|index| servers.replica_mut(index).stop());
    let client = build(&servers);
    for call in [|c: &ReplicatedClient| c.get::<String>("k").err(), |c: &ReplicatedClient| c.set("k", "v").err()] {
        let error = call(&client.deadline(Duration::from_millis(100))).unwrap();
        assert!(!error.may_have_executed(), "{error}");
    }
    let (reader, writer) = (client.clone(), client.clone());
    let read = thread::spawn(move || reader.get::<Option<String>>("other"));
    let write = thread::spawn(move || writer.set("k", "v"));
    // A replica comes first: reads need no master.
    servers.replica_mut(0).restart().unwrap();
    assert_eq!(read.join().unwrap().unwrap(), None);
    servers.master_mut().restart().unwrap();
    write.join().unwrap().unwrap();
    wait_until("the replica has followed", || client.get::<Option<String>>("k").unwrap().as_deref() == Some("v"));
}

#[test]
fn calls_return_by_their_deadline_though_every_node_is_black_holed() {
    let servers = set_with_key(2);
    let proxies: Vec<_> = servers.servers().iter().map(|server| FaultProxy::start(&server.addr()).unwrap()).collect();
    for monitor in [Duration::from_secs(1), Duration::ZERO] {
        proxies.iter().for_each(|proxy| proxy.set(NetworkFault::None).unwrap());
        let builder = ReplicatedClient::builder().master(proxies[0].url());
        let builder = builder.replicas(proxies[1..].iter().map(FaultProxy::url)).monitor_interval(monitor);
        let client = builder.deadline(Duration::from_millis(100)).build().unwrap();
        wait_until("calls flow", || client.set("k", "v").is_ok() && client.get::<Option<String>>("k").is_ok());
        proxies.iter().for_each(|proxy| proxy.set(NetworkFault::BlackHole).unwrap());
        let longest = Mutex::new(Duration::ZERO);
        let call = || {
            for n in 0..20 {
                let start = Instant::now();
                assert!(if n % 2 == 0 { client.set("k", "v").is_err() } else { client.get::<String>("k").is_err() });
                let mut longest = longest.lock().unwrap();
                *longest = start.elapsed().max(*longest);
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(call))));
        let longest = longest.into_inner().unwrap();
        println!("monitored every {monitor:?}: the longest call took {longest:?}");
        // 20 ms on a quiet machine.
        assert!(longest < Duration::from_millis(400), "{longest:?}");
    }
}
