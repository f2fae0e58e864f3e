//! How many requests went out on shared connections, in how many writes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts for all shared connections of a node, also those that are closed. Callers that write for all change it, once for each
/// batch.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    requests: AtomicU64,
    writes: AtomicU64,
}

/// The requests on shared connections, and the batches in which they were written, since the pool was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct BatchCounts {
    pub(crate) requests: u64,
    pub(crate) batches: u64,
}

impl Batches {
    /// Counts a batch that a caller begins to write.
    pub(super) fn record(&self, requests: usize) {
        // Relaxed, here and below: counts that are only shown.
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> BatchCounts {
        // Writes first: there is never a batch without a request.
        let batches = self.writes.load(Ordering::Relaxed);
        BatchCounts { requests: self.requests.load(Ordering::Relaxed), batches }
    }
}
