//! The servers: a master with two replicas, the same as a cluster, and a slow line to them.

use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server, free_port};

use crate::caller::{Outcome, text};
use crate::cpu::Watched;
use crate::line::Line;
use crate::turn::Value;

const REPLICAS: usize = 2;
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A master with two replicas.
pub struct Nodes {
    set: ReplicaSet,
    line: Option<Line>,
}

/// A cluster of one master with two replicas.
pub struct Cluster {
    /// One server each, the master first.
    nodes: Vec<ReplicaSet>,
}

impl Nodes {
    /// Starts the servers, and the line if it has a round trip.
    pub fn start(round_trip: Option<Duration>) -> Outcome<Self> {
        let set = ReplicaSet::start(REPLICAS).map_err(text)?;
        let ports: Vec<_> = set.servers().iter().filter_map(|server| server.addr().port()).collect();
        let line = round_trip.map(|time| Line::start(time / 2, &ports)).transpose()?;
        Ok(Self { set, line })
    }

    /// Sets the value and waits until the replicas have it.
    pub fn set(&self, value: Value) -> Outcome<()> {
        set(self.set.master(), value)?;
        self.set.wait_until_in_sync().map_err(text)
    }

    /// The URLs as clients use them: over the line, if there is one.
    pub fn master(&self) -> String {
        self.url(0)
    }

    pub fn replicas(&self) -> Vec<String> {
        (1..=REPLICAS).map(|index| self.url(index)).collect()
    }

    /// The replicas themselves, without the line.
    pub fn replica_servers(&self) -> &[Server] {
        self.set.replicas()
    }

    pub fn has_line(&self) -> bool {
        self.line.is_some()
    }

    pub fn watched(&self) -> Outcome<Watched> {
        let servers = self.set.servers().iter().map(process).collect::<Outcome<_>>()?;
        Ok(Watched { servers, line: self.line.as_ref().map(Line::process) })
    }

    /// The version that the servers report.
    pub fn version(&self) -> String {
        self.set.master().info("server", "redis_version").ok().flatten().unwrap_or_default()
    }

    fn url(&self, index: usize) -> String {
        match &self.line {
            Some(line) => format!("redis://127.0.0.1:{}", line.ports()[index]),
            None => self.set.servers()[index].url(),
        }
    }
}

impl Cluster {
    pub fn start(value: Value) -> Outcome<Self> {
        let started: Vec<_> = (0..=REPLICAS).map(|_| Self::node()).collect::<Outcome<_>>()?;
        let (nodes, buses): (Vec<_>, Vec<_>) = started.into_iter().unzip();
        let cluster = Self { nodes };
        let servers: Vec<_> = cluster.nodes.iter().map(ReplicaSet::master).collect();
        let [master, replicas @ ..] = servers.as_slice() else { return Err("no servers".to_owned()) };
        run(master, &["ADDSLOTSRANGE", "0", "16383"])?;
        let id: String = query(master, &["MYID"])?;
        let port = master.addr().port().unwrap_or(0).to_string();
        for replica in replicas {
            run(replica, &["MEET", "127.0.0.1", &port, &buses[0]])?;
            within("a node does not know the master", || run(replica, &["REPLICATE", &id]).is_ok())?;
        }
        for node in &servers {
            let is_up = || query::<String>(node, &["INFO"]).is_ok_and(|info| info.contains("cluster_state:ok"));
            within("the cluster is down", is_up)?;
            within("a node does not know all replicas", || has_replicas(node))?;
        }
        for replica in replicas {
            let status = || replica.info("replication", "master_link_status").ok().flatten();
            within("a replica has no link", || status().as_deref() == Some("up"))?;
        }
        set(master, value)?;
        run_plain(master, redis::cmd("WAIT").arg(REPLICAS).arg(5000))?;
        Ok(cluster)
    }

    /// The URLs of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.master().url()).collect()
    }

    pub fn watched(&self) -> Outcome<Watched> {
        let servers = self.nodes.iter().map(|node| process(node.master())).collect::<Outcome<_>>()?;
        Ok(Watched { servers, line: None })
    }

    /// Starts a node; returns the port of its cluster bus, too.
    fn node() -> Outcome<(ReplicaSet, String)> {
        // The usual one, 10 000 above, may be beyond all ports.
        let bus = free_port().map_err(text)?.to_string();
        let setup = ReplicaSet::setup().setting("cluster-enabled", "yes").setting("cluster-port", &bus);
        Ok((setup.start().map_err(text)?, bus))
    }
}

/// Returns whether the node knows all replicas as such.
fn has_replicas(node: &Server) -> bool {
    let nodes = query::<String>(node, &["NODES"]).unwrap_or_default();
    nodes.lines().filter(|line| line.contains("slave") && line.contains("connected")).count() == REPLICAS
}

fn set(master: &Server, value: Value) -> Outcome<()> {
    run_plain(master, redis::cmd("SET").arg(value.key).arg(vec![b'x'; value.size]))
}

fn run_plain(server: &Server, command: &redis::Cmd) -> Outcome<()> {
    command.exec(&mut server.connection().map_err(text)?).map_err(text)
}

fn run(server: &Server, subcommand: &[&str]) -> Outcome<()> {
    query::<redis::Value>(server, subcommand).map(drop)
}

/// Runs a subcommand of CLUSTER.
fn query<T: redis::FromRedisValue>(server: &Server, subcommand: &[&str]) -> Outcome<T> {
    redis::cmd("CLUSTER").arg(subcommand).query(&mut server.connection().map_err(text)?).map_err(text)
}

fn within(complaint: &str, is_there: impl Fn() -> bool) -> Outcome<()> {
    let end = Instant::now() + LONGEST_WAIT;
    while !is_there() {
        if Instant::now() > end {
            return Err(format!("{complaint} after 30 s"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn process(server: &Server) -> Outcome<u32> {
    let id = server.info("server", "process_id").map_err(text)?;
    id.and_then(|id| id.parse().ok()).ok_or_else(|| "a server does not say its process id".to_owned())
}
