//! The times without a master, and what became of the reads in them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::progress::count;

/// The times without a master, and the reads that began in them.
#[derive(Debug, Default)]
pub struct Outages {
    /// Which outage it is, times two; odd: no replica has a link. Zero: a master serves.
    now: AtomicU64,
    last: AtomicU64,
    pub by_sessions: Reads,
    /// By the same threads, without their session.
    pub plain: Reads,
}

/// Reads that began in an outage.
#[derive(Debug, Default)]
pub struct Reads {
    asked: AtomicU64,
    /// Those that were given a value before it ended.
    served: AtomicU64,
    /// Those of them that began when no replica had a link.
    unlinked: AtomicU64,
    /// How long those took that were served and are alike, whoever asks: one command.
    took: Mutex<Vec<Duration>>,
}

/// When a read began.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    outage: u64,
    start: Instant,
}

impl Outages {
    pub fn begin(&self) {
        let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        self.now.store(number * 2, Ordering::SeqCst);
    }

    /// From now on no replica has a link.
    pub fn cut(&self) {
        self.now.fetch_or(1, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.now.store(0, Ordering::SeqCst);
    }

    /// Returns whether no master serves.
    pub fn is_on(&self) -> bool {
        count(&self.now) != 0
    }

    /// A read begins.
    pub fn moment(&self) -> Moment {
        Moment { outage: count(&self.now), start: Instant::now() }
    }

    /// Counts a read that began then, if that was in an outage.
    pub fn count(&self, reads: &Reads, began: Moment, is_accepted: bool, is_alike: bool) {
        if began.outage == 0 {
            return;
        }
        reads.asked.fetch_add(1, Ordering::SeqCst);
        if is_accepted && count(&self.now) / 2 == began.outage / 2 {
            reads.served.fetch_add(1, Ordering::SeqCst);
            reads.unlinked.fetch_add(began.outage % 2, Ordering::SeqCst);
            if is_alike {
                reads.took.lock().unwrap().push(began.start.elapsed());
            }
        }
    }
}

impl Reads {
    /// Returns how long half of them took at most.
    pub fn median(&self) -> Duration {
        let mut took = self.took.lock().unwrap();
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or_default()
    }

    pub fn print(&self, whose: &str) {
        let (asked, served, unlinked) = (count(&self.asked), count(&self.served), count(&self.unlinked));
        let share = 100.0 * served as f64 / asked.max(1) as f64;
        println!(
            "without a master, {whose}: {asked} reads asked, {served} served ({share:.2} %), {unlinked} of them when no replica \
             had a link; half of them within {:?}",
            self.median()
        );
    }
}
