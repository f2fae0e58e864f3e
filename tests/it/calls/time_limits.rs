//! Calls are back by their deadline, whatever a node does: it reads slowly, drips, pushes, works, or accepts nobody.

pub mod lateness;
mod monitor;
mod names;
mod peers;
pub mod signals;
pub mod unix_socket;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use redis::ConnectionLike;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet};
use redis_replicated::{Error, ErrorKind, ReplicatedClient, Result};

use self::lateness::{Calls, assert_back_in_time, assert_each_back_in_time};
use self::peers::{drip, dripping_greeting, master, pushing, slow_taker};
use crate::support::{Fake, set_with_key};

const SECOND: Duration = Duration::from_secs(1);

/// A client of one node, with a connection for each thread of the test.
fn client_of(url: String, monitor_interval: Duration) -> ReplicatedClient {
    ReplicatedClient::builder().master(url).pool_size(64).monitor_interval(monitor_interval).build().unwrap()
}

fn get(client: &ReplicatedClient) -> Result<()> {
    client.get::<Option<String>>("k").map(drop)
}

fn set(client: &ReplicatedClient) -> Result<()> {
    client.set("k", "v")
}

fn assert_in_doubt(error: &Error) {
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{error}");
}

/// Makes one call that takes longer than its deadline; it has to be back in time, in doubt.
fn assert_ends_in_doubt(
    what: &str,
    deadline: Duration,
    client: ReplicatedClient,
    call: impl Fn(&ReplicatedClient) -> Result<()> + Clone + Send + 'static,
) {
    let calls = Calls { deadline, threads: 1, each: 1 };
    let errors = assert_back_in_time(what, calls, client, call);
    assert_in_doubt(errors[0].as_ref().unwrap());
}

/// Sends a command that was packed beforehand: a debug build takes its time for that.
fn send(command: &redis::Cmd) -> impl Fn(&ReplicatedClient) -> Result<()> + Clone + Send + 'static {
    let packed = Arc::new(command.get_packed_command());
    move |client| client.connection().req_packed_command(&packed).map(drop).map_err(own)
}

/// Sends a pipeline that was packed beforehand.
fn send_all(pipeline: &redis::Pipeline) -> impl Fn(&ReplicatedClient) -> Result<()> + Clone + Send + 'static {
    let (packed, count) = (Arc::new(pipeline.get_packed_pipeline()), pipeline.len());
    move |client| client.connection().req_packed_commands(&packed, 0, count).map(drop).map_err(own)
}

fn own(error: redis::RedisError) -> Error {
    Error::of(&error).unwrap().clone()
}

fn set_of(bytes: usize) -> redis::Cmd {
    let mut command = redis::cmd("SET");
    command.arg("k").arg("x".repeat(bytes));
    command
}

#[test]
fn a_large_request_to_a_slow_reader_ends_by_the_deadline() {
    let mut pipeline = redis::pipe();
    let value = "x".repeat(1 << 20);
    (0..48).for_each(|key| _ = pipeline.set(key, &value));
    let (one, many) = (send(&set_of(24 << 20)), send_all(&pipeline));
    let servers = ReplicaSet::start(0).unwrap();
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url());
    let client = builder.response_timeout(20 * SECOND).build().unwrap();
    client.set("k", "v").unwrap();
    proxy.set(NetworkFault::SlowReader { bytes: 64 << 10, pause: SECOND / 10 }).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert_ends_in_doubt("SET of 24 MB", 2 * SECOND, client.clone(), one));
        scope.spawn(|| assert_ends_in_doubt("pipeline of 48 x 1 MB", 2 * SECOND, client.clone(), many));
    });
}

#[test]
fn a_pipeline_to_a_server_that_works_ends_by_the_deadline() {
    // The server reads on only when it has executed what it has read: 100 scripts that take 30 ms and more.
    let spin = "local turns = 0 for turn = 1, 3000000 do turns = turns + 1 end return turns";
    let script = format!("{spin} --{}", "x".repeat(200_000));
    let mut pipeline = redis::pipe();
    (0..100).for_each(|_| _ = pipeline.cmd("EVAL").arg(&script).arg(0));
    let servers = ReplicaSet::start(0).unwrap();
    let client = servers.client_builder().response_timeout(20 * SECOND).build().unwrap();
    client.set("k", "v").unwrap();
    assert_ends_in_doubt("100 scripts", SECOND, client, send_all(&pipeline));
}

