//! Where a command would go, for people.

use std::fmt;

use super::ReadFrom;
use crate::addr::NodeAddr;
use crate::classification::Classification;

/// Where a command would go right now, and why: from [`ReplicatedClient::explain`](crate::ReplicatedClient::explain).
///
/// Its `Display` is a sentence for people.
#[derive(Clone, Debug)]
pub struct Decision {
    pub(crate) command: String,
    pub(crate) classification: Classification,
    pub(crate) read_from: ReadFrom,
    pub(crate) candidates: Vec<NodeAddr>,
    pub(crate) excluded: Vec<(NodeAddr, Exclusion)>,
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
    /// It is a replica that is syncing, or cut off from a master that lives: it serves only if nobody else can.
    Behind,
    /// It holds other data than the set: it claims mastership beside the master, or follows somebody else.
    Stray,
    /// Enough fallback reads are on the master already.
    Protected,
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
            [first, rest @ ..] => {
                write!(f, ": goes to {first}")?;
                rest.iter().try_for_each(|addr| write!(f, " or {addr}"))?;
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
            Self::Behind => "syncing, or cut off from the master",
            Self::Stray => "does not belong to the master's history",
            Self::Protected => "enough fallback reads are on the master",
            Self::Refused => "refused, use connection() for scans and dedicated() for the rest",
        })
    }
}
