//! At most two handshakes of a client with a node at a time: a failover does not end in a storm of logins.

use std::collections::HashMap;
use std::io::{Write, copy};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis_replicated::testing::Server;
use redis_replicated::{Builder, ReplicatedClient};

use super::traffic::Traffic;
use crate::support::{Fake, read_chunk, set_with_key};

/// How long a login takes.
const LOGIN: Duration = Duration::from_millis(50);

/// The handshakes of one client.
#[derive(Clone, Copy, Debug, Default)]
struct Handshakes {
    now: usize,
    most: usize,
    all: usize,
}

/// A relay before a server that lets a login take a while, and counts how many clients of each name have sent one and got
/// no answer yet.
struct Relay {
    front: Fake,
    seen: Arc<Mutex<HashMap<String, Handshakes>>>,
}

impl Relay {
    fn start(server: &Server) -> Self {
        let port = server.addr().port().unwrap();
        let seen: Arc<Mutex<HashMap<String, Handshakes>>> = Arc::default();
        let counts = Arc::clone(&seen);
        let front = Fake::raw(move |mut client| {
            let Some(login) = read_chunk(&mut client) else { return };
            let name = name_in(&login);
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
            count(&counts, &name, |own| {
                (own.now, own.most, own.all) = (own.now + 1, own.most.max(own.now + 1), own.all + 1)
            });
            server.write_all(&login).unwrap();
            let answer = read_chunk(&mut server);
            // Logins that take a while, so that several are under way at once.
            thread::sleep(LOGIN);
            // Before the answer: the client may begin the next handshake as soon as it has it.
            count(&counts, &name, |own| own.now -= 1);
            let Some(answer) = answer else { return };
            if client.write_all(&answer).is_ok() {
                relay(client, server);
            }
        });
        Self { front, seen }
    }

    fn seen(&self) -> HashMap<String, Handshakes> {
        self.seen.lock().unwrap().clone()
    }
}

fn count(counts: &Mutex<HashMap<String, Handshakes>>, name: &str, act: impl FnOnce(&mut Handshakes)) {
    act(counts.lock().unwrap().entry(name.to_owned()).or_default());
}

/// The name that a login gives its connection.
fn name_in(login: &[u8]) -> String {
    let text = String::from_utf8_lossy(login);
    let (_, name) = text.split_once("SETNAME\r\n").expect("a login with a name");
    name.lines().nth(1).unwrap().to_owned()
}

/// Passes everything on until one side ends.
fn relay(client: TcpStream, server: TcpStream) {
    let (mut replies, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ = copy(&mut replies, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let (mut requests, mut server) = (client, server);
    let _ = copy(&mut requests, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

/// Closes all connections of several busy clients, three times; returns what the node has seen of them.
fn storm(clients: usize, set_up: impl Fn(Builder) -> Builder) -> HashMap<String, Handshakes> {
    let servers = set_with_key(0);
    let relay = Relay::start(servers.master());
    let client = |number: usize| {
        let builder = ReplicatedClient::builder().master(relay.front.url()).client_name(format!("client-{number}"));
        // Nobody gives up a login that the relay still counts.
        set_up(builder.connect_timeout(Duration::from_secs(10)).deadline(Duration::from_secs(20))).build().unwrap()
    };
    let clients: Vec<_> = (0..clients).map(client).collect();
    let mut administrator = servers.master().connection().unwrap();
    let read = |client: &ReplicatedClient| {
        let traffic = Traffic::run_reads(client, 10, |traffic| {
            traffic.flow(100);
            // Reads go on while the connections are killed three times.
            thread::sleep(Duration::from_secs(3));
        });
        assert_eq!(traffic.failures(), 0, "{traffic:?}");
    };
    thread::scope(|scope| {
        clients.iter().for_each(|client| _ = scope.spawn(|| read(client)));
        for _ in 0..3 {
            // Time for new connections, and for what the client does in pauses of up to half a second.
            thread::sleep(Duration::from_millis(900));
            // The clients' alone; the monitor's are among them.
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut administrator).unwrap();
        }
    });
    relay.seen()
}

#[test]
fn a_client_whose_connections_are_killed_logs_in_twice_at_a_time() {
    for clients in [1, 8] {
        let seen = storm(clients, |builder| builder.shared_connections(0));
        println!("{clients} clients: {seen:?}");
        assert_eq!(seen.len(), clients);
        for (name, handshakes) in seen {
            // Four times: at first, and after each time.
            assert!(handshakes.all >= 8, "{name} had no reason to log in again: {handshakes:?}");
            assert!(handshakes.most <= 2, "{name}: {} logins at a time", handshakes.most);
        }
    }
}

#[test]
fn the_number_of_logins_at_a_time_can_be_set() {
    for most in [1, 5] {
        let seen = storm(1, |builder| builder.max_connecting(most));
        let handshakes = seen["client-0"];
        assert!((1..=most as usize).contains(&handshakes.most), "{most} allowed: {handshakes:?}");
    }
}
