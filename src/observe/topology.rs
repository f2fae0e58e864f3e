//! What changed in the set.

use std::time::Duration;

use crate::addr::NodeAddr;

/// What changed in the set.
#[derive(Clone, Copy, Debug)]
pub struct TopologyEvent<'a> {
    pub(super) change: TopologyChange<'a>,
}

impl<'a> TopologyEvent<'a> {
    /// Returns what changed.
    #[must_use]
    pub fn change(&self) -> TopologyChange<'a> {
        self.change
    }
}

/// What changed in the set.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum TopologyChange<'a> {
    /// Nodes joined, left or changed their roles.
    #[non_exhaustive]
    Changed {
        /// Grows with each change.
        generation: u64,
        /// The master, if one is known.
        master: Option<&'a NodeAddr>,
        /// The replicas.
        replicas: &'a [&'a NodeAddr],
    },
    /// Writes go to another master from now on.
    #[non_exhaustive]
    Failover {
        /// The old master.
        from: &'a NodeAddr,
        /// The new one.
        to: &'a NodeAddr,
    },
    /// The new master answered the first write of this client after a failover.
    #[non_exhaustive]
    WritesResumed {
        /// The new master.
        master: &'a NodeAddr,
        /// How long after the old master was out: since the monitor got no answer from it, or since it was ejected; or, if it
        /// answered until the end, since the failover was noticed.
        after: Duration,
    },
    /// The provider could not describe the set: a Sentinel, a seed or a [`TopologyProvider`](crate::TopologyProvider) of your own.
    #[non_exhaustive]
    ProviderFailed {
        /// Why.
        error: &'a crate::Error,
    },
}
