//! A unix socket whose server is stopped: nobody accepts, and the system makes whoever connects wait.

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use redis::io::tcp::socket2::{Domain, SockAddr, Socket, Type};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Error, ReplicatedClient, Result};

use super::lateness::{Calls, SLACK, assert_back_in_time, assert_each_back_in_time};
use super::{get, set};
use crate::support::{follow, set_with_key, wait_until};

/// A server whose unix socket takes no more connections.
pub struct FullSocket {
    servers: ReplicaSet,
    path: String,
    waiting: Vec<Socket>,
}

impl FullSocket {
    pub fn start() -> Self {
        // In the folder of the server, which goes with it.
        let setup = ReplicaSet::setup().setting("unixsocket", "full.sock").setting("tcp-backlog", "4");
        let servers = setup.start().unwrap();
        let mut connection = servers.master().connection().unwrap();
        let folder: (String, String) = redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut connection).unwrap();
        Self { servers, path: format!("{}/full.sock", folder.1), waiting: Vec::new() }
    }

    /// Stops the server and fills its backlog.
    pub fn fill(&mut self) {
        self.servers.master().pause().unwrap();
        let addr = SockAddr::unix(&self.path).unwrap();
        let connects = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&addr).ok().map(|()| socket)
        };
        self.waiting.extend(std::iter::from_fn(connects));
        assert!((1..100).contains(&self.waiting.len()), "{} wait", self.waiting.len());
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.path)
    }
}

/// Drops the client on another thread, which must not wait for anything.
fn assert_dropped_at_once(client: ReplicatedClient) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        drop(client);
        sender.send(())
    });
    receiver.recv_timeout(Duration::from_secs(1)).expect("the drop of a client waits");
}

#[test]
fn five_hundred_calls_to_a_full_unix_socket_are_back_in_time() {
    fn refresh(client: &ReplicatedClient) -> Result<()> {
        client.refresh()
    }
    let mut socket = FullSocket::start();
    let url = socket.url();
    let client = |interval: Duration| {
        ReplicatedClient::builder().master(&*url).pool_size(64).monitor_interval(interval).build().unwrap()
    };
    let (asked, alone) = (client(Duration::from_secs(1)), || client(Duration::ZERO));
    asked.set("k", "v").unwrap();
    socket.fill();
    // Its monitor knows the node; its open connections are dead, and others cannot be had.
    assert_back_in_time("read from a full unix socket", Calls::MANY, asked.clone(), get);
    assert_back_in_time("write to a full unix socket", Calls::FEW, asked.clone(), set);
    let once = Calls { threads: 1, ..Calls::FEW };
    assert_back_in_time("refresh", once, asked.clone(), refresh);
    assert_each_back_in_time("read without a monitor", Calls::MANY, alone, get);
    let errors = assert_each_back_in_time("write without a monitor", Calls::FEW, alone, set);
    assert!(errors.iter().flatten().count() == errors.len() && !errors.iter().flatten().any(Error::may_have_executed));
    assert_each_back_in_time("refresh without a monitor", once, alone, refresh);
    let alone = alone();
    assert!(get(&alone.deadline(Duration::from_millis(100))).is_err());
    [asked, alone].into_iter().for_each(assert_dropped_at_once);
    // It is a wait, not a fault: calls find the server when it runs again.
    let client = ReplicatedClient::builder().master(socket.url()).build().unwrap();
    socket.servers.master().resume().unwrap();
    wait_until("the server answers", || client.set("k", "v").is_ok());
}

#[test]
fn a_full_unix_socket_keeps_no_read_from_another_node() {
    let mut socket = FullSocket::start();
    let others = set_with_key(1);
    let replica = socket.servers.master();
    follow(replica, others.master());
    let link = || replica.info("replication", "master_link_status").unwrap();
    wait_until("the replica is in sync", || link().as_deref() == Some("up"));
    let client = others.client_builder().replica(socket.url()).pool_size(64).build().unwrap();
    wait_until("both replicas serve", || {
        get(&client).unwrap();
        client.snapshot().nodes[1..].iter().all(|node| node.answered > 9)
    });
    socket.fill();
    let calls = Calls { deadline: Duration::from_secs(1), threads: 10, each: 50 };
    let errors = assert_back_in_time("read beside a full unix socket", calls, client, get);
    assert_eq!(errors.iter().flatten().count(), 0, "{:?}", errors.iter().flatten().next());
}

/// Says that this process runs one test and nothing else.
const ALONE: &str = "REDIS_REPLICATED_TEST_RUNS_ALONE";

#[test]
fn threads_that_ask_a_full_unix_socket_end_with_the_client() {
    // Other tests have clients, too: only a process of its own can count.
    let test = "calls::time_limits::unix_socket::threads_end_in_a_process_of_its_own";
    let program = std::env::current_exe().unwrap();
    let run = Command::new(program).args(["--exact", test, "--ignored"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn threads_end_in_a_process_of_its_own() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("redis-")).count()
    };
    let mut socket = FullSocket::start();
    socket.fill();
    let client = ReplicatedClient::builder().master(socket.url()).deadline(Duration::from_millis(200)).build().unwrap();
    assert_back_in_time("read", Calls { threads: 1, ..Calls::FEW }, client.clone(), get);
    assert!(threads() > 0);
    assert_dropped_at_once(client);
    // The longest question of the monitor: a connection, then a reply.
    let end = Instant::now() + Duration::from_secs(2) + SLACK;
    while threads() > 0 {
        assert!(Instant::now() < end, "{} threads go on without the client", threads());
        // Looks again; how long the threads may go on is what is tested.
        thread::sleep(Duration::from_millis(5));
    }
}
