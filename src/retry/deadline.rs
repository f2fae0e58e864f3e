//! The deadline of one call, the share of each attempt, and the pauses between rounds.

use std::time::{Duration, Instant};

use crate::classification::Block;

/// Named as the limit where an attempt was over because the call was.
pub(crate) const DEADLINE: &str = "deadline";

/// The pause after the first round of attempts; it doubles with each round.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The deadline of one call. The clock is read by whoever drives the call, once per attempt.
#[derive(Debug)]
pub(crate) struct Deadline {
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

impl Deadline {
    /// A call begins `now` and may take so long.
    pub(crate) fn start(deadline: Duration, now: Instant) -> Self {
        Self { now, end: now.checked_add(deadline), attempt: 0, rounds: 0, has_lost: false, permit_end: None }
    }

    /// An attempt is over.
    pub(crate) fn end_attempt(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Sets the time.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now;
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

    /// Returns whether there is time for another attempt.
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

    /// Returns how long to wait before the next round: longer each time, but not beyond the deadline. `chance`, 0 to 1,
    /// spreads callers that failed together.
    pub(crate) fn next_pause(&mut self, chance: f64) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.rounds.min(4)).min(LONGEST_PAUSE);
        self.rounds += 1;
        let pause = pause.mul_f64(0.8 + 0.4 * chance);
        self.end.map_or(pause, |end| end.saturating_duration_since(self.now).min(pause))
    }

    /// Returns when the call stops waiting for a permit: so long after it first waited for one, and not beyond the deadline.
    pub(crate) fn permit_end(&mut self, longest_wait: Duration) -> Instant {
        let end = *self.permit_end.get_or_insert(self.now + longest_wait);
        self.end.map_or(end, |deadline| end.min(deadline))
    }

    /// Returns whether a round is over without success.
    pub(crate) fn has_waited(&self) -> bool {
        self.rounds > 0
    }
}

/// Returns when an exchange that begins `now` is over, if a reply may take `response` and the attempt must be over by `end`.
/// What a command blocks by its own argument comes on top. `None`: never.
#[inline]
pub(crate) fn reply_end(response: Duration, block: Block, now: Instant, end: Option<Instant>) -> Option<Instant> {
    let (own, end) = match block {
        Block::No => (now.checked_add(response), end),
        Block::For(block) => {
            (now.checked_add(response.saturating_add(block)), end.and_then(|end| end.checked_add(block)))
        }
        Block::Forever => (None, None),
    };
    own.into_iter().chain(end).min()
}

#[cfg(test)]
mod tests {
    use super::{Deadline, reply_end};
    use crate::classification::Block;
    use std::time::{Duration, Instant};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_attempt_leaves_half_of_the_time_to_the_others() {
        let deadline = Deadline::start(SECOND, Instant::now());
        assert_eq!(deadline.attempt_end(true), Some(deadline.now() + SECOND / 2));
        assert_eq!(deadline.attempt_end(false), Some(deadline.now() + SECOND));
        assert_eq!(Deadline::start(Duration::MAX, Instant::now()).attempt_end(true), None);
    }

    #[test]
    fn an_exchange_ends_with_its_limit_or_its_attempt() {
        let now = Instant::now();
        let end = Some(now + 3 * SECOND / 2);
        let after = |response, block, end| reply_end(response, block, now, end).map(|end| end - now);
        assert_eq!(after(SECOND, Block::No, end), Some(SECOND));
        assert_eq!(after(5 * SECOND, Block::No, end), Some(3 * SECOND / 2));
        assert_eq!(after(SECOND, Block::For(10 * SECOND), end), Some(11 * SECOND));
        assert_eq!(after(5 * SECOND, Block::For(10 * SECOND), end), Some(23 * SECOND / 2));
        assert_eq!(after(SECOND, Block::Forever, end), None);
    }

    #[test]
    fn there_is_no_time_left_at_the_deadline() {
        assert!(!Deadline::start(Duration::ZERO, Instant::now()).goes_on());
        assert!(Deadline::start(SECOND, Instant::now()).goes_on());
    }
}
