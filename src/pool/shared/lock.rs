//! What the callers of a shared connection need of the system: one lock, and groups of callers that wait.
//!
//! It is a trait so that the hand-over of roles can be checked under every schedule, with a lock of the checker's.

use std::array;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// How many groups of callers can be woken apart from each other. Callers of different batches that share a group are woken
/// together, which costs time and does no harm.
pub(super) const GROUPS: usize = 32;

/// A value behind a lock, and groups of callers that wait for it to change.
pub(super) trait Lock<T> {
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    fn new(value: T) -> Self;

    fn lock(&self) -> Self::Guard<'_>;

    /// Unlocks, waits until the group is woken, until `end` at the latest, and locks again. Returns whether the time is over.
    /// May return for no reason.
    fn wait<'a>(&'a self, guard: Self::Guard<'a>, group: usize, end: Option<Instant>) -> (Self::Guard<'a>, bool);

    /// Wakes one caller of the group. It is called without the lock.
    fn wake_one(&self, group: usize);

    /// Wakes all callers of the group. It is called without the lock.
    fn wake_all(&self, group: usize);

    /// Lets other threads run first, if some are ready.
    fn give_way();
}

/// The lock of the standard library, whose condition variables wake all waiting threads by one system call.
pub(super) struct SystemLock<T> {
    value: Mutex<T>,
    groups: [Group; GROUPS],
}

#[derive(Default)]
struct Group {
    wakeup: Condvar,
    /// Callers that wait. Without any, nobody is woken, which would be a system call all the same.
    sleepers: AtomicU32,
}

impl<T> Lock<T> for SystemLock<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self { value: Mutex::new(value), groups: array::from_fn(|_| Group::default()) }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, T> {
        // Code that may panic runs without the lock.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, guard: MutexGuard<'a, T>, group: usize, end: Option<Instant>) -> (MutexGuard<'a, T>, bool) {
        let Group { wakeup, sleepers } = &self.groups[group];
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return (guard, true);
        }
        // Relaxed: changed under the lock, and read by those who have had the lock since the reason to wake arose.
        sleepers.fetch_add(1, Ordering::Relaxed);
        let (guard, is_over) = match left {
            Some(left) => {
                let (guard, waited) = wakeup.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
                (guard, waited.timed_out())
            }
            None => (wakeup.wait(guard).unwrap_or_else(PoisonError::into_inner), false),
        };
        sleepers.fetch_sub(1, Ordering::Relaxed);
        (guard, is_over)
    }

    fn wake_one(&self, group: usize) {
        let Group { wakeup, sleepers } = &self.groups[group];
        if sleepers.load(Ordering::Relaxed) > 0 {
            wakeup.notify_one();
        }
    }

    fn wake_all(&self, group: usize) {
        let Group { wakeup, sleepers } = &self.groups[group];
        if sleepers.load(Ordering::Relaxed) > 0 {
            wakeup.notify_all();
        }
    }

    #[inline]
    fn give_way() {
        thread::yield_now();
    }
}
