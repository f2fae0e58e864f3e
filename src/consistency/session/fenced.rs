//! Sessions that prove what they read by a counter among the data, where servers do not tell how far they are.
//!
//! Every write raises the session's counter in the same transaction. Replicas apply the master's writes in its order: one on
//! which the counter stands at 5 or more contains the first five writes, through any failover.

use std::time::{Duration, Instant};

use super::{Demand, Loss, Session, Step};
use crate::consistency::token::{Fence, Seen};

/// How long a counter lives after the last write. Within half of it, another one takes its place.
pub(crate) const FENCE_LIVES: Duration = Duration::from_secs(600);

/// If a write only for that fails, the next one is tried after this time.
const RENEWED_AFTER: Duration = Duration::from_secs(30);

/// The counter that a session raises itself. Nobody else does: its numbers are those of this session alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    name: u64,
    /// Names the master that it was begun on: where another one lost numbers, they must not be reached again.
    master: u64,
    raised: Instant,
    /// When a write only for that is due.
    due: Instant,
}

/// How the next write is to be fenced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Raise {
    pub(crate) name: u64,
    /// The master that it is raised on.
    pub(crate) master: u64,
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
    /// Returns how a write on this master is to be fenced; `fresh` names the next fence.
    pub(crate) fn raise(&self, now: Instant, master: u64, fresh: u64) -> Raise {
        let mut state = self.0.lock();
        let is_good = |own: &Own| own.master == master && now.saturating_duration_since(own.raised) < FENCE_LIVES / 2;
        let own =
            state.own.filter(is_good).unwrap_or(Own { name: fresh, master, raised: now, due: now + FENCE_LIVES / 2 });
        state.own = Some(own);
        let before = state.seen.fence().filter(|seen| seen.name != own.name);
        Raise { name: own.name, master, before }
    }

    /// Returns the fence if it is about to expire, so that a write is due; then not again for a while.
    pub(crate) fn renewal(&self, now: Instant) -> Option<Fence> {
        let mut state = self.0.lock();
        let seen = state.seen.fence()?;
        let own = state.own.as_mut().filter(|own| own.name == seen.name && now >= own.due)?;
        own.due = now + RENEWED_AFTER;
        Some(seen)
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
        let is_late =
            |seen: Fence| seen.name != raise.name && raise.before.is_none_or(|before| before.name != seen.name);
        if state.seen.fence().is_some_and(is_late) {
            // Another call has gone on behind another fence, which says nothing about this write.
            state.doubts += 1;
            return None;
        }
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
        state.own = Some(Own { name: raise.name, master: raise.master, raised: now, due: now + FENCE_LIVES / 2 });
        let next = match state.seen.fence() {
            Some(seen) if seen.name == raise.name => seen.count.max(count),
            _ => count,
        };
        state.seen = Seen::Fence(Fence { name: raise.name, count: next });
        found
    }

    /// A node answered a read. `is_confirmed`: what calls itself the master is the set's master, as far as anybody can know.
    pub(crate) fn passed(&self, demand: &Demand, passed: Passed, is_confirmed: bool) -> Step {
        let found = demand.seen.fence().and_then(|seen| seen.judge(passed.count));
        if (demand.needs_master && !passed.is_master) || (found.is_some() && !(passed.is_master && is_confirmed)) {
            return Step::Wait;
        }
        let mut state = self.0.lock();
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
                Step::Tell(loss)
            }
            Some(_) | None => Step::Accept,
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
        let raise = session.raise(now, 1, fresh);
        session.raised(&demand, raise, count, raise.before.map(|fence| fence.count), now);
    }

    fn read(session: &Session, is_master: bool, count: Option<u64>) -> Step {
        session.passed(&session.demand(), Passed { is_master, count }, true)
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
        assert_eq!(read(&session, false, Some(2)), Step::Accept);
        assert_eq!((read(&session, false, Some(1)), read(&session, false, None)), (Step::Wait, Step::Wait));
        assert_eq!(read(&session, true, Some(3)), Step::Accept);
    }

    #[test]
    fn a_master_before_the_fence_proves_a_loss_once() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 5, 7, now);
        assert_eq!(read(&session, true, Some(4)), Step::Tell(Loss::Lost));
        assert_eq!(read(&session, true, Some(4)), Step::Accept);
        write(&session, 1, 8, now);
        assert_eq!(session.token().seen, fence(8, 1), "the numbers of a fence never come again");
        assert_eq!(read(&session, true, None), Step::Tell(Loss::Unproven), "it may have expired");
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
        let raise = session.raise(now, 1, 7);
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
        let raise = elsewhere.raise(now, 1, 9);
        assert_eq!(raise, Raise { name: 9, master: 1, before: Some(Fence { name: 7, count: 3 }) });
        elsewhere.raised(&elsewhere.demand(), raise, 1, Some(3), now);
        assert_eq!((elsewhere.token().seen, elsewhere.take_loss()), (fence(9, 1), None));
        let late = now + FENCE_LIVES / 2;
        assert_eq!(session.renewal(now), None);
        assert_eq!(session.renewal(late), Some(Fence { name: 7, count: 3 }));
        assert_eq!(session.renewal(late), None, "not again at once");
        let raise = session.raise(late, 1, 10);
        session.raised(&session.demand(), raise, 1, Some(2), late);
        assert_eq!((session.token().seen, session.take_loss()), (fence(10, 1), Some(Loss::Lost)));
        assert_eq!(session.renewal(late), None);
    }

    #[test]
    fn only_the_master_in_office_proves_a_loss() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 5, 7, now);
        let usurper = Passed { is_master: true, count: Some(4) };
        assert_eq!(session.passed(&session.demand(), usurper, false), Step::Wait);
        assert_eq!(session.token().seen, fence(7, 5));
    }

    #[test]
    fn another_master_has_another_fence() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 5, 7, now);
        let raise = session.raise(now, 2, 8);
        assert_eq!((raise.name, raise.before), (8, Some(Fence { name: 7, count: 5 })));
        session.raised(&session.demand(), raise, 1, Some(4), now);
        assert_eq!((session.take_loss(), session.token().seen), (Some(Loss::Lost), fence(8, 1)));
    }

    #[test]
    fn a_late_answer_behind_an_old_fence_does_not_lead_back() {
        let (session, now) = (Session::default(), Instant::now());
        write(&session, 1, 7, now);
        let (demand, old) = (session.demand(), session.raise(now, 1, 8));
        let next = session.raise(now, 2, 9);
        session.raised(&session.demand(), next, 1, Some(1), now);
        session.raised(&demand, old, 2, None, now);
        assert_eq!((session.token().seen, session.demand().needs_master), (fence(9, 1), true));
    }

    #[test]
    fn tokens_carry_fences() {
        let session = Session::default();
        write(&session, 3, u64::MAX, Instant::now());
        let text = session.token().to_string();
        assert_eq!(text.parse::<Token>(), Ok(session.token()));
    }
}
