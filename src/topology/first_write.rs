//! The first write that a new master answers: it ends the outage of a failover.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Whether the first write to a new master is still to be answered, and since when the master before was out.
#[derive(Debug, Default)]
pub(super) struct FirstWrite {
    is_awaited: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

/// The time without a master.
#[derive(Debug)]
struct Outage {
    since: Instant,
    /// The failover was announced. The first write may be answered before.
    is_announced: bool,
    /// How long it was until the first write was answered.
    lasted: Option<Duration>,
}

impl FirstWrite {
    /// Waits for the first write from now on. `out_since`: since when the master before was out.
    pub(super) fn expect(&self, out_since: Instant) {
        *self.outage.lock() = Some(Outage { since: out_since, is_announced: false, lasted: None });
        self.is_awaited.store(true, Ordering::Release);
    }

    /// Waits for it no longer: the node is not the master any more.
    pub(super) fn forget(&self) {
        self.is_awaited.store(false, Ordering::Relaxed);
        *self.outage.lock() = None;
    }

    /// Returns whether no write has been answered yet.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Records that a write was answered. Returns how long there was no master, if it is the first one and the failover was
    /// announced before.
    #[cold]
    pub(super) fn answered(&self, now: Instant) -> Option<Duration> {
        let mut outage = self.outage.lock();
        self.is_awaited.store(false, Ordering::Relaxed);
        // One of several callers.
        let present = outage.as_mut().filter(|outage| outage.lasted.is_none())?;
        let lasted = now.saturating_duration_since(present.since);
        if present.is_announced {
            *outage = None;
            return Some(lasted);
        }
        present.lasted = Some(lasted);
        None
    }

    /// Records that the failover was announced. Returns how long there was no master, if the first write was answered before.
    pub(super) fn announced(&self) -> Option<Duration> {
        let mut outage = self.outage.lock();
        let present = outage.as_mut()?;
        present.is_announced = true;
        let lasted = present.lasted?;
        *outage = None;
        Some(lasted)
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
        assert!(first.is_awaited() && first.announced().is_none());
        let second = Duration::from_secs(1);
        assert_eq!(first.answered(start + second), Some(second));
        assert_eq!((first.answered(start + second), first.is_awaited()), (None, false));
        first.expect(start);
        first.forget();
        assert_eq!((first.answered(start + second), first.is_awaited()), (None, false));
    }

    #[test]
    fn a_write_that_is_answered_before_the_failover_is_announced_counts() {
        let (first, start, second) = (FirstWrite::default(), Instant::now(), Duration::from_secs(1));
        first.expect(start);
        assert_eq!((first.answered(start + second), first.is_awaited()), (None, false));
        assert_eq!(first.answered(start + 5 * second), None);
        assert_eq!((first.announced(), first.announced()), (Some(second), None));
        assert_eq!(first.answered(start + 5 * second), None);
    }
}
