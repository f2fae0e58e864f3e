//! Permits for fallback reads: they keep reads that the replicas cannot serve from taking all connections of the master.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// At most one line about fallback reads in this time.
const QUIET_FOR: Duration = Duration::from_secs(10);

/// Counts the fallback reads that are under way, and bounds them.
#[derive(Debug)]
pub(crate) struct Permits {
    /// `None`: no bound.
    limit: Option<u32>,
    /// How long a call waits for one of the others to end.
    longest_wait: Duration,
    /// Calls that wait, and what wakes them.
    waiting: AtomicU32,
    turn: Mutex<()>,
    ended: Condvar,
    running: AtomicU32,
    /// Since the last line about them.
    reads: AtomicU64,
    told: Mutex<Option<Instant>>,
}

/// One fallback read under way, until dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    /// How many fallback reads there were since the last event about them, if another one is due.
    pub(crate) due: Option<u64>,
}

impl Permits {
    pub(crate) fn new(limit: Option<u32>, longest_wait: Duration) -> Self {
        Self {
            limit,
            longest_wait,
            waiting: AtomicU32::new(0),
            turn: Mutex::new(()),
            ended: Condvar::new(),
            running: AtomicU32::new(0),
            reads: AtomicU64::new(0),
            told: Mutex::new(None),
        }
    }

    /// Returns whether there may be one more at the moment.
    pub(crate) fn has_permit(&self) -> bool {
        self.limit.is_none_or(|limit| self.running.load(Ordering::SeqCst) < limit)
    }

    /// Returns how long a call waits for one of the others to end.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Waits until there may be one more, until `end` at the latest. Returns whether there may be.
    pub(crate) fn wait(&self, end: Instant) -> bool {
        // Counted before the look: whoever ends after that sees it. All four in one order (SeqCst).
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut turn = self.turn.lock();
        let has_permit = loop {
            if self.has_permit() {
                break true;
            }
            if self.ended.wait_until(&mut turn, end).timed_out() {
                break self.has_permit();
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if has_permit {
            // Whoever was woken may have no time left: the next one looks as well.
            self.ended.notify_one();
        }
        has_permit
    }

    /// Begins a fallback read on the master; `None` if there are as many as there may be.
    pub(crate) fn take(&self, now: Instant) -> Option<Permit<'_>> {
        let more = |running: u32| self.limit.is_none_or(|limit| running < limit).then(|| running.saturating_add(1));
        self.running.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        let reads = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let mut due = None;
        if let Some(mut told) = self.told.try_lock()
            && told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET_FOR)
        {
            *told = Some(now);
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
            drop(self.permits.turn.lock());
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
    }
}
