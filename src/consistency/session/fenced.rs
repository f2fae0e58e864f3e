//! Sessions that prove what they read by a counter among the data, where servers do not tell how far they are.
//!
//! Every write raises the session's counter in the same transaction. Replicas apply the master's writes in its order: one on
//! which the counter stands at 5 or more contains the first five writes, through any failover.

use std::time::{Duration, Instant};

use super::{Demand, Loss, Session, Step};
use crate::consistency::token::{Fence, Seen};

/// How long a counter lives after the last write. Within half of it, another one takes its place.
pub(crate) const FENCE_LIVES: Duration = Duration::from_secs(600);

/// The counter that a session raises itself. Nobody else does: its numbers are those of this session alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    name: u64,
    raised: Instant,
}

/// How the next write is to be fenced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Raise {
    pub(crate) name: u64,
    /// Seen behind another fence: the master has to contain that, so that from now on this one stands for both.
    pub(crate) before: Option<Fence>,
}

/// What a node's reply says of a fence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Passed {
    /// The node said right before that it is the master.
    pub(crate) is_master: bool,
    /// Where the counter stands; `None`: it is not there.
    pub(crate) count: Option<u64>,
}

impl Session {
    /// Returns how a write is to be fenced; `fresh` names the next fence.
    pub(crate) fn raise(&self, now: Instant, fresh: u64) -> Raise {
        let mut state = self.0.lock();
        let is_young = |own: &Own| now.saturating_duration_since(own.raised) < FENCE_LIVES / 2;
        let own = *state.own.filter(is_young).get_or_insert(Own { name: fresh, raised: now });
        state.own = Some(own);
        let before = state.seen.fence().filter(|seen| seen.name != own.name);
        Raise { name: own.name, before }
    }

    /// Tells whether the fence is about to expire, so that a write is due.
    pub(crate) fn is_expiring(&self, now: Instant) -> bool {
        let state = self.0.lock();
        let is_old = |own: Own| now.saturating_duration_since(own.raised) >= FENCE_LIVES / 2;
        state.seen.fence().is_some() && state.own.is_some_and(is_old)
    }

    /// A write was answered: the counter stands at `count`, and `before` says where the one before stood.
    /// Returns what that proves to be lost, which is told at the next read.
    pub(crate) fn raised(
        &self,
        demand: &Demand,
        raise: Raise,
        count: u64,
        before: Option<u64>,
        now: Instant,
    ) -> Option<Loss> {
        let mut state = self.0.lock();
        state.settled = state.settled.max(demand.doubts);
        let found = match raise.before {
            Some(fence) => fence.judge(before),
            None => match demand.seen.fence().filter(|seen| seen.name == raise.name) {
                // Everything that was seen when the call began was counted before.
                Some(seen) => seen.judge(count.checked_sub(1).filter(|count| *count > 0)),
                None => None,
            },
        };
        state.loss = found.or(state.loss);
        if found.is_some() && raise.before.is_none() {
            // Numbers that were given out before must never be reached again.
            (state.own, state.seen) = (None, Seen::Nothing);
            state.doubts += 1;
            return found;
        }
        state.own = Some(Own { name: raise.name, raised: now });
        let next = match state.seen.fence() {
            Some(seen) if seen.name == raise.name => seen.count.max(count),
            _ => count,
        };
        state.seen = Seen::Fence(Fence { name: raise.name, count: next });
        found
    }

    /// A node answered a read. `None`: it does not prove what was demanded; another one may.
    pub(crate) fn passed(&self, demand: &Demand, passed: Passed) -> Option<Step> {
        if demand.needs_master && !passed.is_master {
            return None;
        }
        let mut state = self.0.lock();
        let found = demand.seen.fence().and_then(|seen| seen.judge(passed.count));
        if found.is_some() && !passed.is_master {
            return None;
        }
        if passed.is_master {
            state.settled = state.settled.max(demand.doubts);
            if state.seen == Seen::Unknown {
                state.seen = Seen::Nothing;
            }
        }
        match found {
            // Another call of the session has been told.
            Some(loss) if state.seen.fence().map(|seen| seen.name) == demand.seen.fence().map(|seen| seen.name) => {
                (state.own, state.seen) = (None, Seen::Nothing);
                Some(Step::Tell(loss))
            }
            Some(_) | None => Some(Step::Accept),
        }
    }
}