#[test]
fn five_hundred_calls_to_a_slow_reader_are_back_in_time() {
    let peer = slow_taker();
    // Fewer threads, as each of them sends megabytes.
    let calls = Calls { deadline: SECOND / 4, threads: 20, each: 25 };
    let client = || client_of(peer.url(), SECOND);
    let errors = assert_each_back_in_time("slow reader", calls, client, send(&set_of(6 << 20)));
    let sent: Vec<_> = errors.iter().flatten().filter(|error| error.may_have_executed()).collect();
    assert!(sent.len() > 250, "only {} of the calls were sent", sent.len());
    sent.into_iter().for_each(assert_in_doubt);
}

#[test]
fn five_hundred_calls_whose_replies_drip_are_back_in_time() {
    let peer = master(|stream| drip(stream, b"$1000000\r\n", b'x'));
    let client = || client_of(peer.url(), SECOND);
    let errors = assert_each_back_in_time("dripping reply to a read", Calls::MANY, client, get);
    assert!(errors.iter().all(Option::is_some), "there is no whole reply");
    let errors = assert_each_back_in_time("dripping reply to a write", Calls::FEW, client, set);
    assert!(errors.iter().all(Option::is_some), "there is no whole reply");
    assert!(errors.iter().flatten().filter(|error| error.may_have_executed()).count() > errors.len() / 2);
    // An array has no end either, though its first elements are there soon.
    let peer = master(|stream| drip(stream, b"*1000000\r\n$-1\r\n:1\r\n$1000000\r\n", b'x'));
    assert_each_back_in_time("dripping array", Calls::FEW, || client_of(peer.url(), SECOND), get);
}

#[test]
fn five_hundred_calls_whose_handshakes_drip_are_back_in_time() {
    for (what, interval) in [("with a monitor", SECOND), ("without a monitor", Duration::ZERO)] {
        let peer = dripping_greeting();
        let client = || client_of(peer.url(), interval);
        let errors = assert_each_back_in_time(&format!("dripping handshake, read {what}"), Calls::MANY, client, get);
        assert!(errors.iter().all(Option::is_some), "nobody is logged in");
        let errors = assert_each_back_in_time(&format!("dripping handshake, write {what}"), Calls::FEW, client, set);
        assert!(errors.iter().flatten().all(|error| !error.may_have_executed()), "nothing was sent");
        assert!(peer.connections.load(Ordering::SeqCst) > 0);
    }
}

#[test]
fn five_hundred_calls_to_a_node_that_begins_to_drip_are_back_in_time() {
    let servers = set_with_key(0);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = client_of(proxy.url(), SECOND);
    get(&client).unwrap();
    proxy.set(NetworkFault::SlowBytes(SECOND / 50)).unwrap();
    assert_back_in_time("open connections begin to drip", Calls::MANY, client.clone(), get);
    proxy.cut();
    assert_back_in_time("new connections drip", Calls::MANY, client, set);
}

#[test]
fn five_hundred_calls_that_get_pushes_without_end_are_back_in_time() {
    let resp3 = |peer: &Fake| format!("{}?protocol=resp3", peer.url());
    let peer = pushing(Duration::from_millis(10));
    assert_each_back_in_time("pushes", Calls::MANY, || client_of(resp3(&peer), SECOND), get);
    // As fast as they can be read: the socket never has to wait. A few, for it takes all processors.
    let flood = pushing(Duration::ZERO);
    assert_each_back_in_time(
        "flood of pushes",
        Calls { threads: 3, ..Calls::FEW },
        || client_of(resp3(&flood), SECOND),
        set,
    );
}

#[test]
fn a_dedicated_connection_whose_handshake_drips_is_back_in_time() {
    fn dedicated(client: &ReplicatedClient) -> Result<()> {
        client.dedicated(redis_replicated::Target::Master).map(drop)
    }
    let peer = dripping_greeting();
    assert_back_in_time("dedicated", Calls::FEW, client_of(peer.url(), Duration::ZERO), dedicated);
}

#[test]
fn a_client_of_a_dripping_node_is_dropped_at_once() {
    let peer = dripping_greeting();
    let client = client_of(peer.url(), Duration::from_millis(20));
    assert!(get(&client.deadline(SECOND / 5)).is_err());
    let start = Instant::now();
    drop(client);
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}
