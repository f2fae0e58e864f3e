//! A replica set with three Sentinels, a client with metrics, and what may happen to them.

use std::error::Error;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::observe::MetricsObserver;
use redis_replicated::redis::{cmd, pipe};
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Sentinels, Server};
use redis_replicated::{ErrorKind, NodeAddr, NodeSnapshot, ReplicatedClient, Role};

/// What any of the steps may return.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// How long something may take to happen.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A replica set with a client that reports its metrics.
#[derive(Debug)]
pub struct Demo {
    client: ReplicatedClient,
    servers: ReplicaSet,
    _sentinels: Sentinels,
}

impl Demo {
    /// Starts a master, two replicas and three Sentinels. A recorder has to be installed before.
    pub fn start() -> Result<Self> {
        let servers = ReplicaSet::start(2)?;
        let sentinels = Sentinels::start(&servers, 3)?;
        let client = ReplicatedClient::builder()
            .sentinel(sentinels.service(), sentinels.urls())
            .observer(MetricsObserver::new().label("client", "shop"))
            .slow_call(Duration::from_millis(100))
            .deadline(Duration::from_secs(10)) // how long a write may wait for the next master
            .build()?;
        client.set("key", "value")?;
        servers.wait_until_in_sync()?;
        Ok(Self { client, servers, _sentinels: sentinels })
    }

    /// Reads and writes in all ways: commands, a pipeline, a transaction, sessions, bounded staleness, an error.
    pub fn call(&self) -> Result {
        let client = &self.client;
        for _ in 0..200 {
            client.get::<Option<String>>("key")?;
        }
        for number in 0..20 {
            client.set("number", number)?;
        }
        client.query_pipeline::<Vec<Option<String>>>(pipe().get("key").get("number"))?;
        client.query_pipeline::<Vec<i64>>(pipe().atomic().incr("counter", 1).incr("counter", 1))?;
        let session = client.session();
        for number in 0..20 {
            session.set("name", number)?;
            session.get::<Option<String>>("name")?;
        }
        client.max_staleness(Duration::from_secs(2)).get::<Option<String>>("key")?;
        let error = client.query::<i64>(cmd("LLEN").arg("key"));
        if error.is_ok() {
            return Err("LLEN of a string is an error".into());
        }
        Ok(())
    }