impl Fence {
    /// Says what is lost where the counter stands there.
    fn judge(self, count: Option<u64>) -> Option<Loss> {
        match count {
            Some(count) if count >= self.count => None,
            Some(_) => Some(Loss::Lost),
            // Lost, expired or evicted.
            None => (self.count > 0).then_some(Loss::Unproven),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FENCE_LIVES, Passed, Raise};
    use crate::consistency::token::{Fence, Seen};
    use crate::consistency::{Loss, Session, SessionMode, Step, Token};
    use std::time::Instant;

    fn write(session: &Session, count: u64, fresh: u64, now: Instant) {
        let demand = session.demand();
        let raise = session.raise(now, fresh);
        session.raised(&demand, raise, count, raise.before.map(|fence| fence.count), now);
    }

    fn read(session: &Session, is_master: bool, count: Option<u64>) -> Option<Step> {
        session.passed(&session.demand(), Passed { is_master, count })
    }

    fn fence(name: u64, count: u64) -> Seen {
        Seen::Fence(Fence { name, count })
    }

    #[test]
    fn a_node_has_to_be_past_the_fence() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 1, 7, now);
        write(&session, 2, 8, now);
        assert_eq!(session.token().seen, fence(7, 2));
        assert_eq!(read(&session, false, Some(2)), Some(Step::Accept));
        assert_eq!((read(&session, false, Some(1)), read(&session, false, None)), (None, None));
        assert_eq!(read(&session, true, Some(3)), Some(Step::Accept));
    }

    #[test]
    fn a_master_before_the_fence_proves_a_loss_once() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 5, 7, now);
        assert_eq!(read(&session, true, Some(4)), Some(Step::Tell(Loss::Lost)));
        assert_eq!(read(&session, true, Some(4)), Some(Step::Accept));
        write(&session, 1, 8, now);
        assert_eq!(session.token().seen, fence(8, 1), "the numbers of a fence never come again");
        assert_eq!(read(&session, true, None), Some(Step::Tell(Loss::Unproven)), "it may have expired");
    }

    #[test]
    fn a_write_behind_a_lost_fence_leaves_it_to_the_next_read() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 5, 7, now);
        write(&session, 4, 8, now);
        assert_eq!(session.take_loss(), Some(Loss::Lost));
        assert!(session.demand().needs_master && session.token().seen == Seen::Nothing);
        write(&session, 1, 9, now);
        assert!(!session.demand().needs_master);
        write(&session, 1, 10, now);
        assert_eq!(session.take_loss(), Some(Loss::Unproven), "the counter began anew");
    }

    #[test]
    fn answers_may_come_in_any_order() {
        let (session, now) = (Session::default(), Instant::now());
        let (first, second) = (session.demand(), session.demand());
        let raise = session.raise(now, 7);
        session.raised(&second, raise, 2, None, now);
        session.raised(&first, raise, 1, None, now);
        assert_eq!((session.token().seen, session.take_loss()), (fence(7, 2), None));
    }

    #[test]
    fn a_resumed_or_an_old_session_takes_a_fence_of_its_own() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 3, 7, now);
        let elsewhere = Session::resume(&session.token(), SessionMode::Fence);
        assert_eq!(Session::resume(&session.token(), SessionMode::Strict).token().seen, Seen::Unknown);
        let raise = elsewhere.raise(now, 9);
        assert_eq!(raise, Raise { name: 9, before: Some(Fence { name: 7, count: 3 }) });
        elsewhere.raised(&elsewhere.demand(), raise, 1, Some(3), now);
        assert_eq!((elsewhere.token().seen, elsewhere.take_loss()), (fence(9, 1), None));
        let late = now + FENCE_LIVES / 2;
        assert!(session.is_expiring(late) && !session.is_expiring(now));
        let raise = session.raise(late, 10);
        session.raised(&session.demand(), raise, 1, Some(2), late);
        assert_eq!((session.token().seen, session.take_loss()), (fence(10, 1), Some(Loss::Lost)));
        assert!(!session.is_expiring(late));
    }

    #[test]
    fn tokens_carry_fences() {
        let session = Session::default();
        write(&session, 3, u64::MAX, Instant::now());
        let text = session.token().to_string();
        assert_eq!(text.parse::<Token>(), Ok(session.token()));
    }
}
