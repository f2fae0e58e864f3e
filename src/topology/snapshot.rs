//! A picture of the set for people and dashboards.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::picture::{Assigned, Topology};
use super::server::Server;
use crate::addr::NodeAddr;
use crate::node::{Node, SyncState};
use crate::replication::{Report, Role};

/// The state of all nodes at one moment: from [`ReplicatedClient::snapshot`](crate::ReplicatedClient::snapshot).
///
/// Taking one sends nothing. `Serialize` is for dashboards, `Display` is a table for people.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// println!("{}", client.snapshot());
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Grows with each change of the set.
    pub generation: u64,
    /// Whether it is known which node is the master, as far as the client can know.
    pub settled: bool,
    /// The nodes, in the order of configuration.
    pub nodes: Vec<NodeSnapshot>,
}

/// The state of one node at one moment.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for node in client.snapshot().nodes.iter().filter(|node| node.ejected) {
///     println!("{} is ejected: {}", node.addr, node.reason.as_deref().unwrap_or("failures"));
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct NodeSnapshot {
    /// Where it listens.
    pub addr: NodeAddr,
    /// The role that it was last seen in; the configured one until a connection has asked.
    pub role: Role,
    /// What the topology takes it for: writes go to the one that is assigned the role of the master.
    pub assigned_role: Role,
    /// What its data is worth; in sync, as long as nothing else is known.
    pub sync_state: SyncState,
    /// Whether several processes were seen to answer at this address, as behind the name of a service.
    pub shared: bool,
    /// The availability zone, if one was configured or the server named one.
    pub zone: Option<String>,
    /// The configured weight.
    pub weight: u32,
    /// Whether it is avoided after failures.
    pub ejected: bool,
    /// Why no connection to it can be made, if that is why it is ejected: its certificate has expired, the port refuses.
    pub reason: Option<String>,
    /// The part of its load that it gets: 1, or less for 10 s after it came back.
    pub share: f64,
    /// How long calls take there, by [`Node::latency_at`](crate::Node::latency_at); `None` if nothing is known.
    pub latency: Option<Duration>,
    /// How long the monitor's questions take there; `None` without a monitor.
    pub heartbeat: Option<Duration>,
    /// Requests of this process that wait for it, or for a connection to it.
    pub in_flight: u32,
    /// Connections that calls use right now; those of blocking commands and shared ones, which come on top of its pool's size,
    /// included.
    pub connections_in_use: u32,
    /// The most connections its pool may have.
    pub pool_size: u32,
    /// Connections beside its pool that are open for callers to share.
    pub shared_connections: u32,
    /// Attempts that got a complete reply since the client was built; errors of the application are replies.
    pub answered: u64,
    /// Attempts that failed since the client was built.
    pub failed: u64,
    /// What the node last said to the monitor; `None` if it was not asked, or does not say.
    pub replication: Option<ReplicationSnapshot>,
}

/// What a node said of its replication when the monitor asked last.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for node in client.snapshot().nodes {
///     let lag = node.replication.and_then(|replication| replication.lag);
///     println!("{}: {lag:?} bytes behind the master", node.addr);
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct ReplicationSnapshot {
    /// How long ago it said so.
    pub age: Duration,
    /// The name of the process.
    pub run_id: Option<String>,
    /// The name of the history that it shares with its master.
    pub replication_id: Option<String>,
    /// The name of the history that this one continues, since the last failover.
    pub second_replication_id: Option<String>,
    /// What a master has written, or a replica has applied, in bytes of the replication stream.
    pub offset: Option<u64>,
    /// How many bytes it is behind the master; 0 if the master was asked earlier. `None` without a common history.
    pub lag: Option<u64>,
    /// Whether the link to its master is up; `None` for a master.
    pub link_up: Option<bool>,
    /// Whether it takes over the whole data from its master.
    pub syncing: bool,
    /// How long ago its master was heard last, in whole seconds.
    pub master_silent_for: Option<Duration>,
}

impl Snapshot {
    pub(crate) fn take(topology: &Topology, now: Instant) -> Self {
        let master = topology.master().and_then(|master| topology.servers()[master].node.report());
        let nodes = topology.servers().iter().map(|server| NodeSnapshot::take(server, master.as_deref(), now));
        Self { generation: topology.generation(), settled: topology.is_settled(), nodes: nodes.collect() }
    }
}

impl ReplicationSnapshot {
    fn take(node: &Node, master: Option<&Report>, now: Instant) -> Option<Self> {
        let (told_at, report) = (node.reported_at()?, node.report()?);
        let history = report.history;
        let shared = master.filter(|master| master.shares_history_with(&report)).and_then(|master| master.offset);
        let link = report.link.as_ref();
        Some(Self {
            age: now.saturating_duration_since(told_at),
            run_id: report.run_id.as_deref().map(str::to_owned),
            replication_id: history.map(|history| history.id.to_string()),
            second_replication_id: history.and_then(|history| history.earlier).map(|id| id.to_string()),
            offset: report.offset,
            lag: shared.zip(report.offset).map(|(master, own)| master.saturating_sub(own)),
            link_up: link.map(|link| link.is_up),
            syncing: report.is_syncing(),
            master_silent_for: link.and_then(|link| link.silent_for),
        })
    }
}

impl NodeSnapshot {
    fn take(server: &Assigned, master: Option<&Report>, now: Instant) -> Self {
        let Server { node, pool, .. } = &*server.server;
        Self {
            addr: node.addr().clone(),
            role: node.role(),
            assigned_role: server.assigned_role,
            sync_state: node.sync_state(),
            shared: node.is_shared(),
            zone: node.zone().map(str::to_owned),
            weight: node.weight(),
            ejected: node.is_ejected(),
            reason: node.reason(),
            share: node.share_at(now),
            latency: node.latency_at(now),
            heartbeat: node.heartbeat(),
            in_flight: node.in_flight(),
            connections_in_use: pool.in_use(),
            pool_size: pool.limits().size,
            shared_connections: pool.shared_connections(),
            answered: node.answered(),
            failed: node.failed(),
            replication: ReplicationSnapshot::take(node, master, now),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:<8} {:<10} {:<10} {:>7} {:>9} {:>11} {:>10} {:>8}",
            "node", "role", "health", "sync state", "lag", "in flight", "connections", "answered", "failed"
        )?;
        for node in &self.nodes {
            let health = match (node.ejected, node.role == node.assigned_role) {
                (true, _) => "ejected",
                (false, false) => "wrong role",
                (false, true) => "healthy",
            };
            let connections = format!("{}/{}", node.connections_in_use, node.pool_size);
            let lag = node.replication.as_ref().and_then(|replication| replication.lag);
            let lag = lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string());
            let (addr, role, sync_state) = (node.addr.to_string(), node.role.to_string(), node.sync_state.to_string());
            let reason = node.reason.as_ref().map(|reason| format!("  {reason}")).unwrap_or_default();
            writeln!(
                f,
                "{addr:<24} {role:<8} {health:<10} {sync_state:<10} {lag:>7} {:>9} {connections:>11} {:>10} {:>8}{reason}",
                node.in_flight, node.answered, node.failed
            )?;
        }
        Ok(())
    }
}
