//! What several tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{
    Builder, Description, NodeAddr, RefreshTrigger, ReplicatedClient, Result, Role, TopologyProvider,
};

/// Starts a master with replicas, and sets `k` to `v` on all of them.
pub fn set_with_key(replicas: usize) -> ReplicaSet {
    let servers = ReplicaSet::start(replicas).unwrap();
    redis::cmd("SET").arg("k").arg("v").exec(&mut servers.master().connection().unwrap()).unwrap();
    servers.wait_until_in_sync().unwrap();
    servers
}

/// Waits until the condition holds.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(20), what, condition);
}

/// Waits until the condition holds, for so long.
pub fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        // The one place where tests wait for a condition.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the master and the replicas of the client's set, the latter in order; no master until it is known.
pub fn places(client: &ReplicatedClient) -> (Option<NodeAddr>, Vec<NodeAddr>) {
    let snapshot = client.snapshot();
    let of =
        |role: Role| snapshot.nodes.iter().filter(move |node| node.assigned_role == role).map(|node| node.addr.clone());
    let mut replicas: Vec<NodeAddr> = of(Role::Replica).collect();
    replicas.sort();
    (of(Role::Master).next().filter(|_| snapshot.settled), replicas)
}

/// Waits until the client's set is these servers.
pub fn wait_until_set_is(client: &ReplicatedClient, master: &NodeAddr, replicas: &[NodeAddr]) {
    let mut replicas = replicas.to_vec();
    replicas.sort();
    let expected = (Some(master.clone()), replicas);
    wait_until(&format!("the set is {expected:?}, and not:\n{}", client.snapshot()), || places(client) == expected);
}

pub fn addrs(servers: &[Server]) -> Vec<NodeAddr> {
    servers.iter().map(Server::addr).collect()
}

/// Sums what `INFO commandstats` says of a command over the replicas.
pub fn calls_on_replicas(servers: &ReplicaSet, command: &str) -> u64 {
    servers.replicas().iter().map(|replica| replica.calls(command).unwrap()).sum()
}

/// A provider that always knows who the master is.
#[derive(Clone, Debug, Default)]
pub struct Authority(Arc<(Mutex<Description>, Mutex<Option<RefreshTrigger>>)>);

impl Authority {
    /// Names the set, and has it asked for at once.
    pub fn name(&self, master: &Server, replicas: impl Iterator<Item = String>) {
        let described = Description::new().master(master.url());
        *self.0.0.lock().unwrap() = replicas.fold(described, |described, replica| described.replica(replica));
        if let Some(trigger) = &*self.0.1.lock().unwrap() {
            trigger.fire();
        }
    }
}

