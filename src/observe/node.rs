//! What changed at a node.

use std::time::Duration;

use crate::addr::NodeAddr;
use crate::node::{Outcome, SyncState};
use crate::replication::Role;

/// What changed at a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeEvent<'a> {
    pub(super) node: &'a NodeAddr,
    pub(super) change: NodeChange<'a>,
}

impl<'a> NodeEvent<'a> {
    /// Returns the node.
    #[must_use]
    pub fn node(&self) -> &'a NodeAddr {
        self.node
    }

    /// Returns what changed.
    #[must_use]
    pub fn change(&self) -> NodeChange<'a> {
        self.change
    }
}

/// What changed at a node.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum NodeChange<'a> {
    /// It failed, and calls avoid it from now on.
    #[non_exhaustive]
    Ejected {
        /// What the last attempt or question showed.
        outcome: Outcome,
        /// Why the last attempt failed, in words: why no connection could be made, or what the server said.
        reason: Option<&'a str>,
        /// When it is probed for the first time.
        cool_down: Duration,
    },
    /// It was probed while it was ejected.
    #[non_exhaustive]
    Probed {
        /// Whether it serves again.
        serves: bool,
    },
    /// It serves again.
    #[non_exhaustive]
    Returned {
        /// How long it was ejected.
        after: Duration,
    },
    /// Its sync state changed and has lasted for a second.
    SyncState(SyncState),
    /// It reported that it has this role now.
    Role(Role),
    /// Its gauges were read: once in each round of the monitor ([`Builder::monitor_interval`](crate::Builder::monitor_interval)).
    /// Never without a monitor.
    Gauges(NodeGauges),
}

/// The gauges of a node at one moment. Later versions may add some.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct NodeGauges {
    /// The role that the topology assigned to it; `None` while it belongs to no topology.
    pub assigned_role: Option<Role>,
    /// The sync state.
    pub sync_state: SyncState,
    /// Whether it is ejected.
    pub ejected: bool,
    /// Calls of this client that use it, or wait for a connection to it.
    pub in_flight: u32,
    /// Connections that calls use.
    pub used: u32,
    /// Open connections that no call uses.
    pub idle: u32,
    /// Calls that wait for a connection.
    pub waiting: u32,
    /// The most connections that its pool may have.
    pub pool_size: u32,
    /// Connections that callers share.
    pub shared: u32,
    /// How many bytes of the replication stream it is behind the master; `None` for the master and without a common history.
    pub lag_bytes: Option<u64>,
    /// For how long it has been behind the master, as far as is known: how old the oldest known position of the master is that it
    /// has not reached. Zero if it has reached them all; `None` for the master and without a common history.
    pub lag_time: Option<Duration>,
    /// The average round-trip time of the monitor's questions.
    pub heartbeat: Option<Duration>,
    /// Requests that went out on shared connections since the client was built, and the batches in which they did.
    pub shared_requests: u64,
    /// See [`shared_requests`](Self::shared_requests).
    pub shared_batches: u64,
    /// How long the first request of each batch waited until it was sent, all together.
    pub shared_waited: Duration,
}
