//! A picture of the set for people and dashboards.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::{Member, Topology};
use crate::addr::NodeAddr;
use crate::node::Role;

/// The state of all nodes at one moment: from [`ReplicatedClient::snapshot`](crate::ReplicatedClient::snapshot).
///
/// Taking one sends nothing. `Serialize` is for dashboards, `Display` is a table for people.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The nodes, the master first, replicas in the order of configuration.
    pub nodes: Vec<NodeSnapshot>,
}

/// The state of one node at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct NodeSnapshot {
    /// Where it listens.
    pub addr: NodeAddr,
    /// The role that it was last seen in; the configured one until a connection has asked.
    pub role: Role,
    /// The availability zone, if one was configured.
    pub zone: Option<String>,
    /// The configured weight.
    pub weight: u32,
    /// Whether it is avoided after failures.
    pub ejected: bool,
    /// Requests of this process that wait for it, or for a connection to it.
    pub in_flight: u32,
    /// Connections of its pool that are lent right now.
    pub connections_in_use: u32,
    /// The most connections its pool may have.
    pub pool_size: u32,
    /// Attempts that got a complete reply since the client was built; errors of the application are replies.
    pub answered: u64,
    /// Attempts that failed since the client was built.
    pub failed: u64,
}

impl Snapshot {
    pub(crate) fn take(topology: &Topology, now: Instant) -> Self {
        Self { nodes: topology.members().iter().map(|member| NodeSnapshot::take(member, now)).collect() }
    }
}

impl NodeSnapshot {
    fn take(member: &Member, now: Instant) -> Self {
        let Member { node, pool, .. } = member;
        Self {
            addr: node.addr().clone(),
            role: node.role(),
            zone: node.zone().map(str::to_owned),
            weight: node.weight(),
            ejected: node.is_ejected(now),
            in_flight: node.in_flight(),
            connections_in_use: pool.lent(),
            pool_size: pool.limits().size,
            answered: node.answered(),
            failed: node.failed(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24} {:<8} {:<8} {:>9} {:>11} {:>10} {:>8}",
            "node", "role", "health", "in flight", "connections", "answered", "failed"
        )?;
        for node in &self.nodes {
            let health = if node.ejected { "ejected" } else { "healthy" };
            let connections = format!("{}/{}", node.connections_in_use, node.pool_size);
            let (addr, role) = (node.addr.to_string(), node.role.to_string());
            writeln!(
                f,
                "{addr:<24} {role:<8} {health:<8} {:>9} {connections:>11} {:>10} {:>8}",
                node.in_flight, node.answered, node.failed
            )?;
        }
        Ok(())
    }
}
