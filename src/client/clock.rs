//! The time of one call: its deadline, the share of each attempt, the pauses between rounds.

use std::time::{Duration, Instant};

use rand::Rng;

use crate::classification::Block;
use crate::pool::Patience;

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
    /// A request of this call was sent and lost.
    has_lost: bool,
    /// When the call stops waiting for a permit, once it waits.
    permit_end: Option<Instant>,
}

impl Clock {
    pub(crate) fn start(deadline: Duration) -> Self {
        let now = Instant::now();
        Self { now, end: now.checked_add(deadline), attempt: 0, rounds: 0, has_lost: false, permit_end: None }
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

    /// A request was sent and lost. It will be sent only so often.
    pub(crate) fn lose(&mut self) {
        self.has_lost = true;
    }

    /// Returns whether every connection that was used before is to be proven from now on: so that no sending is lost on one
    /// that died while it was idle.
    #[inline]
    pub(crate) fn is_careful(&self) -> bool {
        self.has_lost
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

    /// Returns when the call stops waiting for a permit: so long after it first waited for one, and not past the deadline.
    pub(crate) fn permit_end(&mut self, patience: Duration) -> Instant {
        let end = *self.permit_end.get_or_insert(self.now + patience);
        self.end.map_or(end, |deadline| end.min(deadline))
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

/// Returns how long an exchange that begins `now` may wait for its reply, if the attempt must be over by `end`.
#[inline]
pub(super) fn patience(response: Duration, block: Block, now: Instant, end: Option<Instant>) -> Patience {
    let own = match block {
        Block::No => now.checked_add(response),
        Block::For(block) => now.checked_add(response.saturating_add(block)),
        Block::Forever => None,
    };
    // What a command blocks by its own argument comes on top.
    let end = match block {
        Block::No => end,
        Block::For(block) => end.and_then(|end| end.checked_add(block)),
        Block::Forever => None,
    };
    Patience::until(own.into_iter().chain(end).min(), now)
}

#[cfg(test)]
mod tests {
    use super::{Clock, patience};
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
    fn an_exchange_ends_with_its_limit_or_its_attempt() {
        let clock = Clock::start(3 * SECOND);
        let (now, end) = (clock.now(), clock.attempt_end(true));
        let left = |response, block, end| patience(response, block, now, end).left(now);
        assert_eq!(left(SECOND, Block::No, end), Some(SECOND));
        assert_eq!(left(5 * SECOND, Block::No, end), Some(3 * SECOND / 2));
        assert_eq!(left(SECOND, Block::For(10 * SECOND), end), Some(11 * SECOND));
        assert_eq!(left(5 * SECOND, Block::For(10 * SECOND), end), Some(23 * SECOND / 2));
        assert_eq!(left(SECOND, Block::Forever, end), Some(Duration::MAX));
    }

    #[test]
    fn there_is_no_time_left_at_the_deadline() {
        assert!(!Clock::start(Duration::ZERO).goes_on());
        assert!(Clock::start(SECOND).goes_on());
    }
}
