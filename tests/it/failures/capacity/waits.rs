//! Calls wait for a connection, or for the right to read from the master, instead of failing at once.

use std::io::{BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::free_port;
use redis_replicated::{ErrorKind, ReplicatedClient};

use super::traffic::Traffic;
use crate::support::{Fake, read_command, read_some, set_with_key, wait_until};

/// The default.
const CHECKOUT: Duration = Duration::from_millis(250);

/// A replica that logs everybody in and loads its data for ever.
fn loading() -> Fake {
    Fake::start("replica", |mut stream| {
        while read_some(&mut stream) > 0 {
            if stream.write_all(b"-LOADING Redis is loading the dataset in memory\r\n").is_err() {
                return;
            }
        }
    })
}

#[test]
fn readers_wait_their_turn_at_the_master_while_all_replicas_load() {
    let servers = set_with_key(0);
    let replicas = [loading(), loading()];
    let builder = ReplicatedClient::builder().master(servers.master().url());
    // However slow the machine is: each of them gets its turn.
    let builder = builder.checkout_timeout(Duration::from_secs(10)).deadline(Duration::from_secs(20));
    let client = builder.replicas(replicas.iter().map(Fake::url)).build().unwrap();
    let traffic = Traffic::run(&client, 12, |traffic| traffic.flow(5000));
    // Loading replicas may well be ejected.
    assert_eq!(traffic.failures(), 0, "{traffic:?}");
}

/// A master whose reads take a while; counts how many it serves at once.
fn slow_master(read: Duration) -> (Fake, Arc<AtomicUsize>) {
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
                    thread::sleep(read);
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
    (fake, most)
}

#[test]
fn a_reader_without_a_turn_has_waited_as_long_as_for_a_connection() {
    let (master, most) = slow_master(Duration::from_millis(500));
    let dead = (0..2).map(|_| ("127.0.0.1", free_port().unwrap()));
    let builder = ReplicatedClient::builder().master(master.url()).replicas(dead);
    // The master answers the requests of one connection one after the other.
    let client = builder.shared_connections(0).deadline(40 * CHECKOUT).build().unwrap();
    wait_until("the replicas are known to be out", || {
        client.get::<String>("k").unwrap();
        client.snapshot().nodes[1..].iter().all(|node| node.ejected)
    });
    let (barrier, refused) = (Barrier::new(12), AtomicUsize::new(0));
    let read = || {
        barrier.wait();
        for _ in 0..4 {
            let start = Instant::now();
            let read = client.get::<String>("k");
            let took = start.elapsed();
            let Err(error) = read else { continue };
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            // Between a call that gives up at once, and one that waits for all of its deadline.
            assert!(took >= CHECKOUT * 9 / 10 && took < CHECKOUT * 20, "Unavailable after {took:?}");
            refused.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| (0..12).for_each(|_| _ = scope.spawn(read)));
    println!("{refused:?} of 48 reads were refused");
    // Reads take twice as long as a caller waits, and five run at once.
    assert!(refused.into_inner() >= 7);
    assert_eq!(most.load(Ordering::SeqCst), 5, "half of the pool");
}

/// Makes a server answer nothing of this kind for a while.
fn pause(administrator: &mut redis::Connection, time: Duration, what: &str) {
    let millis = u64::try_from(time.as_millis()).unwrap();
    redis::cmd("CLIENT").arg("PAUSE").arg(millis).arg(what).exec(administrator).unwrap();
}

/// Holds all connections of a node for much longer than `checkout_timeout`; more calls than connections must all succeed.
fn assert_calls_wait_for_a_connection(held: &str, call: impl Fn(&ReplicatedClient) + Sync) {
    let servers = set_with_key(0);
    let builder = servers.client_builder().response_timeout(Duration::from_secs(10));
    // Calls that share wait for no connection.
    let client = builder.shared_connections(0).deadline(Duration::from_secs(10)).build().unwrap();
    let mut administrator = servers.master().connection().unwrap();
    let lent = || client.snapshot().nodes[0].connections_in_use;
    client.set("k", "v").unwrap();
    // All connections are opened: logins are held as well where everything is.
    pause(&mut administrator, 2 * CHECKOUT, "WRITE");
    thread::scope(|scope| (0..10).for_each(|_| _ = scope.spawn(|| client.set("k", "v").unwrap())));
    let time = 8 * CHECKOUT;
    pause(&mut administrator, time, held);
    let start = Instant::now();
    thread::scope(|scope| {
        (0..10).for_each(|_| _ = scope.spawn(|| call(&client)));
        wait_until("all connections are lent", || lent() == 10);
        assert!(start.elapsed() < time / 2, "it took too long to find out: {:?}", start.elapsed());
        (0..10).for_each(|_| _ = scope.spawn(|| call(&client)));
    });
    assert!(start.elapsed() >= time / 2, "nothing was held: {:?}", start.elapsed());
    let snapshot = client.snapshot();
    assert!(!snapshot.nodes[0].ejected && snapshot.nodes[0].failed == 0, "{snapshot}");
}

#[test]
fn a_write_waits_for_a_connection_as_long_as_its_deadline_allows() {
    assert_calls_wait_for_a_connection("WRITE", |client| client.set("k", "w").unwrap());
}

#[test]
fn a_read_that_no_other_node_serves_waits_for_a_connection() {
    assert_calls_wait_for_a_connection("ALL", |client| _ = client.get::<String>("k").unwrap());
}
