//! The rank of a single node for a request: by role, health and sync state.

use std::time::Instant;

use super::decision::Exclusion;
use super::read_from::ReadFrom;
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

/// Ranks a node for a request, or returns why it may not serve it.
#[inline]
pub(super) fn rank(
    node: &Node,
    assigned_role: Role,
    is_read: bool,
    read_from: ReadFrom,
    now: Instant,
) -> Result<Rank, Exclusion> {
    let rank = rank_of_role(assigned_role, is_read, read_from)?;
    // There is only one master: writes go to it even if it is ejected.
    if !is_read || node.is_sound_as(assigned_role) { Ok(rank) } else { rank_of_unsound(node, assigned_role, rank, now) }
}

/// Ranks a role, regardless of the node's state.
#[inline]
fn rank_of_role(assigned_role: Role, is_read: bool, read_from: ReadFrom) -> Result<Rank, Exclusion> {
    let is_master = assigned_role == Role::Master;
    let (first, second) = match read_from {
        _ if !is_read => (is_master, false),
        ReadFrom::Master => (is_master, false),
        ReadFrom::Replica => (!is_master, false),
        ReadFrom::MasterPreferred => (is_master, true),
        ReadFrom::ReplicaPreferred => (!is_master, true),
        ReadFrom::Any => (true, false),
    };
    match (first, second) {
        (true, _) => Ok(Rank::Preferred),
        (false, true) => Ok(Rank::Fallback),
        (false, false) => Err(Exclusion::Role),
    }
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
