//! How often, and how long, callers waited for a connection to a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A caller that got a slot sooner than this found a free one, and did not sleep.
const SHORTEST: Duration = Duration::from_micros(10);

/// The waits of all callers of a pool. Only callers that wait change it.
#[derive(Debug, Default)]
pub(super) struct Waits {
    count: AtomicU64,
    nanos: AtomicU64,
    timeouts: AtomicU64,
}

/// How often and how long callers waited for a connection, since the pool was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct WaitCounts {
    pub(crate) count: u64,
    /// Of all waits together.
    pub(crate) time: Duration,
    /// Waits that ended without a connection.
    pub(crate) timeouts: u64,
}

impl Waits {
    /// Records a wait, and whether it ended with a connection. Returns whether it was a wait at all.
    pub(super) fn record(&self, took: Duration, got_one: bool) -> bool {
        if got_one && took < SHORTEST {
            return false;
        }
        // Relaxed, here and below: counts that are only shown.
        self.count.fetch_add(1, Ordering::Relaxed);
        // 584 years fit.
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.timeouts.fetch_add(u64::from(!got_one), Ordering::Relaxed);
        true
    }

    pub(super) fn counts(&self) -> WaitCounts {
        WaitCounts {
            count: self.count.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            timeouts: self.timeouts.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{WaitCounts, Waits};
    use std::time::Duration;

    #[test]
    fn waits_are_counted_but_not_a_slot_that_was_free() {
        let (waits, ms) = (Waits::default(), Duration::from_millis(1));
        waits.record(ms / 1000, true);
        assert_eq!(waits.counts(), WaitCounts::default());
        waits.record(2 * ms, true);
        waits.record(5 * ms, false);
        waits.record(Duration::ZERO, false);
        assert_eq!(waits.counts(), WaitCounts { count: 3, time: 7 * ms, timeouts: 2 });
    }
}