    /// Reads with many threads at once, which share connections.
    pub fn read_with_many_threads(&self) -> Result {
        let end = Instant::now() + Duration::from_secs(3);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        while Instant::now() < end {
                            self.client.get::<Option<String>>("key")?;
                        }
                        Ok(())
                    })
                })
                .collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(())));
            results.collect::<redis_replicated::Result<()>>()
        })?;
        Ok(())
    }

    /// Lets callers wait for the only connection to a master that does not answer, until one of them gets none in time.
    pub fn wait_for_connections(&self) -> Result {
        let addr = self.master()?;
        let master = self.servers.server_at(&addr).ok_or("the master is unknown")?;
        let small = ReplicatedClient::builder()
            .master(master.url())
            .observer(MetricsObserver::new().label("client", "small"))
            .pool_size(1)
            .shared_connections(0)
            .build()?;
        small.set("key", "value")?;
        master.pause_writes(Duration::from_secs(30))?;
        let hasty = small.deadline(Duration::from_millis(300));
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| hasty.set("key", "late"))).collect();
            threads.into_iter().flat_map(|thread| thread.join().ok()).collect()
        });
        master.unpause()?;
        if results.iter().all(std::result::Result::is_ok) {
            return Err("a master that is paused executes no write".into());
        }
        wait_until("the pool was read by the monitor", || Ok(small.set("key", "value").is_ok()))
    }

    /// Kills a replica, waits until it is ejected, restarts it, and waits until it serves again.
    pub fn lose_a_replica(&mut self) -> Result {
        let replica = self.node(|node| node.assigned_role == Role::Replica).ok_or("there is no replica")?;
        self.server(&replica)?.stop();
        self.read_until("the replica is ejected", |demo| demo.is_ejected(&replica))?;
        self.server(&replica)?.restart()?;
        self.read_until("the replica serves again", |demo| !demo.is_ejected(&replica))?;
        self.servers.wait_until_in_sync()?;
        Ok(())
    }

    /// Kills all replicas, so that the master serves the reads, and restarts them.
    pub fn lose_all_replicas(&mut self) -> Result {
        let nodes = self.client.snapshot().nodes;
        let replicas: Vec<_> = nodes.into_iter().filter(|node| node.assigned_role == Role::Replica).collect();
        for replica in &replicas {
            self.server(&replica.addr)?.stop();
        }
        for _ in 0..50 {
            self.client.get::<Option<String>>("key")?;
        }
        for replica in &replicas {
            self.server(&replica.addr)?.restart()?;
        }
        self.read_until("the replicas serve again", |demo| replicas.iter().all(|node| !demo.is_ejected(&node.addr)))?;
        Ok(self.servers.wait_until_in_sync()?)
    }

    /// Kills the master, and waits until another one has answered a write; restarts the old one as a replica.
    pub fn fail_over(&mut self) -> Result {
        let before = self.master()?;
        self.server(&before)?.stop();
        wait_until("the new master answers", || Ok(self.client.incr("counter").is_ok()))?;
        self.read_until("the new master is known", |demo| demo.master().is_ok_and(|now| now != before))?;
        self.server(&before)?.restart()?;
        let is_replica = |node: &NodeSnapshot| node.addr == before && node.role == Role::Replica;
        self.read_until("the old master is a replica", |demo| {
            demo.node(|node| is_replica(node) && !node.ejected).is_some()
        })?;
        Ok(self.servers.wait_until_in_sync()?)
    }

    /// Returns the state of all nodes, as a table.
    #[must_use]
    pub fn table(&self) -> String {
        self.client.snapshot().to_string()
    }

    fn master(&self) -> Result<NodeAddr> {
        self.node(|node| node.assigned_role == Role::Master).ok_or_else(|| "there is no master".into())
    }

    fn node(&self, is_wanted: impl Fn(&NodeSnapshot) -> bool) -> Option<NodeAddr> {
        self.client.snapshot().nodes.into_iter().find(is_wanted).map(|node| node.addr)
    }

    fn is_ejected(&self, addr: &NodeAddr) -> bool {
        self.node(|node| node.addr == *addr && node.ejected).is_some()
    }

    fn server(&mut self, addr: &NodeAddr) -> io::Result<&mut Server> {
        self.servers.server_at_mut(addr).ok_or_else(|| io::Error::other(format!("{addr} is no server of the set")))
    }

    fn read_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result {
        wait_until(what, || {
            self.client.get::<Option<String>>("key")?;
            Ok(is_so(self))
        })
    }
}

/// Loses a write that a session made: the only replica does not receive it, and is promoted.
///
/// # Errors
///
/// If the servers do not start, or the session does not learn of its loss.
pub fn lose_a_write() -> Result {
    let mut servers = ReplicaSet::start(1)?;
    // The replica hears its master through a proxy, which is cut.
    let proxy = FaultProxy::start(&servers.master().addr())?;
    let port = proxy.addr().port().ok_or("a proxy listens on a port")?;
    follow(servers.replica(0), "127.0.0.1", &port.to_string())?;
    let is_up = || Ok(servers.replica(0).info("replication", "master_link_status")?.as_deref() == Some("up"));
    wait_until("the replica follows the proxy", is_up)?;
    let client = servers.client_builder().observer(MetricsObserver::new().label("client", "baskets")).build()?;
    let session = client.session();
    session.set("name", "kept")?;
    servers.wait_until_in_sync()?;
    proxy.set(NetworkFault::BlackHole)?;
    session.set("name", "lost")?;
    follow(servers.replica(0), "NO", "ONE")?;
    servers.master_mut().stop();
    let patient = session.deadline(Duration::from_secs(20));
    let is_told = || Ok(patient.get::<Option<String>>("name").is_err_and(|error| error.kind() == ErrorKind::WriteLost));
    wait_until("the session learns of its loss", is_told)
}

fn follow(server: &Server, host: &str, port: &str) -> Result {
    Ok(cmd("REPLICAOF").arg(host).arg(port).exec(&mut server.connection()?)?)
}

/// Waits until something is so.
///
/// # Errors
///
/// If it is not so after a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result {
    let end = Instant::now() + LONGEST_WAIT;
    while !is_so()? {
        if Instant::now() > end {
            return Err(format!("waited for a minute: {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
