//! Where a command would go, for people.

use std::fmt;
use std::time::{Duration, Instant};

use super::read_from::ReadFrom;
use crate::addr::NodeAddr;
use crate::classification::Classification;
use crate::node::Node;

/// Where a command would go right now, and why: from [`ReplicatedClient::explain`](crate::ReplicatedClient::explain).
///
/// Its `Display` is a sentence for people.
#[derive(Clone, Debug)]
pub struct Decision {
    pub(crate) command: String,
    pub(crate) classification: Classification,
    pub(crate) read_from: ReadFrom,
    pub(crate) candidates: Vec<NodeAddr>,
    pub(crate) measures: Vec<Measures>,
    pub(crate) excluded: Vec<(NodeAddr, Exclusion)>,
}

/// What a strategy sees of a candidate.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Measures {
    /// Requests of this process that wait for it, or for a connection to it.
    pub in_flight: u32,
    /// How long calls take there, if that is known.
    pub latency: Option<Duration>,
    /// How long the monitor's questions take there, if it asks.
    pub heartbeat: Option<Duration>,
    /// The share of the load that it should get, compared with the others.
    pub weight: u32,
    /// The availability zone, if one is known.
    pub zone: Option<String>,
    /// The part of its load that it gets: 1, or less after it came back.
    pub share: f64,
}

impl Measures {
    pub(crate) fn of(node: &Node, now: Instant) -> Self {
        Self {
            in_flight: node.in_flight(),
            latency: node.latency_at(now),
            heartbeat: node.heartbeat(),
            weight: node.weight(),
            zone: node.zone().map(str::to_owned),
            share: node.share_at(now),
        }
    }
}

impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in flight, weight {}", self.in_flight, self.weight)?;
        if let Some(latency) = self.latency {
            write!(f, ", latency {latency:.1?}")?;
        }
        if let Some(heartbeat) = self.heartbeat {
            write!(f, ", heartbeat {heartbeat:.1?}")?;
        }
        if let Some(zone) = &self.zone {
            write!(f, ", zone {zone}")?;
        }
        if self.share < 1.0 { write!(f, ", share {:.0} %", self.share * 100.0) } else { Ok(()) }
    }
}

/// Why a node is not a candidate.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Exclusion {
    /// Its role may not serve the command: a replica for a write, or a role that the read preference rules out.
    Role,
    /// It serves only if no preferred node can.
    Fallback,
    /// It failed, and is avoided until a probe finds that it serves again.
    Ejected,
    /// It is a replica that has not applied what the master wrote more than
    /// [`Builder::lag_limit`](crate::Builder::lag_limit) ago: it serves only if no replica in sync can, and before it the
    /// master, as far as that may serve.
    Lagging,
    /// It is a replica that is syncing, or cut off from a master that lives: it serves only if nobody else can.
    OutOfSync,
    /// It holds other data than the set: it claims mastership beside the master, or follows somebody else.
    Diverged,
    /// Enough fallback reads are on the master already.
    Protected,
    /// It cannot prove what the session or the bound on staleness asks for: it lacked that a moment ago, only the master can
    /// prove it (a write is in doubt, for example), or the next read is to be told of a loss first.
    Unproven,
    /// `query` refuses the command, or a pooled connection must not serve it.
    Refused,
}

impl Decision {
    /// Returns what the command is.
    #[must_use]
    pub fn classification(&self) -> Classification {
        self.classification
    }

    /// Returns the nodes among which the strategy would choose.
    #[must_use]
    pub fn candidates(&self) -> &[NodeAddr] {
        &self.candidates
    }

    /// Returns what the strategy would see of each candidate, in the order of [`candidates`](Self::candidates).
    #[must_use]
    pub fn measures(&self) -> &[Measures] {
        &self.measures
    }

    /// Returns the other nodes, each with the reason why it is left out.
    #[must_use]
    pub fn excluded(&self) -> &[(NodeAddr, Exclusion)] {
        &self.excluded
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a {}", self.command, self.classification)?;
        if matches!(self.classification, Classification::Read | Classification::Cursor) {
            write!(f, " (read from {})", self.read_from)?;
        }
        match &self.candidates[..] {
            [] => f.write_str(": goes nowhere")?,
            [_, ..] => {
                for (index, (addr, measures)) in self.candidates.iter().zip(&self.measures).enumerate() {
                    let word = if index == 0 { ": goes to" } else { " or" };
                    write!(f, "{word} {addr} ({measures})")?;
                }
            }
        }
        self.excluded.iter().try_for_each(|(addr, reason)| write!(f, "; not to {addr}: {reason}"))
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role => "its role may not serve this",
            Self::Fallback => "only if no preferred node can serve",
            Self::Ejected => "ejected after failures",
            Self::Lagging => "lags behind the master",
            Self::OutOfSync => "syncing, or cut off from the master",
            Self::Diverged => "does not belong to the master's history",
            Self::Protected => "enough fallback reads are on the master",
            Self::Unproven => "cannot prove what the session, or the bound on staleness, asks for",
            Self::Refused => "refused, use connection() for scans and dedicated() for the rest",
        })
    }
}
