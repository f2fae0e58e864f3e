//! The time of one call: its deadline, the share of each attempt, the pauses between rounds.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::classification::Block;
use crate::pool::{Patience, socket_limit};

/// The pause after the first round of attempts; it doubles with each round.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The time of one call. The clock is read once per attempt.
#[derive(Debug)]
pub(crate) struct Clock {
    now: Instant,
    /// `None`: too far away for the clock.
    end: Option<Instant>,
    attempt: u32,
    rounds: u32,
}

impl Clock {
    pub(crate) fn start(deadline: Duration) -> Self {
        let now = Instant::now();
        Self { now, end: now.checked_add(deadline), attempt: 0, rounds: 0 }
    }

    /// An attempt is over.
    pub(crate) fn tick(&mut self) {
        self.now = Instant::now();
        self.attempt = self.attempt.saturating_add(1);
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Returns how much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(self.now))
    }

    /// Returns how many attempts are over.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Tells whether there is time for another attempt.
    pub(crate) fn goes_on(&self) -> bool {
        self.end.is_none_or(|end| end.saturating_duration_since(self.now) > Duration::from_millis(1))
    }

    /// Returns when the next attempt must be over: half of the time stays for another candidate, if there is one.
    ///
    /// The time that a command blocks by its own argument comes on top, but only while its reply is waited for.
    #[inline]
    pub(crate) fn attempt_end(&self, has_more: bool) -> Option<Instant> {
        let end = self.end?;
        if has_more { Some(self.now + end.saturating_duration_since(self.now) / 2) } else { Some(end) }
    }

    /// Returns how long to wait before the next round: longer each time, but not past the deadline.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.rounds.min(4)).min(LONGEST_PAUSE);
        self.rounds += 1;
        // Callers that failed together should not come back together.
        let pause = pause.mul_f64(rand::rng().random_range(0.8..1.2));
        self.end.map_or(pause, |end| end.saturating_duration_since(self.now).min(pause))
    }

    /// Waits before the next round.
    pub(crate) fn pause(&mut self) {
        std::thread::sleep(self.next_pause());
        self.look();
    }

    /// Reads the time.
    pub(crate) fn look(&mut self) {
        self.now = Instant::now();
    }

    /// Tells whether a round is over without success.
    pub(crate) fn has_waited(&self) -> bool {
        self.rounds > 0
    }
}

/// Returns how long an exchange that begins `now` and must be over by `end` may wait for its reply.
#[inline]
pub(super) fn patience(response: Duration, block: Block, now: Instant, end: Option<Instant>) -> Patience {
    let limit = match end.map(|end| end.saturating_duration_since(now)) {
        // Usually there is ample time.
        Some(left) if left < response + response / 4 + Duration::from_millis(10) => cut(response, left),
        _ => response,
    };
    match block {
        Block::No => Patience { limit: Some(limit), until: end },
        Block::For(block) => Patience { limit: Some(limit + block), until: end.and_then(|end| end.checked_add(block)) },
        Block::Forever => Patience { limit: None, until: None },
    }
}

/// The limit, so that even a late timer ends the wait within what is left.
fn cut(limit: Duration, left: Duration) -> Duration {
    let left = socket_limit(left);
    if left < limit { coarse(left) } else { limit }
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
    use super::{Clock, coarse, patience};
    use crate::classification::Block;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_attempt_leaves_half_of_the_time_to_the_others() {
        let clock = Clock::start(SECOND);
        assert_eq!(clock.attempt_end(true), Some(clock.now() + SECOND / 2));
        assert_eq!(clock.attempt_end(false), Some(clock.now() + SECOND));
        assert_eq!(Clock::start(Duration::MAX).attempt_end(true), None);
    }

    #[test]
    fn the_response_limit_is_the_smaller_of_the_setting_and_what_is_left() {
        let clock = Clock::start(3 * SECOND);
        let end = clock.attempt_end(true);
        assert_eq!(patience(SECOND, Block::No, clock.now(), end).limit, Some(SECOND));
        let limit = patience(5 * SECOND, Block::No, clock.now(), end).limit.unwrap();
        assert!(limit < 3 * SECOND / 2 && limit > SECOND, "{limit:?}");
    }

    #[test]
    fn a_blocking_command_extends_the_wait_for_its_reply_only() {
        let clock = Clock::start(SECOND);
        let end = clock.attempt_end(false);
        let long = patience(SECOND / 2, Block::For(10 * SECOND), clock.now(), end);
        assert_eq!((long.limit, long.until), (Some(21 * SECOND / 2), Some(clock.now() + 11 * SECOND)));
        let forever = patience(SECOND, Block::Forever, clock.now(), end);
        assert_eq!((forever.limit, forever.until), (None, None));
    }

    #[test]
    fn limits_are_rounded_so_that_they_repeat() {
        let same = [249_999_u64, 249_000, 246_000].map(|micros| coarse(Duration::from_micros(micros)));
        assert!(same.iter().all(|limit| *limit == same[0]), "{same:?}");
        assert_eq!(coarse(Duration::ZERO), Duration::from_millis(1));
    }

    #[test]
    fn there_is_no_time_left_at_the_deadline() {
        assert!(!Clock::start(Duration::ZERO).goes_on());
        assert!(Clock::start(SECOND).goes_on());
    }
}
