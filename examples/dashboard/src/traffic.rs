//! What each node did for the application in the current second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::tally::{Percentiles, Times};

/// The lag of a node that has none: the master, or one of which nothing is known.
const NO_LAG: u64 = u64::MAX;

/// The traffic of one node.
pub struct Traffic {
    reads: AtomicU64,
    writes: AtomicU64,
    times: Times,
    /// In milliseconds.
    lag: AtomicU64,
}

/// The traffic of one node in one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    pub reads: u64,
    pub writes: u64,
    pub times: Percentiles,
}

impl Traffic {
    pub fn new() -> Self {
        let zero = AtomicU64::default;
        Self { reads: zero(), writes: zero(), times: Times::new(), lag: AtomicU64::new(NO_LAG) }
    }

    /// Counts a call that the node answered.
    pub fn count(&self, is_read: bool) {
        let counter = if is_read { &self.reads } else { &self.writes };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Records how long an attempt took there.
    pub fn record(&self, took: Duration) {
        self.times.record(took);
    }

    pub fn set_lag(&self, lag: Option<Duration>) {
        let millis = lag.map_or(NO_LAG, |lag| u64::try_from(lag.as_millis()).unwrap_or(NO_LAG));
        self.lag.store(millis, Ordering::Relaxed);
    }

    /// Returns for how long it has been behind the master, in milliseconds.
    pub fn lag(&self) -> Option<u64> {
        Some(self.lag.load(Ordering::Relaxed)).filter(|lag| *lag != NO_LAG)
    }

    pub fn take(&self) -> Second {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Second { reads: take(&self.reads), writes: take(&self.writes), times: self.times.take() }
    }
}
