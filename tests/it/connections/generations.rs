//! Connections of an earlier generation: what they come to says nothing about the node as it is now.

use std::io::{Write, copy};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{NodeSnapshot, ReplicatedClient, Result, Role};

use crate::support::{Fake, follow, promote, read_chunk, set_with_key, wait_until};

const READERS: usize = 8;

/// A relay before a server that holds reads of `k` back, and later ends their connections; all else passes.
struct Holding {
    front: Fake,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    holds: AtomicBool,
    held: AtomicUsize,
}

impl Holding {
    fn start(server: &Server) -> Self {
        let port = server.addr().port().unwrap();
        let state = Arc::new(State::default());
        let held = Arc::clone(&state);
        let front = Fake::raw(move |client| {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
            relay(client, server, &held);
        });
        Self { front, state }
    }
}

fn relay(mut client: TcpStream, mut server: TcpStream, state: &State) {
    let (mut replies, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ = copy(&mut replies, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    while let Some(chunk) = read_chunk(&mut client) {
        if state.holds.load(Ordering::SeqCst) && chunk.windows(5).any(|window| window == b"GET\r\n") {
            state.held.fetch_add(1, Ordering::SeqCst);
            while state.holds.load(Ordering::SeqCst) {
                // Looks often enough; nothing waits for the exact moment.
                thread::sleep(Duration::from_millis(1));
            }
            break;
        }
        if server.write_all(&chunk).is_err() {
            break;
        }
    }
    [&client, &server].iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
}

struct Stage {
    servers: ReplicaSet,
    holding: Holding,
    client: ReplicatedClient,
}

impl Stage {
    /// Starts a set of three, the first replica behind the relay.
    fn start() -> Self {
        let servers = set_with_key(2);
        let holding = Holding::start(servers.replica(0));
        let builder = ReplicatedClient::builder().master(servers.master().url()).replica(holding.front.url());
        let builder = builder.replica(servers.replica(1).url()).strategy(RoundRobin::new());
        // The relay counts the reads that it holds, one for each connection.
        let builder = builder.shared_connections(0);
        let builder = builder.response_timeout(Duration::from_secs(20)).deadline(Duration::from_secs(60));
        let client = builder.build().unwrap();
        // Not those of a node that was never seen: it may be given up for its silence.
        wait_until("the set is known", || client.snapshot().nodes.iter().all(|node| node.replication.is_some()));
        Self { servers, holding, client }
    }

    fn node(&self) -> NodeSnapshot {
        self.client.snapshot().nodes.into_iter().find(|node| node.addr.port() == Some(self.holding.front.port)).unwrap()
    }

    /// Has as many reads under way on the first replica as there are readers.
    fn hold_reads(&self) -> Vec<JoinHandle<Result<String>>> {
        self.holding.state.holds.store(true, Ordering::SeqCst);
        // Every other read goes to the other replica.
        let reads = (0..2 * READERS).map(|_| {
            let client = self.client.clone();
            thread::spawn(move || client.get::<String>("k"))
        });
        let reads = reads.collect();
        wait_until("reads are held", || self.holding.state.held.load(Ordering::SeqCst) == READERS);
        reads
    }

    /// Ends the connections of the reads that are held, and checks that each read was served elsewhere.
    fn end_connections(&self, reads: Vec<JoinHandle<Result<String>>>) {
        self.holding.state.holds.store(false, Ordering::SeqCst);
        reads.into_iter().for_each(|read| assert_eq!(read.join().unwrap().unwrap(), "v"));
    }
}

#[test]
fn connections_that_end_eject_their_node() {
    let stage = Stage::start();
    let reads = stage.hold_reads();
    stage.end_connections(reads);
    let node = stage.node();
    assert!(node.failed >= 3 && node.ejected, "{}", stage.client.snapshot());
}

#[test]
fn connections_that_end_at_a_change_of_role_do_not_speak_against_the_node() {
    let stage = Stage::start();
    let reads = stage.hold_reads();
    promote(stage.servers.replica(0));
    wait_until("it is seen as a master", || stage.node().role == Role::Master);
    // The connections on which the reads wait led to a replica.
    stage.end_connections(reads);
    assert_eq!(stage.node().failed, 0, "{}", stage.client.snapshot());
}

#[test]
fn connections_that_end_after_a_change_of_role_do_not_eject_the_node() {
    let stage = Stage::start();
    let reads = stage.hold_reads();
    promote(stage.servers.replica(0));
    wait_until("it is seen as a master", || stage.node().role == Role::Master);
    follow(stage.servers.replica(0), stage.servers.master());
    wait_until("it is seen as a replica again", || stage.node().role == Role::Replica);
    stage.end_connections(reads);
    let node = stage.node();
    assert_eq!((node.failed, node.ejected), (0, false), "{}", stage.client.snapshot());
    stage.servers.replica(0).reset_counts().unwrap();
    wait_until("it serves", || {
        assert_eq!(stage.client.get::<String>("k").unwrap(), "v");
        stage.servers.replica(0).calls("GET").unwrap() > 0
    });
}
