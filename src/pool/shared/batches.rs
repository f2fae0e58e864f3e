//! How many requests went out on shared connections, in how many writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts for all shared connections of a node, also those that are closed. Callers that write for all change it, once for each
/// batch.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    requests: AtomicU64,
    writes: AtomicU64,
    waited_nanos: AtomicU64,
}

/// The requests on shared connections, and the batches in which they were written, since the pool was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct BatchCounts {
    pub(crate) requests: u64,
    pub(crate) batches: u64,
    /// How long the first request of each batch waited until it was written, all together.
    pub(crate) waited: Duration,
}

impl Batches {
    /// Counts a batch that a caller begins to write, and for how long its first request has waited.
    pub(super) fn record(&self, requests: usize, waited: Duration) {
        // Relaxed, here and below: counts that are only shown.
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
        // 584 years fit.
        self.waited_nanos.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> BatchCounts {
        // Writes first: there is never a batch without a request.
        let batches = self.writes.load(Ordering::Relaxed);
        let waited = Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed));
        BatchCounts { requests: self.requests.load(Ordering::Relaxed), batches, waited }
    }
}
