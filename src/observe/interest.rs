//! Which events an observer wants.

use std::ops::BitOr;

/// Which events an observer wants. Kinds are combined by `|`.
///
/// ```
/// use redis_replicated::observe::Interest;
///
/// let interest = Interest::NODES | Interest::TOPOLOGY;
/// assert!(interest.contains(Interest::NODES));
/// assert!(!interest.contains(Interest::CALLS));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Interest(u8);

impl Interest {
    /// No events.
    pub const NONE: Self = Self(0);
    /// [`Event::Call`](super::Event::Call): each call that ended.
    pub const CALLS: Self = Self(1);
    /// [`Event::Attempt`](super::Event::Attempt): each attempt of a call on one node.
    pub const ATTEMPTS: Self = Self(1 << 1);
    /// [`Event::Connection`](super::Event::Connection): connections that are opened, closed or waited for.
    pub const CONNECTIONS: Self = Self(1 << 2);
    /// [`Event::Node`](super::Event::Node): health, sync state, role and gauges of the nodes.
    pub const NODES: Self = Self(1 << 3);
    /// [`Event::Topology`](super::Event::Topology): nodes that join or leave, failovers.
    pub const TOPOLOGY: Self = Self(1 << 4);
    /// [`Event::Session`](super::Event::Session): where session reads were proven, and what was lost.
    pub const SESSIONS: Self = Self(1 << 5);
    /// All events, also those of kinds that later versions add.
    pub const ALL: Self = Self(u8::MAX);

    /// Returns whether all of these kinds are wanted.
    #[must_use]
    pub const fn contains(self, kinds: Self) -> bool {
        self.0 & kinds.0 == kinds.0
    }

    /// Returns whether one of these kinds is wanted.
    #[must_use]
    pub const fn intersects(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Interest;

    #[test]
    fn all_contains_every_kind_and_none_contains_no_kind() {
        let kinds = [
            Interest::CALLS,
            Interest::ATTEMPTS,
            Interest::CONNECTIONS,
            Interest::NODES,
            Interest::TOPOLOGY,
            Interest::SESSIONS,
        ];
        for (at, kind) in kinds.into_iter().enumerate() {
            assert!(Interest::ALL.contains(kind) && !Interest::NONE.intersects(kind));
            assert!(kinds[..at].iter().all(|other| !other.intersects(kind)));
        }
        let two = Interest::CALLS | Interest::NODES;
        assert!(
            two.intersects(Interest::NODES | Interest::TOPOLOGY) && !two.contains(Interest::NODES | Interest::TOPOLOGY)
        );
    }
}
