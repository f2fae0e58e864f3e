//! A picture of the set for people and dashboards.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::picture::{Assigned, Topology};
use super::server::Server;
use crate::addr::NodeAddr;
use crate::node::{Health, Node, Outcome, Percentiles, SyncState};
use crate::replication::{Report, Role};
use crate::retry::Budget;
use crate::selection::{FallbackCounts, Permits};

mod table;

/// The state of all nodes at one moment: from [`ReplicatedClient::snapshot`](crate::ReplicatedClient::snapshot).
///
/// Taking one sends nothing. `Display` is a table for people, with a line for each node and two for the client as a whole.
/// `Serialize` is for dashboards: times are numbers of milliseconds, to the microsecond, and their names end with `_ms`:
/// `"latency_ms": 0.213`. All counts begin when the client is built; those of a node begin when it joins.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// println!("{}", client.snapshot());
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Grows with each change of the set.
    pub generation: u64,
    /// Whether it is known which node is the master, as far as the client can know.
    pub settled: bool,
    /// The nodes, in the order of configuration.
    pub nodes: Vec<NodeSnapshot>,
    /// Failed attempts after which a call went on, on the same node or another one.
    pub retries: u64,
    /// How often the retry budget was empty, so that a read had to wait before its next attempt.
    pub retries_denied: u64,
    /// The reads that the master served because no replica could.
    pub fallback: FallbackSnapshot,
}

/// The fallback reads of a client: those that the master serves because no replica can.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let fallback = client.snapshot().fallback;
/// println!("{} fallback reads, {} refused", fallback.served, fallback.refused);
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FallbackSnapshot {
    /// Fallback reads that were sent to the master.
    pub served: u64,
    /// Fallback reads in flight.
    pub in_flight: u32,
    /// How many may be in flight, by [`Builder::fallback_limit`](crate::Builder::fallback_limit); `None`: any number.
    pub limit: Option<u32>,
    /// How often a read waited because the limit was reached.
    pub waits: u64,
    /// The time of all these waits together. In JSON: `wait_time_ms`.
    #[serde(rename = "wait_time_ms", serialize_with = "crate::millis::serialize")]
    pub wait_time: Duration,
    /// How many of these waits ended without a permit: `checkout_timeout`, or the deadline, was over.
    pub refused: u64,
}

/// The state of one node at one moment.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for node in client.snapshot().nodes.iter().filter(|node| node.ejected) {
///     println!("{} is ejected for {:?}: {:?}", node.addr, node.health_for, node.reason);
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// What the calls on it say.
    pub health: Health,
    /// How long it has been so. An ejected node that is probed stays ejected; a node that came back is available from then on.
    /// In JSON: `health_for_ms`.
    #[serde(rename = "health_for_ms", serialize_with = "crate::millis::serialize")]
    pub health_for: Duration,
    /// Whether it is avoided after failures: its health is [`Ejected`](Health::Ejected) or [`Probing`](Health::Probing).
    pub ejected: bool,
    /// The outcome of the last failure, if it is ejected.
    pub outcome: Option<Outcome>,
    /// Why the last attempt on it failed, in words, if it is ejected: `connection refused`, `no answer in time`, or what the
    /// server said.
    pub reason: Option<String>,
    /// How often it was ejected.
    pub ejections: u64,
    /// The part of its load that it gets: 1, or less for 10 s after it came back.
    pub share: f64,
    /// How long calls take there, by [`Node::latency_at`](crate::Node::latency_at); `None` if nothing is known. In JSON:
    /// `latency_ms`.
    #[serde(rename = "latency_ms", serialize_with = "crate::millis::serialize_option")]
    pub latency: Option<Duration>,
    /// How long calls took there in the last one to two minutes; `None` if none was timed.
    pub percentiles: Option<Percentiles>,
    /// How long the monitor's questions take there; `None` without a monitor. In JSON: `heartbeat_ms`.
    #[serde(rename = "heartbeat_ms", serialize_with = "crate::millis::serialize_option")]
    pub heartbeat: Option<Duration>,
    /// Requests of this process that wait for it, or for a connection to it.
    pub in_flight: u32,
    /// Connections that calls use right now; those of blocking commands and shared ones, which come on top of its pool's size,
    /// included.
    pub connections_in_use: u32,
    /// Connections that are open: in use or idle, those of blocking commands and shared ones included.
    pub connections_open: u32,
    /// Open connections that no call uses.
    pub connections_idle: u32,
    /// The most connections its pool may have.
    pub pool_size: u32,
    /// Calls that wait for a connection to it right now.
    pub connection_waiters: u32,
    /// How often a call waited for a connection to be given back, or to be opened by another call. A free slot that was found
    /// within 10 µs is no wait.
    pub connection_waits: u64,
    /// The time of all these waits together. In JSON: `connection_wait_time_ms`.
    #[serde(rename = "connection_wait_time_ms", serialize_with = "crate::millis::serialize")]
    pub connection_wait_time: Duration,
    /// How many of these waits ended without a connection.
    pub connection_timeouts: u64,
    /// Connections beside its pool that are open for callers to share.
    pub shared_connections: u32,
    /// Requests that were sent on shared connections.
    pub shared_requests: u64,
    /// The batches in which these were written: `shared_requests` divided by this is how many requests share a round trip.
    pub shared_batches: u64,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicationSnapshot {
    /// How long ago it said so. In JSON: `age_ms`.
    #[serde(rename = "age_ms", serialize_with = "crate::millis::serialize")]
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
    /// How long ago its master was heard last, in whole seconds. In JSON: `master_silent_for_ms`.
    #[serde(rename = "master_silent_for_ms", serialize_with = "crate::millis::serialize_option")]
    pub master_silent_for: Option<Duration>,
}

