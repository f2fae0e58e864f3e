//! Blocking commands do not take the connections that wake them.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Commands, cmd};
use redis_replicated::testing::Server;
use redis_replicated::{ErrorKind, ReplicatedClient, Result};

use crate::support::{set_with_key, wait_until};

type Popped = Result<(String, String)>;

/// Calls on as many threads, left to themselves if they hang.
fn spawn<T: Send + 'static>(
    client: &ReplicatedClient,
    threads: usize,
    call: fn(&ReplicatedClient) -> T,
) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    for _ in 0..threads {
        let (client, sender) = (client.clone(), sender.clone());
        thread::spawn(move || sender.send(call(&client)));
    }
    receiver
}

fn wait_for<T>(receiver: &mpsc::Receiver<T>) -> T {
    receiver.recv_timeout(Duration::from_secs(10)).expect("the call is not back")
}

fn wait_until_blocked(server: &Server, count: usize) {
    let blocked = || server.info("clients", "blocked_clients").unwrap().unwrap();
    wait_until("they are blocked", || blocked() == count.to_string());
}

fn pop(client: &ReplicatedClient) -> Popped {
    client.query(cmd("BLPOP").arg("jobs").arg(0))
}

/// The same by the methods of the redis crate.
fn pop_by_connection(client: &ReplicatedClient) -> Popped {
    client
        .connection()
        .blpop::<_, Option<(String, String)>>("jobs", 0.0)
        .map(Option::unwrap)
        .map_err(|error| redis_replicated::Error::of(&error).cloned().unwrap())
}

#[test]
fn the_push_that_wakes_as_many_consumers_as_the_pool_is_large_gets_a_connection() {
    for pop in [pop as fn(&_) -> _, pop_by_connection] {
        let servers = set_with_key(0);
        let client = servers.client_builder().build().unwrap();
        let consumers = spawn(&client, 10, pop);
        wait_until_blocked(servers.master(), 10);
        // One more than the pool is large.
        let start = Instant::now();
        let error = wait_for(&spawn(&client, 1, pop)).unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Checkout, false), "{error}");
        assert!(start.elapsed() < Duration::from_millis(3500), "{:?}", start.elapsed());
        // All others have the whole pool.
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        let start = Instant::now();
        let jobs: Vec<_> = (0..10).map(|job| job.to_string()).collect();
        assert_eq!(client.rpush("jobs", &jobs).unwrap(), 10);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let mut popped: Vec<_> = (0..10).map(|_| wait_for(&consumers).unwrap().1).collect();
        popped.sort();
        assert_eq!(popped, jobs);
        // Their connections serve the next.
        client.rpush("jobs", "next").unwrap();
        assert_eq!(wait_for(&spawn(&client, 1, pop)).unwrap().1, "next");
    }
}

#[test]
fn reads_go_on_beside_readers_that_block_on_a_replica() {
    fn wait_for_entry(client: &ReplicatedClient) -> Result<redis::Value> {
        client.query(cmd("XREAD").arg("BLOCK").arg(0).arg("STREAMS").arg("s").arg("$"))
    }
    let servers = set_with_key(1);
    let client = servers.client_builder().pool_size(2).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    let readers = spawn(&client, 2, wait_for_entry);
    wait_until_blocked(servers.replica(0), 2);
    let start = Instant::now();
    (0..50).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(servers.master().calls("GET").unwrap(), 0, "the replica has connections for them");
    client.query::<String>(cmd("XADD").arg("s").arg("*").arg("field").arg("value")).unwrap();
    (0..2).for_each(|_| assert_ne!(wait_for(&readers).unwrap(), redis::Value::Nil));
}
