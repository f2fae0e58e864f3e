//! Sessions that prove what they read by a counter among the data, where servers do not tell how far they are.
//!
//! Every write raises the session's counter in the same transaction, by an amount that is never used again. Replicas apply the
//! master's writes in its order: one on which the counter stands at a value that the session saw contains every write before
//! it, through any failover; and no other history ever comes to that value. A write also reads where the counter stood before,
//! which tells what the server that executed it contained, whoever that was.

use std::time::{Duration, Instant};

use super::epoch::{Epoch, Kind};
use super::fences::{FENCE_LIVES, Passed, Raise, Raised};
use super::memory::{Requirement, Session, State, Step};
use crate::session::loss::Loss;
use crate::session::token::{Fence, Seen};

/// How old a token's fence may be that was just resumed: after this time its session raises one of its own.
const RESUMED_FOR: Duration = Duration::from_secs(60);
/// If a write only for a fence that expires fails, the next one is tried after this time.
const RENEWED_AFTER: Duration = Duration::from_secs(30);
/// The same while the session is in doubt: until then only the master serves it.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

impl Session {
    /// Returns how a write is to be fenced; `None`: it goes without one, as too many are under way. `name` and `dice` are
    /// random.
    pub(crate) fn raise(&self, now: Instant, name: u64, dice: u64, kind: Kind) -> Option<Raise> {
        let mut guard = self.0.lock();
        let State { seen, fences, .. } = &mut *guard;
        let is_young = fences.raised.is_some_and(|raised| now.saturating_duration_since(raised) < FENCE_LIVES / 2);
        if !fences.own.as_ref().is_some_and(|own| is_young && !own.is_over()) {
            fences.last = fences.own.replace(Epoch::new(name)).or(fences.last.take());
            fences.raised = Some(now);
        }
        let own = fences.own.as_mut().filter(|own| !own.is_full())?;
        if *seen == Seen::Nothing || seen.fence().is_some_and(|seen| seen.count == 0) {
            *seen = Seen::Fence(Fence { name: own.name, count: 0 });
        }
        let before = seen.fence().filter(|seen| seen.name != own.name).or(fences.open);
        Some(Raise { name: own.name, amount: own.begin(dice, kind), before })
    }

    /// A write was not executed, or is answered for already: it will not raise the counter.
    pub(crate) fn cancel(&self, raise: Raise) {
        if let Some(epoch) = self.0.lock().fences.epoch(raise.name) {
            epoch.cancel(raise.amount);
        }
    }

    /// A write got no complete reply: it may raise the counter at any time, or never.
    pub(crate) fn lose(&self, raise: Raise) {
        let mut state = self.0.lock();
        state.doubts += 1;
        match state.fences.epoch(raise.name) {
            Some(epoch) => epoch.lose(raise.amount),
            None => state.fences.uncounted = state.doubts,
        }
    }

    /// A node executed a write that raised no fence.
    pub(crate) fn wrote_unfenced(&self, by: u64) {
        let mut state = self.0.lock();
        let doubt = state.doubt_uncounted();
        if state.fences.unfenced.replace((by, doubt)).is_some_and(|(other, _)| other != by) {
            state.loss = state.loss.max(Some(Loss::Unproven));
        }
    }

    /// Returns the name of a fence if a write is due only to raise one: the present one is about to expire, or only the master
    /// can serve the session without it. Then not again for a while.
    pub(crate) fn wants_fence(&self, now: Instant) -> Option<u64> {
        let mut guard = self.0.lock();
        let is_doubtful = guard.needs_master();
        let State { seen, fences, .. } = &mut *guard;
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let fence = seen.fence().filter(|seen| seen.count > 0);
        let is_due = match fence {
            Some(fence) if fences.own.as_ref().is_some_and(|own| own.name == fence.name) => {
                since(fences.raised) >= FENCE_LIVES / 2
            }
            Some(_) => now.saturating_duration_since(*fences.resumed.get_or_insert(now)) >= RESUMED_FOR,
            None => false,
        };
        let pause = if is_doubtful { SETTLED_AFTER } else { RENEWED_AFTER };
        if !(is_doubtful || is_due) || since(fences.tried) < pause {
            return None;
        }
        fences.tried = Some(now);
        Some(fence.map_or(0, |fence| fence.name))
    }

