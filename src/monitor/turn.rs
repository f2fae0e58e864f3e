//! One thread at a time, without a lock that is held meanwhile.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Lets one thread at a time do something that takes long.
#[derive(Debug, Default)]
pub(super) struct Turn {
    is_taken: Mutex<bool>,
    free: Condvar,
}

/// The turn of one thread, until dropped.
#[must_use]
pub(super) struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits for the turn; `None` if it does not come by the deadline.
    pub(super) fn take(&self, deadline: Instant) -> Option<Taken<'_>> {
        let mut is_taken = self.is_taken.lock();
        while *is_taken {
            if self.free.wait_until(&mut is_taken, deadline).timed_out() && *is_taken {
                return None;
            }
        }
        *is_taken = true;
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.is_taken.lock() = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::Turn;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn one_has_the_turn_at_a_time_and_everybody_gets_one() {
        let (turn, running, done) = (Turn::default(), AtomicU32::new(0), AtomicU32::new(0));
        let end = Instant::now() + Duration::from_secs(60);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _mine = turn.take(end).unwrap();
                        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::SeqCst), 800);
        let _mine = turn.take(end).unwrap();
        assert!(turn.take(Instant::now()).is_none());
    }
}
