//! Connections that are closed under many callers: writes are executed at most once, and reads never fail.

use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient};

use super::{Crowd, LONG, Lateness, assert_none_failed, in_use, kill, read_own, set_with_own_keys};
use crate::support::{Fake, read_command};

/// So many threads write, and half as many read.
const WRITERS: usize = 32;
const DEADLINE: Duration = Duration::from_millis(500);
/// How late a call may be. A bench has the strict figure.
const LATE: Duration = Duration::from_millis(20);

/// What a writer saw.
#[derive(Default)]
struct Written {
    acknowledged: AtomicU64,
    in_doubt: AtomicU64,
    /// Errors that say that nothing was executed.
    refused: AtomicU64,
}

impl Written {
    fn record(&self, result: Result<i64, Error>) {
        let counter = match result {
            Ok(_) => &self.acknowledged,
            Err(error) if error.may_have_executed() => {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                &self.in_doubt
            }
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// Checks that each write was executed at most once, and all that were acknowledged.
fn check_counters(servers: &ReplicaSet, written: &[Written]) {
    let mut connection = servers.master().connection().unwrap();
    let mut sums = [0; 3];
    for (caller, written) in written.iter().enumerate() {
        let counted: Option<u64> = redis::cmd("GET").arg(format!("n:{caller}")).query(&mut connection).unwrap();
        let [acknowledged, in_doubt, refused] =
            [&written.acknowledged, &written.in_doubt, &written.refused].map(|count| count.load(Ordering::SeqCst));
        let range = acknowledged..=acknowledged + in_doubt;
        assert!(range.contains(&counted.unwrap_or(0)), "caller {caller}: {counted:?} is not in {range:?}");
        sums = [sums[0] + acknowledged, sums[1] + in_doubt, sums[2] + refused];
    }
    println!("writes: {} acknowledged, {} in doubt, {} refused", sums[0], sums[1], sums[2]);
    assert!(sums[0] > 0 && sums[1] > 0, "{sums:?}");
}

/// Closes the connections that are in use, every 50 ms, and stops the master for a while.
fn trouble(servers: &ReplicaSet) {
    let start = Instant::now();
    let mut has_stopped = false;
    while start.elapsed() < Duration::from_secs(4) {
        thread::sleep(Duration::from_millis(50));
        servers.servers().iter().for_each(|server| kill(server, &in_use(server, &["incr", "get"])));
        if !has_stopped && start.elapsed() > Duration::from_secs(2) {
            has_stopped = true;
            servers.master().pause().unwrap();
            thread::sleep(Duration::from_millis(700));
            servers.master().resume().unwrap();
        }
    }
}

/// Runs writers and readers; returns the errors of the readers.
fn run(client: &ReplicatedClient, servers: &ReplicaSet, lateness: &Lateness) -> Vec<Error> {
    let written: Vec<Written> = (0..WRITERS).map(|_| Written::default()).collect();
    let writer = client.deadline(DEADLINE);
    let write = |caller: usize| {
        let start = Instant::now();
        written[caller].record(writer.incr(format!("n:{caller}")));
        lateness.record(start, DEADLINE);
        Ok(())
    };
    let ((), failed_reads, _) = Crowd::run(
        WRITERS + WRITERS / 2,
        |caller| if caller < WRITERS { write(caller) } else { read_own(client, caller) },
        |crowd| {
            servers.servers().iter().for_each(|server| crowd.share(client, &server.addr()));
            trouble(servers);
            crowd.flow();
        },
    );
    check_counters(servers, &written);
    failed_reads
}

#[test]
fn killed_connections_and_a_stopped_master_execute_no_write_twice_and_fail_no_read() {
    let servers = set_with_own_keys(1, 2 * WRITERS);
    let client = servers.client_builder().read_from(ReadFrom::Any).deadline(LONG).build().unwrap();
    let lateness = Lateness::start();
    let failed_reads = run(&client, &servers, &lateness);
    assert_none_failed(&failed_reads);
    lateness.assert_at_most(LATE, 5);
}

#[test]
fn a_killed_shared_connection_fails_no_read_where_there_is_one_node() {
    let servers = set_with_own_keys(0, WRITERS);
    let master = servers.master();
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    let ((), failed, latest) = Crowd::run(
        WRITERS,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &master.addr());
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(50));
                kill(master, &in_use(master, &["get"]));
            }
            crowd.flow();
        },
    );
    println!("the latest read took {latest:?}");
    assert_none_failed(&failed);
    assert!(!client.snapshot().nodes[0].ejected, "{}", client.snapshot());
}

/// A master that closes a new connection if many callers send on it before it has served, twice at most.
fn closes_new_ones() -> (Fake, Arc<AtomicUsize>) {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let fake = Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        let mut has_served = false;
        while let Some(words) = read_command(&mut input) {
            let reply = match words[0].as_str() {
                "HELLO" => "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
                "GET" => {
                    if !has_served && count.load(Ordering::SeqCst) < 2 {
                        // A caller that has it alone sends nothing more before it has its reply.
                        output.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                        let is_shared = !input.buffer().is_empty() || output.peek(&mut [0]).is_ok();
                        output.set_read_timeout(None).unwrap();
                        if is_shared {
                            count.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                    has_served = true;
                    format!("${}\r\n{}\r\n", words[1].len(), words[1])
                }
                _ => "-NOPERM this user has no permissions\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    (fake, closed)
}

/// However many calls were on it: one connection that ends says as much about its node as a connection of one caller.
#[test]
fn a_new_connection_that_is_closed_under_many_calls_counts_once_against_its_node() {
    // The first caller may be served before others share its connection.
    for _ in 0..50 {
        let (fake, closed) = closes_new_ones();
        let builder = ReplicatedClient::builder().master(fake.url()).monitor_interval(Duration::ZERO);
        let client = builder.response_timeout(LONG).deadline(LONG).build().unwrap();
        let ((), failed, _) =
            Crowd::run(WRITERS, |caller| read_own(&client, caller), |crowd| (0..3).for_each(|_| crowd.flow()));
        assert_none_failed(&failed);
        let closed = closed.load(Ordering::SeqCst);
        let node = &client.snapshot().nodes[0];
        assert!(node.failed <= closed as u64 && !node.ejected, "{closed} were closed\n{}", client.snapshot());
        if closed > 0 {
            return;
        }
    }
    panic!("nobody shared a new connection");
}
