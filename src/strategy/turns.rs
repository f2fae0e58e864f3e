//! Turns of strategies that pick one candidate after the other.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two counters: one for first attempts, one for further ones. So the share of a failing node is spread evenly over the others.
/// All threads share them, because the shares are exact over all threads.
#[derive(Debug)]
// On a cache line of its own: other threads change it while strategies around it read their settings.
#[repr(align(64))]
pub(super) struct Turns {
    first: AtomicU64,
    further: AtomicU64,
}

impl Default for Turns {
    /// Starts at random.
    fn default() -> Self {
        Self::seeded(rand::random())
    }
}

impl Turns {
    pub(super) fn seeded(seed: u64) -> Self {
        // Only the low bits matter. Without the upper ones, the turns never wrap within a cycle.
        let start = u64::from(seed as u32);
        Self { first: AtomicU64::new(start), further: AtomicU64::new(start) }
    }

    /// Returns the turn of an attempt; `attempt` counts those that the call has made before.
    #[inline]
    pub(super) fn next(&self, attempt: u32) -> u64 {
        let turn = if attempt == 0 { &self.first } else { &self.further };
        // Relaxed: only the spread matters, not the order seen by other threads.
        turn.fetch_add(1, Ordering::Relaxed)
    }
}
