//! One server process: its address, its role, what is going on there and how healthy it is.
//!
//! A node knows no pool and no socket. The hub ([`client`](crate::client)) records here what its attempts came to;
//! strategies and routing read it. Everything that changes is an atomic: no lock is taken on a call's way.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use self::health::Health;
use crate::addr::NodeAddr;

mod health;

pub(crate) use self::health::Outcome;

/// One server process of a replicated set, as strategies see it.
///
/// Anyone can make nodes, so that a strategy can be tested without a server:
///
/// ```
/// use redis_replicated::{Node, Role};
///
/// let node = Node::new("cache-1:6379".parse()?).with_role(Role::Replica).with_zone("eu-1a");
/// let running = node.begin();
/// assert_eq!(node.in_flight(), 1);
/// drop(running);
/// assert_eq!(node.in_flight(), 0);
/// # Ok::<(), redis_replicated::ParseNodeAddrError>(())
/// ```
pub struct Node {
    addr: NodeAddr,
    weight: u32,
    zone: Option<Box<str>>,
    is_master: AtomicBool,
    in_flight: AtomicU32,
    answered: AtomicU64,
    failed: AtomicU64,
    health: Health,
}

/// What a node is in the replication.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes the writes.
    Master,
    /// Follows a master.
    Replica,
}

/// One request that is on its way to a node; counted in [`Node::in_flight`] until dropped.
#[must_use = "the request counts as in flight only while this lives"]
#[derive(Debug)]
pub struct InFlight<'a>(&'a Node);

impl Node {
    /// Makes a replica of weight 1 in no zone.
    #[must_use]
    pub fn new(addr: NodeAddr) -> Self {
        Self {
            addr,
            weight: 1,
            zone: None,
            is_master: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: Health::new(Instant::now()),
        }
    }

    /// Sets the role. Default: [`Role::Replica`].
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        self.observe_role(role);
        self
    }

    /// Sets the share of the load that the node should get, compared with the others. Default: 1.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the availability zone. Default: none.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into().into());
        self
    }

    /// Returns where the node listens.
    #[must_use]
    pub fn addr(&self) -> &NodeAddr {
        &self.addr
    }

    /// Returns the role that the node was last seen in; the configured one until a connection has asked.
    #[must_use]
    #[inline]
    pub fn role(&self) -> Role {
        if self.is_master.load(Ordering::Relaxed) { Role::Master } else { Role::Replica }
    }

    /// Returns the share of the load that the node should get, compared with the others.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns the availability zone, if one is known.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Returns how many requests of this process are waiting for the node, or for a connection to it.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request as in flight until the guard is dropped, also by a panic.
    #[inline]
    pub fn begin(&self) -> InFlight<'_> {
        // Relaxed, here and below: a count that guides a choice orders nothing.
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Notes the role that the server just told, and whether that is news.
    pub(crate) fn observe_role(&self, role: Role) -> bool {
        let is_master = role == Role::Master;
        let news = self.role() != role;
        if news {
            self.is_master.store(is_master, Ordering::Relaxed);
        }
        news
    }

    /// Notes that the node gave a complete reply; an error of the application is one.
    #[inline]
    pub(crate) fn record_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.health.recover();
    }

    /// Notes that an attempt failed in a way that speaks against the node.
    #[cold]
    pub(crate) fn record_failure(&self, outcome: Outcome, now: Instant) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if self.health.fail(outcome, now) {
            tracing::warn!(node = %self.addr, ?outcome, "node ejected");
        }
    }

    #[inline]
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.health.is_ejected(now)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Node");
        out.field("addr", &self.addr).field("role", &self.role()).field("weight", &self.weight);
        out.field("zone", &self.zone).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Replica => "replica",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_request_counts_as_in_flight_until_it_ends_even_by_a_panic() {
        let node = Node::new("a:1".parse().unwrap());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _running = node.begin();
            assert_eq!(node.in_flight(), 1);
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(node.in_flight(), 0);
    }
}
