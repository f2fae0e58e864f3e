//! What happened.

use super::call::{AttemptEnded, CallEnded};
use super::connection::ConnectionEvent;
use super::interest::Interest;
use super::node::NodeEvent;
use super::session::SessionEvent;
use super::topology::TopologyEvent;

/// What happened. Later versions may add kinds.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A call ended: all its attempts, waits and pauses are over.
    Call(CallEnded<'a>),
    /// One attempt of a call on one node ended.
    Attempt(AttemptEnded<'a>),
    /// A connection was opened, closed or waited for.
    Connection(ConnectionEvent<'a>),
    /// The health, sync state or role of a node changed, or its gauges were read.
    Node(NodeEvent<'a>),
    /// The set changed.
    Topology(TopologyEvent<'a>),
    /// A session's read was proven, or something was lost.
    Session(SessionEvent<'a>),
}

impl Event<'_> {
    /// Returns the kind of the event.
    #[must_use]
    pub fn kind(&self) -> Interest {
        match self {
            Self::Call(_) => Interest::CALLS,
            Self::Attempt(_) => Interest::ATTEMPTS,
            Self::Connection(_) => Interest::CONNECTIONS,
            Self::Node(_) => Interest::NODES,
            Self::Topology(_) => Interest::TOPOLOGY,
            Self::Session(_) => Interest::SESSIONS,
        }
    }
}
