//! What the crate tells the world through `tracing`: each event has one name and fixed fields.
//!
//! | event | level | fields | when |
//! |---|---|---|---|
//! | `node_ejected` | WARN | `node` `outcome` `cool_down` | a healthy node failed; not again while it stays out |
//! | `node_returned` | INFO | `node` | a probe found it able to serve |
//! | `sync_state_changed` | INFO | `node` `sync_state` | a replica lags, syncs, is cut off or diverged, or is in sync again |
//! | `role_changed` | WARN | `node` `role` | a server said that it is a replica, or a master, now |
//! | `topology_changed` | INFO | `generation` `master` `replicas` | nodes joined, left or changed their places |
//! | `failover` | WARN | `from` `to` | writes go to another master |
//! | `fallback` | WARN | `node` `reads` | reads went to the master for want of replicas; at most one line in 10 s |
//! | `command_reclassified` | WARN | `command` `node` | a replica refused a command that was taken for a read: it is a write from now on |
//! | `node_lacks_rights` | WARN | `node` `right` | a replica refused a read for want of rights, another node served it; at most one line in 10 s a node |
//! | `provider_failed` | WARN | `error` | the set could not be described; once, until it can be again |
//! | `session_lost` | WARN | `node` `loss` | a master does not contain what a session has seen (`Lost`), or nobody can tell (`Unproven`) |

use std::fmt::{Debug, Display};
use std::time::Duration;

use crate::addr::NodeAddr;

#[cold]
pub(crate) fn ejected(node: &NodeAddr, outcome: impl Debug, cool_down: Duration) {
    tracing::warn!(name: "node_ejected", %node, ?outcome, ?cool_down, "node ejected");
}

#[cold]
pub(crate) fn returned(node: &NodeAddr) {
    tracing::info!(name: "node_returned", %node, "node returned");
}

#[cold]
pub(crate) fn sync_state_changed(node: &NodeAddr, sync_state: impl Display) {
    tracing::info!(name: "sync_state_changed", %node, %sync_state, "sync state changed");
}

#[cold]
pub(crate) fn role_changed(node: &NodeAddr, role: impl Display) {
    tracing::warn!(name: "role_changed", %node, %role, "node changed its role");
}

#[cold]
pub(crate) fn topology_changed(generation: u64, master: Option<&NodeAddr>, replicas: &[&NodeAddr]) {
    tracing::info!(name: "topology_changed", generation, ?master, ?replicas, "topology changed");
}

#[cold]
pub(crate) fn failover(from: &NodeAddr, to: &NodeAddr) {
    tracing::warn!(name: "failover", %from, %to, "writes go to another master");
}

#[cold]
pub(crate) fn fallback(node: &NodeAddr, reads: u64) {
    tracing::warn!(name: "fallback", %node, reads, "reads go to the master for want of replicas");
}

#[cold]
pub(crate) fn session_lost(node: &NodeAddr, loss: impl Debug) {
    tracing::warn!(name: "session_lost", %node, ?loss, "what a session has seen is not known to be there any more");
}

#[cold]
pub(crate) fn command_reclassified(command: &str, node: &NodeAddr) {
    tracing::warn!(name: "command_reclassified", event = "command_reclassified", command, %node, "a command is a write, not a read");
}

#[cold]
pub(crate) fn node_lacks_rights(node: &NodeAddr, right: Option<&str>) {
    let right = right.unwrap_or("unknown");
    tracing::warn!(name: "node_lacks_rights", event = "node_lacks_rights", %node, right, "the user lacks a right on one node");
}

#[cold]
pub(crate) fn provider_failed(error: &dyn Display) {
    tracing::warn!(name: "provider_failed", %error, "the set could not be described");
}
