//! The deadline of one call, the time limit of each attempt, and the pauses between rounds of attempts.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::timing::Spent;
use crate::classification::Block;

/// The setting that errors name where the call's deadline ended an attempt.
pub(crate) const DEADLINE: &str = "deadline";

/// The pause after the first round of attempts; it doubles with each round.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The deadline of one call. The driver reads the clock once for each attempt and passes it in.
#[derive(Debug)]
pub(crate) struct Deadline {
    now: Instant,
    /// `None`: beyond the range of the clock, so the call has no end.
    end: Option<Instant>,
    attempt: u32,
    rounds: u32,
    /// How often a request of this call was sent and got no complete reply.
    losses: u32,
    /// When the call stops waiting for a permit, once it waits.
    permit_end: Option<Instant>,
    /// Where the time of the present attempt went, as far as it was not the wait for the reply.
    spent: Cell<Spent>,
}

impl Deadline {
    /// Returns the deadline of a call that begins `now`.
    pub(crate) fn start(deadline: Duration, now: Instant) -> Self {
        Self {
            now,
            end: now.checked_add(deadline),
            attempt: 0,
            rounds: 0,
            losses: 0,
            permit_end: None,
            spent: Cell::default(),
        }
    }

    /// Records where a part of the time of this attempt went.
    #[cold]
    pub(crate) fn spend(&self, spent: Spent) {
        self.spent.set(self.spent.get().and(spent));
    }

    /// Returns where the time of this attempt went, and begins the next one.
    pub(crate) fn take_spent(&self) -> Spent {
        self.spent.take()
    }

    /// Counts an attempt that is over.
    pub(crate) fn end_attempt(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Sets the current time.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now;
    }

    /// Returns the time that was last set.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Returns how much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(self.now))
    }

    /// Records that a request was sent and got no complete reply.
    pub(crate) fn record_loss(&mut self) {
        self.losses = self.losses.saturating_add(1);
    }

    /// Returns whether the next attempts must validate connections that were used before: a call sends a lost request only a
    /// few times, and none of these may go to a connection that died while it was idle.
    #[inline]
    pub(crate) fn must_validate(&self) -> bool {
        self.losses > 0
    }

    /// Returns whether the next attempt takes a connection of its own: the request may be what ended two shared ones, by a reply
    /// that the server cannot deliver.
    #[inline]
    pub(crate) fn must_go_alone(&self) -> bool {
        self.losses > 1
    }

    /// Returns how many attempts are over.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns whether there is time for another attempt.
    pub(crate) fn has_time(&self) -> bool {
        // An addition and a comparison cost less than the difference of two times.
        self.end.is_none_or(|end| self.now.checked_add(Duration::from_millis(1)).is_none_or(|soon| soon < end))
    }

    /// Returns when the next attempt must be over: half of the time stays for another candidate, if there is one.
    ///
    /// A command that blocks by its own argument gets that time on top, but only for the wait for its reply.
    #[inline]
    pub(crate) fn attempt_end(&self, has_more: bool) -> Option<Instant> {
        let end = self.end?;
        if has_more { Some(self.now + end.saturating_duration_since(self.now) / 2) } else { Some(end) }
    }

    /// Returns how long to wait before the next round: longer each time, but not beyond the deadline. `chance`, a random number
    /// from 0 to 1, spreads callers that failed at the same time.
    pub(crate) fn next_pause(&mut self, chance: f64) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.rounds.min(4)).min(LONGEST_PAUSE);
        self.rounds += 1;
        let pause = pause.mul_f64(0.8 + 0.4 * chance);
        self.end.map_or(pause, |end| end.saturating_duration_since(self.now).min(pause))
    }

    /// Returns when the call stops waiting for a permit: `longest_wait` after it began to wait for one, but not beyond the
    /// deadline.
    pub(crate) fn permit_end(&mut self, longest_wait: Duration) -> Instant {
        let end = *self.permit_end.get_or_insert(self.now + longest_wait);
        self.end.map_or(end, |deadline| end.min(deadline))
    }

    /// Returns whether at least one round is over without success.
    pub(crate) fn has_waited(&self) -> bool {
        self.rounds > 0
    }
}

/// Returns when the wait for a reply ends that begins `now`, if a reply may take `response` and the attempt must end by `end`.
/// A command that blocks by its own argument gets that time on top. `None`: never.
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
        assert!(!Deadline::start(Duration::ZERO, Instant::now()).has_time());
        assert!(Deadline::start(SECOND, Instant::now()).has_time());
    }
}
