//! Who may serve a call, and what becomes of an attempt: decisions only, node by node, without I/O.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::node::{Node, SyncState};
use crate::replication::Role;
use crate::spelling::alike;

mod decision;
mod permits;

pub use self::decision::{Decision, Exclusion, Measures};
pub(crate) use self::permits::{Permit, Permits};

/// Which roles may serve a read, and in what order.
///
/// Replicas follow their master asynchronously: only reads from the master are sure to see the latest write.
///
/// A read on a replica does not touch the key on the master: with `maxmemory-policy` `allkeys-lru` or `allkeys-lfu`, the
/// master evicts by what *it* serves. Where that matters, `TOUCH` the keys that are read a lot: it goes to the master.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// The master only.
    Master,
    /// The master; replicas if it is ejected or the attempt on it failed.
    MasterPreferred,
    /// Replicas only. Without a replica: [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    Replica,
    /// Replicas; the master if none of them can serve. The default.
    #[default]
    ReplicaPreferred,
    /// The master and the replicas alike.
    Any,
}

/// How gladly a node is asked: all candidates of one attempt share the best rank that is left.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rank {
    Preferred,
    /// Allowed, but only where no preferred node is left.
    Fallback,
    /// A replica that lags far behind the master.
    Lagging,
    /// A replica that is syncing, or cut off from a master that lives.
    OutOfSync,
    /// Ejected: asked only before the call would fail otherwise.
    LastResort,
}

/// Ranks a node for a read or for anything else, or tells why it may never serve it. `place` is the node's role in the
/// topology.
#[inline]
pub(crate) fn rank(
    node: &Node,
    place: Role,
    is_read: bool,
    read_from: ReadFrom,
    now: Instant,
) -> Result<Rank, Exclusion> {
    let rank = rank_of_place(place, is_read, read_from)?;
    // One master: there is nobody to turn to if it is ejected.
    if !is_read || node.is_sound_as(place) { Ok(rank) } else { rank_of_unsound(node, place, rank, now) }
}

/// Ranks a place in the set, whatever node has it.
#[inline]
fn rank_of_place(place: Role, is_read: bool, read_from: ReadFrom) -> Result<Rank, Exclusion> {
    let is_master = place == Role::Master;
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

/// Ranks a node that is ejected, in another role than its place's, or not in sync with the master.
#[cold]
fn rank_of_unsound(node: &Node, place: Role, rank: Rank, now: Instant) -> Result<Rank, Exclusion> {
    match node.sync_state() {
        SyncState::Diverged => Err(Exclusion::Diverged),
        _ if node.is_avoided(now) || node.role() != place => Ok(Rank::LastResort),
        SyncState::InSync => Ok(rank),
        SyncState::Lagging => Ok(Rank::Lagging),
        SyncState::Syncing | SyncState::LinkDown => Ok(Rank::OutOfSync),
    }
}

impl ReadFrom {
    const ALL: [Self; 5] = [Self::Master, Self::MasterPreferred, Self::Replica, Self::ReplicaPreferred, Self::Any];
}

/// A text that names no read preference.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a read preference: expected master, master_preferred, replica, replica_preferred or any")]
pub struct ParseReadFromError(());

impl FromStr for ReadFrom {
    type Err = ParseReadFromError;

    /// Reads `replica_preferred`, `replica-preferred` or `ReplicaPreferred`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let same = |preference: &Self| alike(text, &preference.to_string());
        Self::ALL.into_iter().find(same).ok_or(ParseReadFromError(()))
    }
}

impl<'de> Deserialize<'de> for ReadFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
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

    #[test]
    fn preferences_are_read_in_any_spelling() {
        for text in ["replica_preferred", "replica-preferred", "ReplicaPreferred"] {
            assert_eq!(text.parse(), Ok(ReadFrom::ReplicaPreferred));
        }
        assert!("secondary".parse::<ReadFrom>().is_err());
        assert_eq!(ReadFrom::default(), ReadFrom::ReplicaPreferred);
    }
}
