//! What each node did for the application in the current second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::tally::{Percentiles, Times};

/// The traffic of one node.
pub struct Traffic {
    reads: AtomicU64,
    writes: AtomicU64,
    times: Times,
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
        Self { reads: AtomicU64::new(0), writes: AtomicU64::new(0), times: Times::new() }
    }

    /// Counts a call that the node answered.
    pub fn count(&self, is_read: bool, took: Duration) {
        let counter = if is_read { &self.reads } else { &self.writes };
        counter.fetch_add(1, Ordering::Relaxed);
        self.times.record(took);
    }

    pub fn take(&self) -> Second {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Second { reads: take(&self.reads), writes: take(&self.writes), times: self.times.take() }
    }
}
