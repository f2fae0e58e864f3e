//! Whether a node is avoided for a while: plain at present, by consecutive failures and a fixed cool-down.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an ejected node is avoided.
const COOL_DOWN: Duration = Duration::from_millis(500);
/// So many failures in a row eject a node that can be reached.
const FAILURES_IN_A_ROW: u32 = 3;

/// How an attempt failed, as far as that speaks against the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Lost or late on a connection that was fresh or busy. A few in a row eject the node.
    Failed,
    /// No connection: refused, unreachable, timed out, login refused. Ejects the node.
    Unreachable,
    /// Up, but not ready to serve: LOADING, MASTERDOWN, or not in the role it was taken for. Ejects the node.
    NotServing,
}

#[derive(Debug)]
pub(super) struct Health {
    epoch: Instant,
    failures_in_a_row: AtomicU32,
    /// In nanoseconds since `epoch`; 0 while the node is healthy.
    ejected_until: AtomicU64,
}

impl Health {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, failures_in_a_row: AtomicU32::new(0), ejected_until: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.since_epoch(now) < until
    }

    /// The node answered: nothing speaks against it any more.
    #[inline]
    pub(super) fn recover(&self) {
        // Read before write: healthy nodes share their cache line among all threads.
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// Takes note of a failure; returns whether this ejected a node that was not ejected before.
    pub(super) fn fail(&self, outcome: Outcome, now: Instant) -> bool {
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if outcome == Outcome::Failed && failures < FAILURES_IN_A_ROW {
            return false;
        }
        let news = !self.is_ejected(now);
        self.ejected_until.store(self.since_epoch(now + COOL_DOWN), Ordering::Relaxed);
        news
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        // 584 years fit.
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{COOL_DOWN, Health, Outcome};
    use std::time::{Duration, Instant};

    #[test]
    fn an_unreachable_node_is_avoided_for_the_cool_down() {
        let start = Instant::now();
        let health = Health::new(start);
        assert!(health.fail(Outcome::Unreachable, start));
        assert!(!health.fail(Outcome::Unreachable, start), "the second time it is no news");
        assert!(health.is_ejected(start + COOL_DOWN - Duration::from_millis(1)));
        assert!(!health.is_ejected(start + COOL_DOWN));
    }

    #[test]
    fn failures_eject_only_in_a_row() {
        let start = Instant::now();
        let health = Health::new(start);
        for _ in 0..3 {
            assert!(!health.fail(Outcome::Failed, start) && !health.fail(Outcome::Failed, start));
            health.recover();
        }
        assert!(!health.fail(Outcome::Failed, start) && !health.fail(Outcome::Failed, start));
        assert!(!health.is_ejected(start));
        assert!(health.fail(Outcome::Failed, start));
        assert!(health.is_ejected(start));
        health.recover();
        assert!(!health.is_ejected(start), "an answer ends the ejection");
    }
}
