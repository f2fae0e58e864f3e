//! What sessions prove and lose.

use std::fmt;
use std::time::Duration;

use crate::addr::NodeAddr;

/// What was proven to a session, or lost.
#[derive(Clone, Copy, Debug)]
pub struct SessionEvent<'a> {
    pub(super) node: &'a NodeAddr,
    pub(super) change: SessionChange,
}

impl<'a> SessionEvent<'a> {
    /// Returns the node that proved it, or that lacks what is lost.
    #[must_use]
    pub fn node(&self) -> &'a NodeAddr {
        self.node
    }

    /// Returns what was proven or lost.
    #[must_use]
    pub fn change(&self) -> SessionChange {
        self.change
    }
}

/// What was proven to a session, or lost.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionChange {
    /// The reply to a read contains all that is required.
    #[non_exhaustive]
    Proven {
        /// Which node proved it.
        by: ProvenBy,
        /// With [`max_staleness`](crate::ReplicatedClient::max_staleness): the reply contains all that the master had written so
        /// long ago.
        staleness: Option<Duration>,
    },
    /// A write of the session is not in the master's history any more.
    WriteLost,
    /// What the session had read is not in the master's history any more.
    HistoryLost,
    /// It is not known whether something is lost.
    Unproven,
}

/// Which node proved what a read requires.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProvenBy {
    /// The first replica that was asked.
    First,
    /// A later replica: the first one lacked something, or failed.
    Another,
    /// The master.
    Master,
}

impl fmt::Display for ProvenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Another => "another",
            Self::Master => "master",
        })
    }
}
