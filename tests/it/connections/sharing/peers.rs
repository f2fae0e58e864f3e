//! Servers that do not keep to the protocol.
//!
//! What can be known: a reply that is no reply, one that does not end, and more replies at a time than requests.
//!
//! What cannot be known: replies carry no name. A server that answers one request twice *while others wait* has answered the
//! next one, as far as any client can tell; it is found out when all are answered and more has come. A reply that comes unasked
//! when everything was read and nobody waits lies in the socket, and is taken for that to the next request.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient};

use super::{Crowd, LONG, MANY, assert_none_failed, begin_to_share, read_own, set_with_own_keys, shared};
use crate::support::{Fake, read_command, wait_until};

/// A server that misbehaves where it would answer, once it is told to. Until then, the value of a key is its name.
struct Peer {
    fake: Fake,
    is_bad: Arc<AtomicBool>,
    /// How often it has misbehaved.
    done: Arc<AtomicUsize>,
}

impl Peer {
    fn start(role: &'static str, misbehave: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        let (is_bad, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (bad, count) = (Arc::clone(&is_bad), Arc::clone(&done));
        let fake = Fake::raw(move |mut output| {
            let mut input = BufReader::new(output.try_clone().unwrap());
            while let Some(words) = read_command(&mut input) {
                let reply = match words[0].as_str() {
                    "HELLO" => format!("*2\r\n$4\r\nrole\r\n${}\r\n{role}\r\n", role.len()),
                    "GET" | "SET" if bad.load(Ordering::SeqCst) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        return misbehave(&mut output);
                    }
                    "GET" => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
                    "SET" => "+OK\r\n".to_owned(),
                    _ => "-NOPERM this user has no permissions\r\n".to_owned(),
                };
                if output.write_all(reply.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Self { fake, is_bad, done }
    }

    fn is_bad(&self, is_bad: bool) {
        self.is_bad.store(is_bad, Ordering::SeqCst);
    }
}

/// Waits until the other side has closed the connection.
fn wait_for_end(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

fn say(stream: &mut TcpStream, text: &[u8]) {
    if stream.write_all(text).is_ok() {
        wait_for_end(stream);
    }
}

fn close_within_a_reply(stream: &mut TcpStream) {
    let _ = stream.write_all(b"$10\r\nhal");
}

fn break_protocol(stream: &mut TcpStream) {
    say(stream, b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n");
}

fn nest_deeply(stream: &mut TcpStream) {
    say(stream, "*1\r\n".repeat(10_000).as_bytes());
}

fn push_without_end(stream: &mut TcpStream) {
    while stream.write_all(">3\r\n+message\r\n+channel\r\n+nothing\r\n".repeat(100).as_bytes()).is_ok() {}
}

fn announce_a_huge_array(stream: &mut TcpStream) {
    say(stream, b"*2000000000\r\n$3\r\nabc\r\n");
}

fn announce_a_huge_text(stream: &mut TcpStream) {
    say(stream, b"$500000000\r\nabc");
}

fn stop_within_a_reply(stream: &mut TcpStream) {
    say(stream, b"$10\r\nhal");
}

fn say_nothing(stream: &mut TcpStream) {
    wait_for_end(stream);
}

type Misbehave = fn(&mut TcpStream);

/// What is known at once to be no reply.
const AT_ONCE: [(&str, Misbehave); 4] = [
    ("it closes within a reply", close_within_a_reply),
    ("it breaks the protocol", break_protocol),
    ("it nests deeply", nest_deeply),
    ("it pushes without end", push_without_end),
];

/// What is only known when the response limit is over.
const LATER: [(&str, Misbehave); 4] = [
    ("it announces a huge array", announce_a_huge_array),
    ("it announces a huge text", announce_a_huge_text),
    ("it stops within a reply", stop_within_a_reply),
    ("it says nothing", say_nothing),
];

fn builder() -> redis_replicated::Builder {
    ReplicatedClient::builder().monitor_interval(Duration::ZERO).deadline(LONG)
}

#[test]
fn reads_move_on_to_a_good_node_and_nobody_gets_what_a_bad_one_says() {
    let servers = set_with_own_keys(0, MANY);
    for (what, misbehave) in AT_ONCE.into_iter().chain(LATER) {
        let peer = Peer::start("slave", misbehave);
        let builder = builder().master(servers.master().url()).replica(peer.fake.url());
        let client = builder.response_timeout(Duration::from_millis(200)).fallback_limit(None).build().unwrap();
        let addr = client.snapshot().nodes[1].addr.clone();
        let ((), failed, latest) = Crowd::run(
            MANY,
            |caller| read_own(&client, caller),
            |crowd| {
                crowd.share(&client, &addr);
                peer.is_bad(true);
                wait_until(what, || peer.done.load(Ordering::SeqCst) > 0);
                (0..3).for_each(|_| crowd.flow());
                assert_eq!(shared(&client, &addr), 0, "{what}");
            },
        );
        println!("{what}: the latest read took {latest:?}");
        assert!(failed.is_empty(), "{what}: {}", failed[0]);
    }
}

/// Returns what the writers on a shared connection get, and when, after a server that is alone begins to misbehave.
fn write_to(misbehave: Misbehave) -> Vec<(Error, Duration)> {
    let peer = Peer::start("master", misbehave);
    let client = builder().master(peer.fake.url()).response_timeout(LONG).build().unwrap();
    let addr = client.snapshot().nodes[0].addr.clone();
    let errors = std::sync::Mutex::new(Vec::new());
    let ((), _, _) = Crowd::run(
        MANY,
        |caller| {
            let start = Instant::now();
            if let Err(error) = client.set(format!("own:{caller}"), "v") {
                errors.lock().unwrap().push((error, start.elapsed()));
            }
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &addr);
            peer.is_bad(true);
            wait_until("it misbehaves", || peer.done.load(Ordering::SeqCst) > 0);
            peer.is_bad(false);
            crowd.flow();
        },
    );
    errors.into_inner().unwrap()
}

#[test]
fn writes_on_a_connection_that_is_out_of_protocol_are_in_doubt_at_once() {
    for (what, misbehave) in AT_ONCE {
        let errors = write_to(misbehave);
        assert!(!errors.is_empty(), "{what}");
        println!("{what}: {} writes failed, the first with: {}", errors.len(), errors[0].0);
        for (error, took) in &errors {
            assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{what}: {error}");
            assert!(*took < Duration::from_secs(5), "{what}: after {took:?}: {error}");
        }
    }
}

/// A master that answers a read of this key by one reply more than it is asked for, together with its own.
fn with_extra() -> Fake {
    Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let mut reply = match words[0].as_str() {
                "HELLO" => "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
                "GET" => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
                _ => "-NOPERM this user has no permissions\r\n".to_owned(),
            };
            if words[1..].iter().any(|word| word == "extra") {
                reply += "$7\r\nanother\r\n";
            }
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// The caller gets its own reply, and whoever comes next finds another connection.
#[test]
fn a_connection_that_brings_more_replies_than_requests_is_closed() {
    let fake = with_extra();
    let client = builder().master(fake.url()).build().unwrap();
    let addr = client.snapshot().nodes[0].addr.clone();
    for _ in 0..20 {
        begin_to_share(&client, &addr);
        let before = fake.connections.load(Ordering::SeqCst);
        assert_eq!(client.get::<String>("extra").unwrap(), "extra");
        assert_eq!(client.get::<String>("a").unwrap(), "a");
        assert!(fake.connections.load(Ordering::SeqCst) > before, "it was closed");
    }
}

#[test]
fn a_connection_that_brings_more_replies_than_requests_to_many_is_closed() {
    let is_bad = Arc::<AtomicBool>::default();
    let bad = Arc::clone(&is_bad);
    let fake = Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let reply = match words[0].as_str() {
                "HELLO" => "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
                "GET" if bad.swap(false, Ordering::SeqCst) => "-ERR not asked for\r\n".repeat(1000),
                "GET" => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
                _ => "-NOPERM this user has no permissions\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    let client = builder().master(fake.url()).build().unwrap();
    let addr = client.snapshot().nodes[0].addr.clone();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &addr);
            is_bad.store(true, Ordering::SeqCst);
            wait_until("it misbehaves", || !is_bad.load(Ordering::SeqCst));
            crowd.flow();
            wait_until("calls share another connection", || shared(&client, &addr) == 1);
            crowd.flow();
        },
    );
    // Those who waited took the first of them, as nobody can know.
    println!("{} of the replies that nobody asked for were taken for others", failed.len());
    assert!(failed.len() <= MANY, "{}", failed.len());
    assert!(failed.iter().all(|error| error.to_string().contains("not asked for")), "{failed:?}");
}

/// Messages between replies belong to nobody, and harm nobody.
#[test]
fn messages_between_replies_are_passed_over() {
    let fake = Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let reply = match words[0].as_str() {
                "HELLO" => "%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
                "GET" => {
                    let message = ">2\r\n+invalidate\r\n*1\r\n+key\r\n";
                    format!("{message}{message}${}\r\n{}\r\n{message}", words[1].len(), words[1])
                }
                _ => "-NOPERM this user has no permissions\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    let url = format!("{}?protocol=resp3", fake.url());
    let client = builder().master(url).read_from(ReadFrom::Master).build().unwrap();
    let addr = client.snapshot().nodes[0].addr.clone();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &addr);
            // More than may come in one piece.
            (0..500).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
}
