//! Connections that are opened, closed and waited for.

use std::fmt;
use std::time::Duration;

use crate::addr::NodeAddr;
use crate::error::Error;

/// What happened to a connection to a node. The monitor's own connections are not reported.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEvent<'a> {
    pub(super) node: &'a NodeAddr,
    pub(super) kind: ConnectionKind,
    pub(super) change: ConnectionChange<'a>,
}

impl<'a> ConnectionEvent<'a> {
    /// Returns the node.
    #[must_use]
    pub fn node(&self) -> &'a NodeAddr {
        self.node
    }

    /// Returns what kind of connection it is.
    #[must_use]
    pub fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// Returns what happened.
    #[must_use]
    pub fn change(&self) -> ConnectionChange<'a> {
        self.change
    }
}

/// The kinds of connections.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ConnectionKind {
    /// Of the pool: one caller has it at a time. Connections of blocking commands too.
    Pooled,
    /// Many callers share it ([`Builder::shared_connections`](crate::Builder::shared_connections)).
    Shared,
    /// From [`dedicated`](crate::ReplicatedClient::dedicated). It belongs to the caller, so its end is not reported.
    Dedicated,
}

/// What happened to a connection.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum ConnectionChange<'a> {
    /// It was opened.
    #[non_exhaustive]
    Opened {
        /// How long it took: the address, TCP, TLS and the login.
        took: Duration,
    },
    /// It could not be opened.
    #[non_exhaustive]
    Failed {
        /// Why.
        error: &'a Error,
        /// How long that took.
        took: Duration,
    },
    /// It was closed.
    #[non_exhaustive]
    Closed {
        /// Why.
        reason: CloseReason,
    },
    /// A caller waited for a connection, because none was free.
    #[non_exhaustive]
    Waited {
        /// How long.
        took: Duration,
        /// Whether it got one. If not, its time was over, the node was not wanted any more, or could not be reached.
        got_one: bool,
        /// Whether it got none because its time was over.
        timed_out: bool,
    },
}

/// Why a connection was closed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum CloseReason {
    /// This process closed it: the client ended, the node left the set, a transaction was left open, or
    /// a large reply came on a shared connection.
    Application = 1,
    /// It was idle for longer than [`Builder::idle_timeout`](crate::Builder::idle_timeout).
    Idle = 2,
    /// The server, or something in between, closed it.
    Server = 3,
    /// A reply was late or could not be read, so that the connection could not be used any more.
    Error = 4,
    /// The node was ejected, changed its role or became another process: its open connections were given up.
    Unhealthy = 5,
}

impl CloseReason {
    pub(super) fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Application),
            2 => Some(Self::Idle),
            3 => Some(Self::Server),
            4 => Some(Self::Error),
            5 => Some(Self::Unhealthy),
            _ => None,
        }
    }
}

impl fmt::Display for CloseReason {
    /// The word of the specification for Redis clients: `application_close`, `pool_eviction_idle`, `server_close`, `error`,
    /// `healthcheck_failed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "application_close",
            Self::Idle => "pool_eviction_idle",
            Self::Server => "server_close",
            Self::Error => "error",
            Self::Unhealthy => "healthcheck_failed",
        })
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pooled => "pooled",
            Self::Shared => "shared",
            Self::Dedicated => "dedicated",
        })
    }
}
