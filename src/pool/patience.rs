//! How long an exchange waits: as a whole, and in one system call.

use std::time::{Duration, Instant};

/// The longest wait of one system call. A longer exchange waits several times, and looks in between whether the node is
/// still in service.
const SLICE: Duration = Duration::from_millis(400);

/// How long one exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long the first system calls wait at most. It is rounded, so that it repeats from call to call.
    first: Duration,
    /// When the exchange must be over. `None`: never.
    end: Option<Instant>,
}

impl Patience {
    /// An exchange that begins `now` and must be over by `end`.
    #[inline]
    pub(crate) fn until(end: Option<Instant>, now: Instant) -> Self {
        let first = match end.map(|end| end.saturating_duration_since(now)) {
            // Usually there is ample time, also for a timer that fires late.
            Some(left) if left < SLICE + SLICE / 8 + Duration::from_millis(4) => coarse(socket_limit(left)),
            _ => SLICE,
        };
        Self { first, end }
    }

    #[inline]
    pub(super) fn first(&self) -> Duration {
        self.first
    }

    /// Returns what is left `now`; `None`: it is over.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        Some(left).filter(|left| !left.is_zero())
    }
}

/// Returns what to set a timer to that must not fire after `left`, if it is not set well enough already.
pub(super) fn next_timer(set: Option<Duration>, left: Duration) -> Option<Duration> {
    let wanted = socket_limit(left).min(SLICE).max(Duration::from_millis(1));
    // Each setting is a system call: one in 8 ms is cheap, one for each read is not.
    let is_too_long = |set: Duration| latest(set) > left.saturating_add(Duration::from_millis(8));
    set.is_none_or(is_too_long).then_some(wanted)
}

/// The setting of a timer that must not fire later than after `left`.
///
/// Linux rounds long timers up to a coarser tick: they fire up to an eighth late.
pub(super) fn socket_limit(left: Duration) -> Duration {
    if left > Duration::from_millis(200) { left - left / 8 - Duration::from_millis(4) } else { left }
}

/// When a timer fires at the latest.
fn latest(set: Duration) -> Duration {
    if set > Duration::from_millis(170) { set + set / 8 } else { set }
}

/// Rounds a limit down to five significant bits, so that calls of the same deadline set their socket to the same value
/// and need no system call for it; at least 1 ms.
fn coarse(limit: Duration) -> Duration {
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    let dropped = (u64::BITS - micros.leading_zeros()).saturating_sub(5);
    Duration::from_micros(micros >> dropped << dropped).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::{Patience, SLICE, coarse, next_timer, socket_limit};
    use std::time::{Duration, Instant};

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn long_limits_are_cut_so_that_a_late_timer_is_not_too_late() {
        assert_eq!(socket_limit(millis(200)), millis(200));
        assert_eq!(socket_limit(millis(800)), millis(696));
    }

    #[test]
    fn limits_are_rounded_so_that_they_repeat() {
        let same = [249_999_u64, 249_000, 246_000].map(|micros| coarse(Duration::from_micros(micros)));
        assert!(same.iter().all(|limit| *limit == same[0]), "{same:?}");
        assert_eq!(coarse(Duration::ZERO), millis(1));
    }

    #[test]
    fn the_first_wait_is_the_same_for_all_calls_with_ample_time() {
        let now = Instant::now();
        for end in [None, Some(now + millis(460)), Some(now + millis(3000))] {
            assert_eq!(Patience::until(end, now).first(), SLICE);
        }
        let short = Patience::until(Some(now + millis(300)), now).first();
        assert!(short <= socket_limit(millis(300)) && short >= millis(240), "{short:?}");
    }

    #[test]
    fn an_exchange_is_over_at_its_end_and_not_before() {
        let now = Instant::now();
        let patience = Patience::until(Some(now + millis(300)), now);
        assert_eq!(patience.left(now + millis(299)), Some(millis(1)));
        assert_eq!(patience.left(now + millis(300)), None);
        assert!(Patience::until(None, now).left(now + millis(1 << 40)).is_some());
    }

    #[test]
    fn a_timer_is_set_only_where_it_would_fire_too_late() {
        assert_eq!(next_timer(Some(SLICE), millis(3000)), None);
        assert_eq!(next_timer(Some(millis(100)), millis(95)), None);
        assert_eq!(next_timer(Some(millis(100)), millis(80)), Some(millis(80)));
        assert_eq!(next_timer(None, millis(3000)), Some(SLICE));
        assert_eq!(next_timer(Some(SLICE), Duration::from_micros(10)), Some(millis(1)));
    }
}
