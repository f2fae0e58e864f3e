//! The first write that a new master answers: it ends the outage of a failover.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Whether the first write to a new master is still to be answered, and since when the master before was out.
#[derive(Debug, Default)]
pub(super) struct FirstWrite {
    is_awaited: AtomicBool,
    out_since: Mutex<Option<Instant>>,
}

impl FirstWrite {
    /// Waits for the first write from now on. `out_since`: since when the master before was out.
    pub(super) fn expect(&self, out_since: Instant) {
        *self.out_since.lock() = Some(out_since);
        self.is_awaited.store(true, Ordering::Release);
    }

    /// Waits for it no longer: the node is not the master any more.
    pub(super) fn forget(&self) {
        self.is_awaited.store(false, Ordering::Relaxed);
        *self.out_since.lock() = None;
    }

    /// Returns whether no write has been answered yet.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Records that a write was answered. Returns how long there was no master, if it is the first one.
    #[cold]
    pub(super) fn answered(&self, now: Instant) -> Option<Duration> {
        // One of several callers.
        let out_since = self.out_since.lock().take()?;
        self.is_awaited.store(false, Ordering::Relaxed);
        Some(now.saturating_duration_since(out_since))
    }
}

#[cfg(test)]
mod tests {
    use super::FirstWrite;
    use std::time::{Duration, Instant};

    #[test]
    fn the_first_write_ends_the_outage_once() {
        let (first, start) = (FirstWrite::default(), Instant::now());
        assert!(!first.is_awaited());
        first.expect(start);
        assert!(first.is_awaited());
        let second = Duration::from_secs(1);
        assert_eq!(first.answered(start + second), Some(second));
        assert_eq!((first.answered(start + second), first.is_awaited()), (None, false));
        first.expect(start);
        first.forget();
        assert_eq!((first.answered(start + second), first.is_awaited()), (None, false));
    }
}
