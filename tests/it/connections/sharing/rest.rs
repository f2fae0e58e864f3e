//! Shared connections that have rested are proven before a write.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::{ReadFrom, ReplicatedClient};

use super::{Crowd, LONG, MANY, assert_none_failed, clients, kill, set_with_own_keys};
use crate::support::{Fake, read_command};

/// Longer than a connection is trusted without use.
const REST: Duration = Duration::from_millis(1500);

#[test]
fn a_shared_connection_that_has_rested_is_asked_before_the_next_write() {
    type Log = Vec<(usize, Instant, String)>;
    let (log, next): (Arc<Mutex<Log>>, _) = (Arc::default(), AtomicUsize::new(0));
    let seen = Arc::clone(&log);
    let fake = Fake::raw(move |mut output| {
        let connection = next.fetch_add(1, Ordering::SeqCst);
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            seen.lock().unwrap().push((connection, Instant::now(), words[0].clone()));
            let reply: &[u8] = match words[0].as_str() {
                "HELLO" => b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n",
                "SET" => b"+OK\r\n",
                _ => b"-NOPERM this user has no permissions\r\n",
            };
            if output.write_all(reply).is_err() {
                return;
            }
        }
    });
    let builder = ReplicatedClient::builder().master(fake.url()).monitor_interval(Duration::ZERO);
    let client = builder.response_timeout(LONG).deadline(LONG).build().unwrap();
    let addr = client.snapshot().nodes[0].addr.clone();
    for _ in 0..2 {
        let ((), failed, _) = Crowd::run(
            MANY,
            |caller| client.set(format!("own:{caller}"), "v"),
            |crowd| (0..3).for_each(|_| crowd.share(&client, &addr)),
        );
        assert_none_failed(&failed);
        thread::sleep(REST);
    }
    let mut last: HashMap<usize, Instant> = HashMap::new();
    let mut proven = HashMap::new();
    for (connection, at, command) in &*log.lock().unwrap() {
        let rested = last.insert(*connection, *at).is_some_and(|last| *at - last > REST - Duration::from_millis(300));
        if rested {
            assert_eq!(command, "HELLO", "connection {connection}");
            *proven.entry(*connection).or_insert(0) += 1;
        }
    }
    let count = |connection: usize| log.lock().unwrap().iter().filter(|(by, ..)| *by == connection).count();
    let shared = last.keys().max_by_key(|connection| count(**connection)).unwrap();
    assert!(proven.contains_key(shared), "the shared connection is {shared}, and {proven:?} were proven");
}

#[test]
fn connections_closed_while_they_rest_put_no_write_in_doubt() {
    let servers = set_with_own_keys(1, MANY);
    let client =
        servers.client_builder().read_from(ReadFrom::Any).response_timeout(LONG).deadline(LONG).build().unwrap();
    for _ in 0..3 {
        let ((), failed, _) = Crowd::run(
            MANY,
            |caller| {
                client.incr(format!("n:{caller}"))?;
                super::read_own(&client, caller)
            },
            |crowd| servers.servers().iter().for_each(|server| crowd.share(&client, &server.addr())),
        );
        assert_none_failed(&failed);
        thread::sleep(REST);
        for server in servers.servers() {
            kill(server, &clients(server).into_keys().collect::<Vec<_>>());
        }
    }
    assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "{}", client.snapshot());
}
