//! How far away a node is: what the monitor's questions take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The average in nanoseconds; 0 if nothing was asked.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    pub(super) fn record(&self, took: Duration) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        // One fifth of each sample: the last nine make up 85 %, as in the drivers of MongoDB.
        let average = |before: u64| if before == 0 { sample } else { before - before / 5 + sample / 5 };
        // Relaxed, and one writer: the monitor.
        self.0.store(average(self.nanos()).max(1), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
