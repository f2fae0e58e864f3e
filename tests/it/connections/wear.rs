//! Connections that wear out: idle ones that die, those of an ended generation, and those that are waited for.

use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient};

use crate::support::{Fake, never_answer, read_command, set_with_key, wait_until};

const GREETING: &[u8] = b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";

/// A master that answers as it is told; `None`: not at all.
fn master(answer: impl Fn(&str, &str) -> Option<&'static [u8]> + Send + Sync + 'static) -> Fake {
    Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let reply = answer(&words[0], words.get(1).map_or("", String::as_str));
            if reply.is_some_and(|reply| output.write_all(reply).is_err()) {
                return;
            }
        }
    })
}

#[test]
fn a_connection_that_died_while_idle_says_nothing_about_its_node() {
    let servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    (0..500).for_each(|_| drop(client.get::<String>("k").unwrap()));
    let killed = servers.replica(0);
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut killed.connection().unwrap()).unwrap();
    let before = killed.calls("GET").unwrap();
    (0..4000).for_each(|_| drop(client.get::<String>("k").unwrap()));
    let node = client.snapshot().nodes.into_iter().find(|node| node.addr == killed.addr()).unwrap();
    assert_eq!((node.failed, node.ejected), (0, false));
    let reads = killed.calls("GET").unwrap() - before;
    assert!(reads >= 400, "it gets {reads} of 4000 reads");
}

#[test]
fn no_call_is_ended_for_a_change_of_role_that_was_over_before_it_began() {
    let refuses = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&refuses);
    let fake = master(move |command, key| match (command, key) {
        ("HELLO", _) => Some(GREETING),
        ("SET", _) if once.swap(false, Ordering::SeqCst) => {
            Some(b"-READONLY You can't write against a read only replica.\r\n")
        }
        ("SET", "slow") => {
            // Longer than a call waits without a look at its node.
            thread::sleep(Duration::from_millis(700));
            Some(b"+OK\r\n")
        }
        ("SET", _) => Some(b"+OK\r\n"),
        _ => Some(b"-NOPERM this user has no permissions\r\n"),
    });
    let builder = ReplicatedClient::builder().master(fake.url()).monitor_interval(Duration::ZERO);
    let client = builder.response_timeout(Duration::from_secs(10)).deadline(Duration::from_secs(20)).build().unwrap();
    client.set("k", "v").unwrap();
    refuses.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        client.set("k", "v").unwrap();
        client.set("slow", "v").unwrap();
    }
}

#[test]
fn a_proof_after_a_long_wait_for_a_connection_has_its_time() {
    let loses = AtomicBool::new(true);
    let fake = master(move |command, key| match (command, key) {
        ("HELLO", _) => {
            // A greeting takes a while: what is left of the limit after the long wait would not do.
            thread::sleep(Duration::from_millis(10));
            Some(GREETING)
        }
        ("GET", "lost") if loses.swap(false, Ordering::SeqCst) => None,
        ("WATCH" | "UNWATCH", _) => Some(b"+OK\r\n"),
        ("GET", _) => Some(b"$1\r\nv\r\n"),
        _ => Some(b"-NOPERM this user has no permissions\r\n"),
    });
    let builder = ReplicatedClient::builder().master(fake.url()).read_from(ReadFrom::Master).pool_size(1);
    let builder = builder.response_timeout(Duration::from_millis(400)).deadline(Duration::from_secs(20));
    let client = builder.monitor_interval(Duration::ZERO).build().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| client.get::<String>("lost"));
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let mut connection = client.connection();
                    if redis::cmd("WATCH").arg("x").exec(&mut connection).is_ok() {
                        // Longer than the response limit.
                        thread::sleep(Duration::from_millis(600));
                        let _ = redis::cmd("UNWATCH").exec(&mut connection);
                    }
                }
            });
        }
        let read = reader.join().unwrap();
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(read.unwrap(), "v");
    });
    assert!(!client.snapshot().nodes[0].ejected);
}

#[test]
fn what_a_call_waited_for_is_named() {
    let servers = set_with_key(0);
    let builder = servers.client_builder().pool_size(1).shared_connections(0).deadline(Duration::from_millis(600));
    let client = builder.monitor_interval(Duration::ZERO).build().unwrap();
    let mut held = client.connection();
    redis::cmd("WATCH").arg("x").exec(&mut held).unwrap();
    let error = client.set("k", "v").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkout);
    assert!(error.to_string().contains("all 1 connections of the pool stayed in use for 600 ms (deadline)"), "{error}");
    let hung = Fake::raw(never_answer);
    let builder = ReplicatedClient::builder().master(hung.url()).monitor_interval(Duration::ZERO).max_connecting(1);
    let builder = builder.connect_timeout(Duration::from_secs(30)).deadline(Duration::from_millis(800));
    let client = builder.build().unwrap();
    let errors: Vec<String> = thread::scope(|scope| {
        let first = scope.spawn(|| client.set("k", "v").unwrap_err().to_string());
        wait_until("it is being connected to", || hung.connections.load(Ordering::SeqCst) == 1);
        let others: Vec<_> = (0..2).map(|_| scope.spawn(|| client.set("k", "v").unwrap_err().to_string())).collect();
        [first].into_iter().chain(others).map(|call| call.join().unwrap()).collect()
    });
    assert!(errors.iter().all(|error| error.contains("could not connect within ")), "{errors:?}");
}
