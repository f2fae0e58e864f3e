//! Keeps reads that the replicas cannot serve from taking all connections of the master.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::addr::NodeAddr;
use crate::events;

/// At most one line about fallback reads in this time.
const QUIET_FOR: Duration = Duration::from_secs(10);

/// Counts the fallback reads that are under way, and bounds them.
#[derive(Debug)]
pub(crate) struct Permits {
    /// `None`: no bound.
    limit: Option<u32>,
    /// How long a call waits for one of the others to end.
    patience: Duration,
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
pub(crate) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(crate) fn new(limit: Option<u32>, patience: Duration) -> Self {
        Self {
            limit,
            patience,
            waiting: AtomicU32::new(0),
            turn: Mutex::new(()),
            ended: Condvar::new(),
            running: AtomicU32::new(0),
            reads: AtomicU64::new(0),
            told: Mutex::new(None),
        }
    }

    /// Tells whether there may be one more at the moment.
    pub(crate) fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.running.load(Ordering::SeqCst) < limit)
    }

    /// Returns how long a call waits for one of the others to end.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits until there may be one more, until `end` at the latest. Returns whether there may be.
    pub(crate) fn wait_for_room(&self, end: Instant) -> bool {
        // Counted before the look: whoever ends after that sees it. All four in one order (SeqCst).
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut turn = self.turn.lock();
        let has_room = loop {
            if self.has_room() {
                break true;
            }
            if self.ended.wait_until(&mut turn, end).timed_out() {
                break self.has_room();
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if has_room {
            // Whoever was woken may have no time left: the next one looks as well.
            self.ended.notify_one();
        }
        has_room
    }

    /// Begins a fallback read on the master; `None` if there are as many as there may be.
    pub(crate) fn begin(&self, master: &NodeAddr, now: Instant) -> Option<Permit<'_>> {
        let more = |running: u32| self.limit.is_none_or(|limit| running < limit).then(|| running.saturating_add(1));
        self.running.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).ok()?;
        let reads = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(mut told) = self.told.try_lock()
            && told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET_FOR)
        {
            *told = Some(now);
            self.reads.fetch_sub(reads, Ordering::Relaxed);
            events::fallback(master, reads);
        }
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.0.turn.lock());
            self.0.ended.notify_one();
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
        let node = "m:1".parse().unwrap();
        let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let Some(_permit) = permits.begin(&node, now) else { continue };
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert!(permits.begin(&node, now).is_some(), "all have ended");
        let unbounded = Permits::new(None, Duration::ZERO);
        let permits: Vec<_> = (0..100).map_while(|_| unbounded.begin(&node, now)).collect();
        assert_eq!(permits.len(), 100);
    }
}
