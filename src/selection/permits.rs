//! Permits for fallback reads: they keep reads that no replica can serve from taking all connections of the master.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// At most one event about fallback reads in this time.
const EVENT_INTERVAL: Duration = Duration::from_secs(10);

/// Counts and limits the fallback reads in flight.
#[derive(Debug)]
// On cache lines of its own: fallback reads change it, and every call reads what is beside it.
#[repr(align(128))]
pub(crate) struct Permits {
    /// `None`: no limit.
    limit: Option<u32>,
    /// How long a call waits for a permit.
    longest_wait: Duration,
    /// The number of calls that wait; `lock` and `ended` wake them.
    waiting: AtomicU32,
    lock: Mutex<()>,
    ended: Condvar,
    running: AtomicU32,
    /// The number of fallback reads since the last event.
    reads: AtomicU64,
    last_event: Mutex<Option<Instant>>,
    served: AtomicU64,
    waits: AtomicU64,
    /// The time of all waits, in nanoseconds.
    waited: AtomicU64,
    refused: AtomicU64,
}

/// The fallback reads of a client since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct FallbackCounts {
    /// Fallback reads that the master got.
    pub(crate) served: u64,
    /// Fallback reads in flight.
    pub(crate) running: u32,
    /// How often a call waited for a permit.
    pub(crate) waits: u64,
    /// The time of all waits together.
    pub(crate) wait_time: Duration,
    /// Waits that ended without a permit.
    pub(crate) refused: u64,
}

/// The permit of one fallback read, which returns it when dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    /// The number of fallback reads since the last event about them, if another event is due.
    pub(crate) due: Option<u64>,
}

impl Permits {
    pub(crate) fn new(limit: Option<u32>, longest_wait: Duration) -> Self {
        Self {
            limit,
            longest_wait,
            waiting: AtomicU32::new(0),
            lock: Mutex::new(()),
            ended: Condvar::new(),
            running: AtomicU32::new(0),
            reads: AtomicU64::new(0),
            last_event: Mutex::new(None),
            served: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Returns whether a permit is free at the moment.
    pub(crate) fn has_permit(&self) -> bool {
        self.limit.is_none_or(|limit| self.running.load(Ordering::SeqCst) < limit)
    }

    /// Returns how long a call waits for a permit.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Returns how many fallback reads may be in flight; `None`: any number.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.limit
    }

    pub(crate) fn counts(&self) -> FallbackCounts {
        FallbackCounts {
            served: self.served.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
            wait_time: Duration::from_nanos(self.waited.load(Ordering::Relaxed)),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Waits until a permit is free, until `end` at the latest. Returns whether one is free.
    pub(crate) fn wait(&self, end: Instant) -> bool {
        let began = Instant::now();
        let has_permit = self.wait_uncounted(end);
        self.waits.fetch_add(1, Ordering::Relaxed);
        // 584 years fit.
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(nanos, Ordering::Relaxed);
        self.refused.fetch_add(u64::from(!has_permit), Ordering::Relaxed);
        has_permit
    }

    fn wait_uncounted(&self, end: Instant) -> bool {
        // Counted before the check: a read that ends after the check sees the count and wakes this call. SeqCst puts the
        // four operations on both counters into one order.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut lock = self.lock.lock();
        let has_permit = loop {
            if self.has_permit() {
                break true;
            }
            if self.ended.wait_until(&mut lock, end).timed_out() {
                break self.has_permit();
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if has_permit {
            // The call that was woken may have no time left to use the permit: wake another one too.
            self.ended.notify_one();
        }
        has_permit
    }

    /// Takes a permit; `None` if the limit is reached.
    pub(crate) fn take(&self, now: Instant) -> Option<Permit<'_>> {
        let more = |running: u32| self.limit.is_none_or(|limit| running < limit).then(|| running.saturating_add(1));
        self.running.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        self.served.fetch_add(1, Ordering::Relaxed);
        let reads = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let mut due = None;
        if let Some(mut last_event) = self.last_event.try_lock()
            && last_event.is_none_or(|last_event| now.saturating_duration_since(last_event) >= EVENT_INTERVAL)
        {
            *last_event = Some(now);
            self.reads.fetch_sub(reads, Ordering::Relaxed);
            due = Some(reads);
        }
        Some(Permit { permits: self, due })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.running.fetch_sub(1, Ordering::SeqCst);
        if self.permits.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.permits.lock.lock());
            self.permits.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Permits;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn there_are_never_more_fallback_reads_than_the_limit() {
        let (permits, now) = (Permits::new(Some(3), Duration::ZERO), Instant::now());
        let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let Some(_permit) = permits.take(now) else { continue };
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert!(permits.take(now).is_some(), "all have ended");
        let unbounded = Permits::new(None, Duration::ZERO);
        let permits: Vec<_> = (0..100).map_while(|_| unbounded.take(now)).collect();
        assert_eq!(permits.len(), 100);
        assert_eq!((unbounded.counts().served, unbounded.counts().running), (100, 100));
    }

    #[test]
    fn waits_are_counted_and_those_in_vain_as_well() {
        let (permits, now, ms) = (Permits::new(Some(1), Duration::ZERO), Instant::now(), Duration::from_millis(1));
        let permit = permits.take(now).unwrap();
        assert!(permits.take(now).is_none());
        assert!(!permits.wait(Instant::now() + 5 * ms));
        let counts = permits.counts();
        assert_eq!((counts.served, counts.running, counts.waits, counts.refused), (1, 1, 1, 1));
        assert!(counts.wait_time >= 5 * ms, "{counts:?}");
        drop(permit);
        assert!(permits.wait(Instant::now() + 5 * ms));
        assert_eq!((permits.counts().waits, permits.counts().refused, permits.counts().running), (2, 1, 0));
    }
}
