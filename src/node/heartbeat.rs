//! The distance of a node: the round-trip time of the monitor's questions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The average in nanoseconds; 0 before the first question.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    pub(super) fn record(&self, took: Duration) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        // Each sample counts for one fifth, as in the drivers of MongoDB: the last nine make up 85 %.
        let average = |before: u64| if before == 0 { sample } else { before - before / 5 + sample / 5 };
        // Relaxed: the monitor is the only writer.
        self.0.store(average(self.nanos()).max(1), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
