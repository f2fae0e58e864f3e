//! Nodes that read slowly, drip, push, or accept nobody.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redis_replicated::redis::ConnectionLike;
use redis_replicated::redis::io::tcp::socket2::{Domain, SockAddr, SockRef, Socket, Type};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Error, ReplicatedClient, redis};

use super::measure::{Fault, Scale, Verdict};

pub(super) const THREADS: usize = 64;
const DEADLINE: Duration = Duration::from_millis(200);
const GREETING: &[u8] = b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
const INFO: &[u8] = b"$59\r\nrole:master\r\nconnected_slaves:0\r\nmaster_repl_offset:84000\r\n\r\n";
/// The pause between two bytes, or two messages.
const PAUSE: Duration = Duration::from_millis(10);

/// Starts a node that serves each connection on a thread of its own; returns its URL.
pub(super) fn node(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            thread::spawn(move || serve(stream));
        }
    });
    url
}

/// Starts a master that logs everybody in and tells how it is; `then` gets a connection with the first other request.
fn master(then: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    node(move |mut stream| {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            let begins_with = |name: &[u8]| chunk[..count].get(8..).is_some_and(|rest| rest.starts_with(name));
            let answer = match (begins_with(b"HELLO"), begins_with(b"INFO")) {
                (true, _) => GREETING,
                (_, true) => INFO,
                _ => return then(&mut stream),
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

/// Sends the beginning and then the same byte without end, one byte at a time.
pub(super) fn drip(stream: &mut TcpStream, beginning: &[u8]) {
    for byte in beginning.iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// A client of one node, with a connection for each thread; every other one has no monitor.
fn client(url: &str, number: usize) -> ReplicatedClient {
    let interval = if number.is_multiple_of(2) { Duration::from_secs(1) } else { Duration::ZERO };
    let builder = ReplicatedClient::builder().master(url).pool_size(THREADS as u32);
    builder.monitor_interval(interval).build().unwrap()
}

pub(super) fn calls(name: &'static str, url: String) -> Fault {
    let call = |client: &ReplicatedClient| client.get::<Option<String>>("k").map(drop);
    let client = Box::new(move |number| client(&url, number));
    Fault { name, threads: THREADS, deadline: DEADLINE, calls_per_client: 1, client, call: Arc::new(call) }
}

/// Takes 64 KiB of a request every 100 ms.
pub(super) fn slow_taker(scale: Scale) -> Verdict {
    let url = master(|stream| {
        // As little as possible is held on the way.
        SockRef::from(&*stream).set_recv_buffer_size(4096).unwrap();
        let mut chunk = vec![0; 64 << 10];
        while let Ok(1..) = stream.read(&mut chunk) {
            thread::sleep(Duration::from_millis(100));
        }
    });
    // More than the buffers of the system hold for a connection.
    let mut large = redis::cmd("SET");
    large.arg("k").arg("x".repeat(4 << 20));
    // Packed beforehand: to copy megabytes is no part of the fault.
    let packed = large.get_packed_command();
    let call = move |client: &ReplicatedClient| {
        let reply = client.connection().req_packed_command(&packed);
        reply.map(drop).map_err(|error| Error::of(&error).unwrap().clone())
    };
    // Fewer at a time: each of them moves megabytes.
    Fault { threads: THREADS / 2, call: Arc::new(call), ..calls("slow taker", url) }.measure(scale)
}

/// Sends a valid reply that has no end.
pub(super) fn dripping_reply(scale: Scale) -> Verdict {
    calls("dripping reply", master(|stream| drip(stream, b"$1000000\r\n"))).measure(scale)
}

/// Sends a valid answer to a login that has no end.
pub(super) fn dripping_handshake(scale: Scale) -> Verdict {
    let url = node(|mut stream| {
        if let Ok(1..) = stream.read(&mut [0; 4096]) {
            drip(&mut stream, b"*2000\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$1000000\r\n");
        }
    });
    calls("dripping handshake", url).measure(scale)
}

/// Sends push messages instead of a reply.
pub(super) fn endless_pushes(scale: Scale) -> Verdict {
    let url = master(|stream| {
        while stream.write_all(b">2\r\n+message\r\n+nobody asked\r\n").is_ok() {
            thread::sleep(PAUSE);
        }
    });
    calls("endless pushes", format!("{url}?protocol=resp3")).measure(scale)
}

/// A stopped server at a unix socket whose backlog is full.
pub(super) fn full_backlog(scale: Scale) -> Verdict {
    let setup = ReplicaSet::setup().setting("unixsocket", "full.sock").setting("tcp-backlog", "4");
    let servers = setup.start().unwrap();
    let mut connection = servers.master().connection().unwrap();
    let folder: (String, String) = redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut connection).unwrap();
    let path = format!("{}/full.sock", folder.1);
    servers.master().pause().unwrap();
    let addr = SockAddr::unix(&path).unwrap();
    let connects = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&addr).ok().map(|()| socket)
    };
    let waiting: Vec<_> = std::iter::from_fn(connects).collect();
    let verdict = calls("full unix backlog", format!("unix://{path}")).measure(scale);
    drop(waiting);
    verdict
}