impl TopologyProvider for Authority {
    fn describe(&self, _: Instant) -> Result<Description> {
        Ok(self.0.0.lock().unwrap().clone())
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn watch(&self, trigger: RefreshTrigger) {
        *self.0.1.lock().unwrap() = Some(trigger);
    }
}

/// A server that answers HELLO as a node of this role, and then does what a real one cannot be made to do.
pub struct Fake {
    pub port: u16,
    pub connections: Arc<AtomicUsize>,
}

impl Fake {
    /// `then` gets each connection after its greeting.
    pub fn start(role: &'static str, then: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::raw(move |mut stream| {
            read_some(&mut stream);
            let greeting = format!("*2\r\n$4\r\nrole\r\n${}\r\n{role}\r\n", role.len());
            if stream.write_all(greeting.as_bytes()).is_ok() {
                then(stream);
            }
        })
    }

    /// `serve` gets each connection as it comes.
    pub fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, serve) = (Arc::clone(&connections), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                seen.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { port, connections }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// A master whose whole data no replica can load: whoever follows it drops its own data, and gets none.
pub fn unloadable_master() -> Fake {
    master_with("REDIS9999---------")
}

/// The same for replicas that load what they are sent without a file: some look at the first bytes before they drop anything.
pub fn broken_master() -> Fake {
    master_with("REDIS0009\x7f--------")
}

fn master_with(data: &'static str) -> Fake {
    Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let reply = match words[0].as_str() {
                "PING" => "+PONG\r\n".to_owned(),
                "PSYNC" => format!("+FULLRESYNC {} 5000\r\n${}\r\n{data}", "e5".repeat(20), data.len()),
                _ => "+OK\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Reads one command; `None` at the end.
pub fn read_command(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = || -> Option<String> {
        let mut text = String::new();
        let read = input.read_line(&mut text).ok()?;
        (read > 0).then(|| text.trim_end().to_owned())
    };
    let count: usize = line()?.strip_prefix('*')?.parse().ok()?;
    (0..count)
        .map(|_| {
            line()?;
            line()
        })
        .collect()
}

/// Reads what is there; returns how much.
pub fn read_some(stream: &mut TcpStream) -> usize {
    read_chunk(stream).map_or(0, |chunk| chunk.len())
}

/// Reads what is there; `None` at the end.
pub fn read_chunk(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut chunk = vec![0; 65536];
    let count = stream.read(&mut chunk).ok()?;
    chunk.truncate(count);
    (count > 0).then_some(chunk)
}

/// Keeps a connection open without ever answering.
pub fn never_answer(mut stream: TcpStream) {
    while read_some(&mut stream) > 0 {}
}

/// Threads that read `k`, and what became of their calls.
pub struct Load {
    stop: AtomicBool,
    /// How many calls of each thread have ended.
    reads: Vec<AtomicUsize>,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Reads `k` on so many threads while `act` runs; each must see `v`. Returns what `act` returns, and the failures.
    pub fn run<T>(client: &ReplicatedClient, threads: usize, act: impl FnOnce(&Self) -> T) -> (T, Vec<String>) {
        /// Also when `act` panics: the scope would wait for ever.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let reads = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        let load = Self { stop: AtomicBool::new(false), reads, failed: Mutex::default() };
        let done = thread::scope(|scope| {
            let _stop = Stop(&load.stop);
            load.reads.iter().for_each(|reads| drop(scope.spawn(|| load.read(client, reads))));
            load.flow(500);
            act(&load)
        });
        (done, load.failed.into_inner().unwrap())
    }

    fn read(&self, client: &ReplicatedClient, reads: &AtomicUsize) {
        while !self.stop.load(Ordering::SeqCst) {
            match client.get::<Option<String>>("k") {
                Ok(Some(value)) if value == "v" => {}
                Ok(other) => self.failed.lock().unwrap().push(format!("read {other:?}")),
                Err(error) => self.failed.lock().unwrap().push(error.to_string()),
            }
            reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until all calls have ended that are under way now.
    pub fn finish_calls(&self) {
        for reads in &self.reads {
            let before = reads.load(Ordering::SeqCst);
            wait_until("a call ends", || reads.load(Ordering::SeqCst) > before);
        }
    }

    /// Waits until so many more reads have ended.
    pub fn flow(&self, reads: usize) {
        let target = self.reads() + reads;
        wait_until("reads flow", || self.reads() >= target);
    }

    pub fn reads(&self) -> usize {
        self.reads.iter().map(|reads| reads.load(Ordering::SeqCst)).sum()
    }
}

/// Makes one server follow another, by hand.
pub fn follow(server: &Server, master: &Server) {
    follow_port(server, master.addr().port().unwrap());
}

pub fn follow_port(server: &Server, port: u16) {
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec(&mut server.connection().unwrap()).unwrap();
}

/// Makes a server a master, by hand.
pub fn promote(server: &Server) {
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut server.connection().unwrap()).unwrap();
}

/// A set whose replicas hear their master through a proxy each.
pub struct Distant {
    pub proxies: Vec<FaultProxy>,
    pub servers: ReplicaSet,
}

impl Distant {
    pub fn start(replicas: usize) -> Self {
        let servers = ReplicaSet::start(replicas).unwrap();
        let proxies = servers.replicas().iter().map(|_| FaultProxy::start(&servers.master().addr()).unwrap()).collect();
        let set = Self { servers, proxies };
        for (replica, proxy) in set.servers.replicas().iter().zip(&set.proxies) {
            follow_port(replica, proxy.addr().port().unwrap());
        }
        let is_up =
            |replica: &Server| replica.info("replication", "master_link_status").unwrap().as_deref() == Some("up");
        wait_until("the links are up", || set.servers.replicas().iter().all(is_up));
        set
    }

    pub fn freeze(&self, replica: usize) {
        self.proxies[replica].set(NetworkFault::BlackHole).unwrap();
    }
}

/// Names the servers to a client, with a user who has these rights.
pub fn as_user(servers: &ReplicaSet, rights: &[&str]) -> Builder {
    for server in servers.servers() {
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER").arg("app").arg("on").arg(">secret").arg(rights);
        acl.exec(&mut server.connection().unwrap()).unwrap();
    }
    let url = |server: &Server| format!("redis://app:secret@{}", server.addr());
    ReplicatedClient::builder().master(url(servers.master())).replicas(servers.replicas().iter().map(url))
}

/// Changes a setting of a server.
pub fn configure(server: &Server, name: &str, value: impl ToString) {
    let mut config = redis::cmd("CONFIG");
    config.arg("SET").arg(name).arg(value.to_string());
    config.exec(&mut server.connection().unwrap()).unwrap();
}

/// Fails if a node is out, or was seen in another role.
pub fn check_that_nobody_is_blamed(client: &ReplicatedClient) {
    for node in &client.snapshot().nodes {
        assert!(!node.ejected && node.role == node.assigned_role, "{}", client.snapshot());
    }
}

/// How late threads wake up at worst that do nothing but sleep, while others use the processors, too.
///
/// What is late by a few times of that says nothing about a call.
pub struct Sleepers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Duration>>,
}

impl Sleepers {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sleep = |stop: Arc<AtomicBool>| {
            let (mut latest, time) = (Duration::ZERO, Duration::from_millis(5));
            while !stop.load(Ordering::SeqCst) {
                let start = Instant::now();
                // How long a sleep takes is what is measured.
                thread::sleep(time);
                latest = latest.max(start.elapsed().saturating_sub(time));
            }
            latest
        };
        let start = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || sleep(stop))
        };
        let threads = (0..4).map(start).collect();
        Self { stop, threads }
    }

    /// Returns how late the latest of them was.
    pub fn finish(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    }
}