    /// A write was answered. Returns what that proves to be lost, which is told at the next read.
    pub(crate) fn raised(&self, requirement: &Requirement, raise: Raise, raised: Raised, now: Instant) -> Option<Loss> {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let is_current = state.fences.own.as_ref().is_some_and(|own| own.name == raise.name)
            || state.seen.fence().is_some_and(|seen| seen.name == raise.name);
        if state.is_apart(raise, raised) {
            // What it lacks may be lost, or it itself: nobody has to know of that.
            return None;
        }
        // It began before the loss that was told since: it may have been executed in another history than the master's.
        let is_stale = state.seen == Seen::Unknown && state.fences.era != requirement.era;
        let mut found = if is_current { state.advance(raise, raised, now) } else { state.answered_late(raise, raised) };
        if let Some((by, doubt)) = state.fences.unfenced.filter(|(_, doubt)| *doubt <= requirement.doubts) {
            state.fences.unfenced = state.fences.unfenced.filter(|unfenced| unfenced.1 != doubt);
            found = found.max((by != raised.by).then_some(Loss::Unproven));
        }
        if is_current {
            if state.fences.uncounted > state.settled
                && let Some(epoch) = state.fences.epoch(raise.name)
            {
                epoch.pin();
            }
            state.settled = state.settled.max(requirement.doubts);
        }
        // What is not lost has to be there: the next fence stands for all of it.
        if found.is_some() || is_stale {
            state.doubt_uncounted();
        }
        state.fences.losses += u32::from(found.is_some());
        state.loss = state.loss.max(found);
        found
    }

    /// A node answered a read. `is_confirmed`: what calls itself the master is the set's master, as far as anybody can know.
    pub(crate) fn passed(&self, requirement: &Requirement, passed: Passed, is_confirmed: bool) -> Step {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        if requirement.needs_master && !passed.is_master {
            return Step::Wait;
        }
        let has_last_word = passed.is_master && is_confirmed;
        if passed.is_master && state.fences.unfenced.is_some_and(|(by, _)| by != passed.by) {
            // Another one executed what no fence stands for.
            if !is_confirmed {
                return Step::Wait;
            }
            state.fences.unfenced = None;
            state.loss = state.loss.max(Some(Loss::Unproven));
        }
        let step = if state.is_past(requirement, passed) {
            Step::Accept
        } else if has_last_word {
            state.miss(requirement, passed)
        } else {
            Step::Wait
        };
        let told = match step {
            Step::Wait => return Step::Wait,
            Step::Tell(loss) => Some(loss),
            Step::Accept => None,
        };
        let (goes_by_all, open) = (state.seen.fence().is_some(), state.fences.open);
        let is_shown = |name: u64| {
            let is_learned = goes_by_all || open.is_some_and(|open| open.name == name);
            is_learned && requirement.fences().any(|fence| fence.name == name)
        };
        state.fences.epochs_mut().filter(|epoch| !is_shown(epoch.name)).for_each(Epoch::read);
        // A write of another thread may have found out since this call began.
        told.max(state.loss.take()).map_or(Step::Accept, Step::Tell)
    }
}

impl Requirement {
    /// The fences that it asks for.
    pub(crate) fn fences(&self) -> impl Iterator<Item = Fence> {
        self.seen.fence().into_iter().chain(self.open)
    }

    /// Goes on with something that began where the session was at `seen`, if that fence is still the one to go by.
    pub(crate) fn begin_at(&mut self, session: &Session, seen: Seen) {
        let Some(fence) = seen.fence() else { return };
        let mut state = session.0.lock();
        let is_known = state.fences.epoch(fence.name).is_some_and(|epoch| epoch.had(fence.count));
        if is_known && self.seen.fence().is_some_and(|now| now.name == fence.name) {
            self.seen = seen;
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
pub(super) mod tests;
