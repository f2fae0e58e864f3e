//! The rank of a single node for a request, by role, health and sync state, or why it is no candidate.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::read_from::{Preference, ReadFrom};
use crate::node::{Node, SyncState};
use crate::replication::Role;

/// The order in which nodes are asked. All candidates of one attempt share the best rank that is left.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// The read preference prefers its role.
    Preferred,
    /// The read preference allows its role, but only where no preferred node is left.
    Fallback,
    /// A replica that lags far behind the master.
    Lagging,
    /// A replica that is syncing, or cut off from a live master.
    OutOfSync,
    /// An ejected node, or one in another role than the assigned one: asked only if the call would fail otherwise.
    LastResort,
}

/// Why a node is not a candidate: from [`Decision::excluded`](crate::Decision::excluded).
///
/// `Display` is a reason in words. `Serialize` writes the name in snake case: `out_of_sync`.
///
/// ```no_run
/// use redis_replicated::Exclusion;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for (addr, reason) in client.explain(redis::cmd("GET").arg("greeting")).excluded() {
///     if *reason == Exclusion::Lagging {
///         println!("{addr} lags behind the master");
///     }
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// Its role may not serve the command: a replica for a write, or a role that the read preference rules out.
    Role,
    /// It serves only if no preferred node can.
    Fallback,
    /// It failed, and gets no calls until a probe finds that it serves again.
    Ejected,
    /// It is a replica that has not applied what the master wrote more than
    /// [`Builder::lag_limit`](crate::Builder::lag_limit) ago. It serves only if no replica in sync can; the master, where the
    /// read preference and the fallback limit allow it, comes first.
    Lagging,
    /// It is a replica that is syncing, or cut off from a live master: it serves only if no other node can.
    OutOfSync,
    /// It holds other data than the set: it claims to be a second master, or replicates from a node outside the set.
    Diverged,
    /// The master already serves as many fallback reads as
    /// [`Builder::fallback_limit`](crate::Builder::fallback_limit) allows.
    Protected,
    /// It cannot prove what the session or the bound on staleness requires: it lacked that a moment ago, only the master can
    /// prove it (a write is in doubt, for example), or the next read will report a loss.
    Unproven,
    /// [`query`](crate::ReplicatedClient::query) refuses the command, or a pooled connection must not run it.
    Refused,
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

/// Ranks a node for a request, or returns why it can never serve it: a call that finds only such nodes fails at once.
#[inline]
pub(super) fn rank(
    node: &Node,
    assigned_role: Role,
    is_read: bool,
    read_from: ReadFrom,
    now: Instant,
) -> Result<Rank, Exclusion> {
    if !is_read {
        // There is only one master: writes go to it even if it is ejected.
        return if assigned_role == Role::Master { Ok(Rank::Preferred) } else { Err(Exclusion::Role) };
    }
    let rank = match read_from.preference(assigned_role) {
        Some(Preference::First) => Rank::Preferred,
        Some(Preference::Second) => Rank::Fallback,
        None => return Err(Exclusion::Role),
    };
    if node.is_sound_as(assigned_role) { Ok(rank) } else { rank_of_unsound(node, assigned_role, rank, now) }
}

/// Ranks a node that is ejected, in another role than the assigned one, or not in sync with the master.
#[cold]
fn rank_of_unsound(node: &Node, assigned_role: Role, rank: Rank, now: Instant) -> Result<Rank, Exclusion> {
    match node.sync_state() {
        SyncState::Diverged => Err(Exclusion::Diverged),
        _ if node.is_avoided(now) || node.role() != assigned_role => Ok(Rank::LastResort),
        SyncState::InSync => Ok(rank),
        SyncState::Lagging => Ok(Rank::Lagging),
        SyncState::Syncing | SyncState::LinkDown => Ok(Rank::OutOfSync),
    }
}

#[cfg(test)]
mod tests {
    use super::{Exclusion, Rank, ReadFrom, rank};
    use crate::node::{Node, Outcome, SyncState};
    use crate::replication::Role;
    use std::time::Instant;

    #[test]
    fn every_preference_ranks_roles_in_its_order() {
        let now = Instant::now();
        let node = Node::new("n:1".parse().unwrap());
        for (read_from, master, replica) in [
            (ReadFrom::Master, Ok(Rank::Preferred), Err(Exclusion::Role)),
            (ReadFrom::MasterPreferred, Ok(Rank::Preferred), Ok(Rank::Fallback)),
            (ReadFrom::Replica, Err(Exclusion::Role), Ok(Rank::Preferred)),
            (ReadFrom::ReplicaPreferred, Ok(Rank::Fallback), Ok(Rank::Preferred)),
            (ReadFrom::Any, Ok(Rank::Preferred), Ok(Rank::Preferred)),
        ] {
            node.observe_role(Role::Master);
            assert_eq!(rank(&node, Role::Master, true, read_from, now), master, "{read_from}");
            node.observe_role(Role::Replica);
            assert_eq!(rank(&node, Role::Replica, true, read_from, now), replica, "{read_from}");
            let demoted = rank(&node, Role::Master, true, read_from, now);
            assert!(demoted == Ok(Rank::LastResort) || demoted == master && master.is_err(), "{read_from}");
        }
        for (sync_state, expected) in [
            (SyncState::Syncing, Ok(Rank::OutOfSync)),
            (SyncState::LinkDown, Ok(Rank::OutOfSync)),
            (SyncState::Lagging, Ok(Rank::Lagging)),
            (SyncState::Diverged, Err(Exclusion::Diverged)),
            (SyncState::InSync, Ok(Rank::Preferred)),
        ] {
            node.set_sync_state(sync_state, now);
            assert_eq!(rank(&node, Role::Replica, true, ReadFrom::Any, now), expected);
        }
        node.record_failure(Outcome::Unreachable, now, 0.5);
        assert_eq!(rank(&node, Role::Replica, true, ReadFrom::Any, now), Ok(Rank::LastResort));
    }

    #[test]
    fn writes_go_to_the_master_whatever_the_preference() {
        let now = Instant::now();
        let node = Node::new("n:1".parse().unwrap());
        node.record_failure(Outcome::Unreachable, now, 0.5);
        for read_from in ReadFrom::ALL {
            assert_eq!(rank(&node, Role::Master, false, read_from, now), Ok(Rank::Preferred));
            assert_eq!(rank(&node, Role::Replica, false, read_from, now), Err(Exclusion::Role));
        }
    }
}
