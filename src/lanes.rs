//! Lanes: a value in several copies, so that threads on different processors do not change the same memory.
//!
//! A processor that changes memory takes the whole cache line from the other processors. What every call of every thread
//! changes is therefore kept once per lane, and each thread uses the copy of its own lane.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of lanes: a power of two. Threads share a lane where there are more of them.
pub(crate) const LANES: usize = 32;

/// A value that shares no cache line with its neighbours. Many processors fetch the lines of 64 bytes in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// A value for each lane.
#[derive(Debug)]
pub(crate) struct Lanes<T>(Box<[Padded<T>]>);

impl<T> Lanes<T> {
    /// Makes the values of all lanes; `value` gets the number of the lane.
    pub(crate) fn new(value: impl FnMut(usize) -> T) -> Self {
        Self((0..LANES).map(value).map(Padded).collect())
    }

    /// Makes one value that all threads share.
    pub(crate) fn shared(value: T) -> Self {
        Self(Box::new([Padded(value)]))
    }

    /// Returns the value of this thread's lane.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        // Either number of values is a power of two, so this is the lane modulo their number.
        &self.0[lane() & (self.0.len() - 1)]
    }

    /// Returns the values of all lanes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|value| &**value)
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Returns the lane of this thread. Threads get their lanes in turn.
#[inline]
fn lane() -> usize {
    const NONE: usize = usize::MAX;
    thread_local! {
        static LANE: Cell<usize> = const { Cell::new(NONE) };
    }
    match LANE.get() {
        NONE => {
            let lane = next_lane();
            LANE.set(lane);
            lane
        }
        lane => lane,
    }
}

#[cold]
fn next_lane() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    THREADS.fetch_add(1, Ordering::Relaxed) % LANES
}

#[cfg(test)]
mod tests {
    use super::{LANES, Lanes, Padded};
    use std::thread;

    #[test]
    fn a_thread_keeps_its_lane_and_others_have_other_lanes() {
        let lanes = Lanes::new(|lane| lane);
        assert_eq!(lanes.own(), lanes.own());
        assert!(lanes.iter().copied().eq(0..LANES));
        let own = || {
            let lanes = &lanes;
            thread::scope(|scope| *scope.spawn(move || lanes.own()).join().unwrap())
        };
        // Other tests start threads as well.
        let first = own();
        assert!((0..LANES).any(|_| own() != first));
        assert_eq!(Lanes::shared(7).own(), &7);
    }

    #[test]
    fn neighbours_share_no_cache_line() {
        let lanes = Lanes::new(|_| 0_u8);
        let at: Vec<usize> = lanes.iter().map(|value| std::ptr::from_ref(value).addr()).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 128) && at[0].is_multiple_of(128));
        assert_eq!(size_of::<Padded<u8>>(), 128);
    }
}