impl Snapshot {
    pub(crate) fn take(topology: &Topology, budget: &Budget, permits: &Permits, now: Instant) -> Self {
        let master = topology.master().and_then(|master| topology.servers()[master].node.report());
        let nodes = topology.servers().iter().map(|server| NodeSnapshot::take(server, master.as_deref(), now));
        let retries = budget.counts();
        Self {
            generation: topology.generation(),
            settled: topology.is_settled(),
            nodes: nodes.collect(),
            retries: retries.retries,
            retries_denied: retries.denied,
            fallback: FallbackSnapshot::take(permits),
        }
    }
}

impl FallbackSnapshot {
    fn take(permits: &Permits) -> Self {
        let FallbackCounts { served, running, waits, wait_time, refused } = permits.counts();
        Self { served, in_flight: running, limit: permits.limit(), waits, wait_time, refused }
    }
}

impl ReplicationSnapshot {
    fn take(node: &Node, master: Option<&Report>, now: Instant) -> Option<Self> {
        let (told_at, report) = (node.reported_at()?, node.report()?);
        let history = report.history;
        let link = report.link.as_ref();
        Some(Self {
            age: now.saturating_duration_since(told_at),
            run_id: report.run_id.as_deref().map(str::to_owned),
            replication_id: history.map(|history| history.id.to_string()),
            second_replication_id: history.and_then(|history| history.earlier).map(|id| id.to_string()),
            offset: report.offset,
            lag: master.and_then(|master| report.lag_behind(master)),
            link_up: link.map(|link| link.is_up),
            syncing: report.is_syncing(),
            master_silent_for: link.and_then(|link| link.silent_for),
        })
    }
}

impl NodeSnapshot {
    fn take(server: &Assigned, master: Option<&Report>, now: Instant) -> Self {
        let Server { node, pool, .. } = &*server.server;
        let (health, waits, batches) = (node.health_at(now), pool.waits(), pool.batches());
        let ejected = matches!(health.health, Health::Ejected | Health::Probing);
        Self {
            addr: node.addr().clone(),
            role: node.role(),
            assigned_role: server.assigned_role,
            sync_state: node.sync_state(),
            shared: node.is_shared(),
            zone: node.zone().map(str::to_owned),
            weight: node.weight(),
            health: health.health,
            health_for: health.lasts,
            ejected,
            outcome: health.outcome,
            reason: node.last_reason().filter(|_| ejected).map(|reason| reason.as_ref().to_owned()),
            ejections: health.ejections,
            share: node.share_at(now),
            latency: node.latency_at(now),
            percentiles: node.percentiles_at(now),
            heartbeat: node.heartbeat(),
            in_flight: node.in_flight(),
            connections_in_use: pool.in_use(),
            connections_open: pool.open_connections(),
            connections_idle: pool.idle(),
            pool_size: pool.limits().size,
            connection_waiters: pool.waiting(),
            connection_waits: waits.count,
            connection_wait_time: waits.time,
            connection_timeouts: waits.timeouts,
            shared_connections: pool.shared_connections(),
            shared_requests: batches.requests,
            shared_batches: batches.batches,
            answered: node.answered(),
            failed: node.failed(),
            replication: ReplicationSnapshot::take(node, master, now),
        }
    }
}
