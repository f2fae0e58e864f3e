//! What the threads of a run have done so far, and what they are asked to leave; the nemesis waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::outages::Outages;
use crate::support::wait_until;

/// The counters and switches that all threads of a run share.
#[derive(Debug, Default)]
pub struct Progress {
    pub stop: AtomicBool,
    /// The pause of each thread after each call: other tests run beside a short run.
    pub pause: Duration,
    /// Reads that sessions were given.
    pub accepted: AtomicU64,
    /// Writes of sessions that were acknowledged.
    pub written: AtomicU64,
    /// Nobody begins a write: what replicas lack now, they lack for good.
    pub quiet: AtomicBool,
    /// Which server is not what it seems, counted from 1; 0: none.
    pub trap: AtomicU64,
    /// Writes of the naive readers that ask only traps, and what they asked.
    pub naive_written: AtomicU64,
    pub naive_asked: AtomicU64,
    pub outages: Outages,
}

impl Progress {
    /// Returns whether there is to be another call.
    pub fn goes_on(&self) -> bool {
        if !self.pause.is_zero() {
            // The pace of the threads.
            thread::sleep(self.pause);
        }
        !self.stop.load(Ordering::SeqCst)
    }

    pub fn may_write(&self) -> bool {
        !self.quiet.load(Ordering::SeqCst)
    }

    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::SeqCst);
    }

    /// Waits until so many more writes and reads of sessions have succeeded.
    pub fn flow(&self, writes: u64, reads: u64) {
        let (writes, reads) = (count(&self.written) + writes, count(&self.accepted) + reads);
        wait_until("calls flow", || count(&self.written) >= writes && count(&self.accepted) >= reads);
    }

    /// Waits until the naive readers of traps have written so often.
    pub fn wait_for_naive_writes(&self, writes: u64) {
        let writes = count(&self.naive_written) + writes;
        wait_until("naive writes flow", || count(&self.naive_written) >= writes);
    }

    /// Sends the naive readers to this server until further notice, and waits until they have asked it so often.
    pub fn lure_to(&self, server: usize, asked: u64) {
        self.trap.store(server as u64 + 1, Ordering::SeqCst);
        let asked = count(&self.naive_asked) + asked;
        wait_until("the trap is asked", || count(&self.naive_asked) >= asked);
    }

    pub fn release(&self) {
        self.trap.store(0, Ordering::SeqCst);
    }

    /// Returns the server that is a trap.
    pub fn trap(&self) -> Option<usize> {
        usize::try_from(count(&self.trap)).ok()?.checked_sub(1)
    }
}

pub fn count(count: &AtomicU64) -> u64 {
    count.load(Ordering::SeqCst)
}
