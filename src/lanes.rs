//! Lanes: a value in several copies, so that threads on different processors do not change the same memory.
//!
//! A processor that changes memory takes the whole cache line from the other processors. What every call of every thread
//! changes is therefore kept once per lane, and each thread uses the copy of its own lane.

use std::array::from_fn;
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of lanes: a power of two. Threads share a lane where there are more of them.
pub(crate) const LANES: usize = 32;

/// A value that shares no cache line with its neighbours. Many processors fetch the lines of 64 bytes in pairs.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// A value for each lane.
// Not boxed: each call would follow one more pointer.
pub(crate) struct Lanes<T> {
    values: [Padded<T>; LANES],
    /// The bits of a thread's lane that count.
    mask: usize,
}

impl<T> Lanes<T> {
    /// Makes the values of all lanes; `value` gets the number of the lane.
    pub(crate) fn new(mut value: impl FnMut(usize) -> T) -> Self {
        Self { values: from_fn(|lane| Padded(value(lane))), mask: LANES - 1 }
    }

    /// Has all threads share one lane.
    pub(crate) fn shared(self) -> Self {
        Self { mask: 0, ..self }
    }

    /// Returns the value of this thread's lane.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        &self.values[(lane() & self.mask) % LANES]
    }

    /// Returns the values of all lanes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().map(|value| &**value)
    }
}

impl<T: fmt::Debug> fmt::Debug for Padded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows the value of this thread's lane.
impl<T: fmt::Debug> fmt::Debug for Lanes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own().fmt(f)
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
        assert_eq!(Lanes::new(|lane| lane).shared().own(), &0);
    }

    #[test]
    fn neighbours_share_no_cache_line() {
        let lanes = Lanes::new(|_| 0_u8);
        let at: Vec<usize> = lanes.iter().map(|value| std::ptr::from_ref(value).addr()).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 128) && at[0].is_multiple_of(128));
        assert_eq!(size_of::<Padded<u8>>(), 128);
    }
}
