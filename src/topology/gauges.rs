//! The gauges of a node, as observers are told them.

use std::time::{Duration, Instant};

use super::picture::Topology;
use super::server::Server;
use crate::observe::NodeGauges;
use crate::replication::{Report, Role, Timeline};

/// Reads the gauges of a node.
pub(super) fn gauges(server: &Server, topology: &Topology, timeline: &Timeline) -> NodeGauges {
    let Server { node, pool, .. } = server;
    let find = || topology.servers().iter().find(|own| std::ptr::eq(&*own.server, server));
    let assigned_role = find().map(|own| own.assigned_role);
    let report = node.report().filter(|_| assigned_role == Some(Role::Replica));
    let master = topology.master().and_then(|master| topology.servers()[master].node.report());
    let batches = pool.batches();
    NodeGauges {
        assigned_role,
        sync_state: node.sync_state(),
        ejected: node.is_ejected(),
        in_flight: node.in_flight(),
        used: pool.in_use(),
        idle: pool.idle(),
        waiting: pool.waiting(),
        pool_size: pool.limits().size,
        shared: pool.shared_connections(),
        lag_bytes: report.as_deref().zip(master.as_deref()).and_then(|(own, master)| own.lag_behind(master)),
        lag_time: report.as_deref().and_then(|own| lag_time(own, node.reported_at()?, timeline)),
        heartbeat: node.heartbeat(),
        shared_requests: batches.requests,
        shared_batches: batches.batches,
        shared_waited: batches.waited,
    }
}

/// Returns how long before a replica's report the master had gone beyond it.
fn lag_time(own: &Report, reported_at: Instant, timeline: &Timeline) -> Option<Duration> {
    let position = own.position()?;
    if !timeline.is_of(position) {
        return None;
    }
    Some(timeline.left_at(position).map_or(Duration::ZERO, |left| reported_at.saturating_duration_since(left)))
}
