//! Which metrics are wanted.

use std::ops::BitOr;

use crate::observe::interest::Interest;

/// Groups of metrics, by the names of the specification for Redis clients. They are combined by `|`.
///
/// ```
/// use redis_replicated::observe::{MetricsGroups, MetricsObserver};
///
/// let observer = MetricsObserver::new().groups(MetricsGroups::RESILIENCY | MetricsGroups::CONNECTION_BASIC);
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MetricsGroups(u8);

impl MetricsGroups {
    /// No metrics.
    pub const NONE: Self = Self(0);
    /// `command`: the duration of each call.
    pub const COMMAND: Self = Self(1);
    /// `resiliency`: errors, those that the caller got and those that a retry handled.
    pub const RESILIENCY: Self = Self(1 << 1);
    /// `connection-basic`: how many connections there are, and how long it takes to open one.
    pub const CONNECTION_BASIC: Self = Self(1 << 2);
    /// `connection-advanced`: waits for connections, and why connections were closed.
    pub const CONNECTION_ADVANCED: Self = Self(1 << 3);
    /// `routing`, which no specification has: reads by node and role, retries, ejections, failovers, replication, sessions.
    pub const ROUTING: Self = Self(1 << 4);
    /// All groups, also those that later versions add.
    pub const ALL: Self = Self(u8::MAX);

    /// Returns whether all of these groups are wanted.
    #[must_use]
    pub const fn contains(self, groups: Self) -> bool {
        self.0 & groups.0 == groups.0
    }

    /// Returns the events from which these metrics are made.
    pub(super) fn interest(self) -> Interest {
        let of = [
            (Self::COMMAND, Interest::CALLS),
            (Self::RESILIENCY, Interest::CALLS | Interest::ATTEMPTS),
            (Self::CONNECTION_BASIC, Interest::CONNECTIONS | Interest::NODES),
            (Self::CONNECTION_ADVANCED, Interest::CONNECTIONS | Interest::NODES | Interest::ATTEMPTS),
            (Self::ROUTING, Interest::CALLS | Interest::NODES | Interest::SESSIONS),
            // Nodes that left the set are forgotten.
            (Self::ALL, Interest::TOPOLOGY),
        ];
        let wanted = of.into_iter().filter(|(groups, _)| self.0 & groups.0 != 0);
        wanted.fold(Interest::NONE, |all, (_, interest)| all | interest)
    }
}

impl BitOr for MetricsGroups {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Interest, MetricsGroups};

    #[test]
    fn only_the_events_of_the_groups_are_wanted() {
        let duration = MetricsGroups::COMMAND.interest();
        assert!(duration.contains(Interest::CALLS | Interest::TOPOLOGY));
        assert!(
            !duration.intersects(Interest::ATTEMPTS | Interest::NODES | Interest::CONNECTIONS | Interest::SESSIONS)
        );
        let two = MetricsGroups::COMMAND | MetricsGroups::CONNECTION_BASIC;
        assert!(two.interest().contains(Interest::NODES) && !two.contains(MetricsGroups::ROUTING));
        assert_eq!(MetricsGroups::NONE.interest(), Interest::NONE);
        assert!(MetricsGroups::ALL.contains(two | MetricsGroups::ROUTING | MetricsGroups::RESILIENCY));
    }
}
