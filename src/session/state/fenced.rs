//! Fenced sessions: a counter among the data proves what a node contains, for servers that give no other evidence.
//!
//! Every write raises the session's counter in the same transaction, by an amount that is never used again. Replicas apply the
//! master's writes in order. So a node on which the counter has a value that the session saw contains every write before that
//! value, after any failover, and no other history reaches the value. The reply to a write also shows what the counter was
//! before, and so what the server that executed the write contained.

use std::time::{Duration, Instant};

use super::counter::{Counter, WriteKind};
use super::fences::{FENCE_TTL, FenceReading, Raise, RaiseReply};
use super::memory::{Acceptance, Requirement, Session, State};
use crate::session::token::{Fence, Loss, Watermark};

/// How long a resumed session uses the fence of its token: after this time it raises one of its own.
const RESUMED_TTL: Duration = Duration::from_secs(60);
/// The pause between two renewals of a fence that is about to expire.
const RENEWAL_RETRY: Duration = Duration::from_secs(30);
/// The pause between two renewals while only the master can serve the session.
const DOUBT_RETRY: Duration = Duration::from_secs(1);

impl Session {
    /// Returns how a write raises the fence; `None`: too many writes wait for a reply, so it goes without one. `name` and `dice`
    /// are random.
    pub(crate) fn raise(&self, now: Instant, name: u64, dice: u64, kind: WriteKind) -> Option<Raise> {
        let mut guard = self.0.lock();
        let State { watermark, fences, .. } = &mut *guard;
        let is_young = fences.last_raised.is_some_and(|raised| now.saturating_duration_since(raised) < FENCE_TTL / 2);
        if !fences.own.as_ref().is_some_and(|own| is_young && !own.is_closed()) {
            fences.previous = fences.own.replace(Counter::new(name)).or(fences.previous.take());
            fences.last_raised = Some(now);
        }
        let own = fences.own.as_mut().filter(|own| !own.is_full())?;
        if *watermark == Watermark::Nothing || watermark.fence().is_some_and(|fence| fence.count == 0) {
            *watermark = Watermark::Fence(Fence { name: own.name, count: 0 });
        }
        let before = watermark.fence().filter(|fence| fence.name != own.name).or(fences.second);
        Some(Raise { name: own.name, amount: own.begin(dice, kind), before })
    }

    /// Ends a write that was not executed, or whose reply was recorded.
    pub(crate) fn cancel(&self, raise: Raise) {
        if let Some(counter) = self.0.lock().fences.counter_mut(raise.name) {
            counter.cancel(raise.amount);
        }
    }

    /// Records that a write got no complete reply: it may raise the counter later, or never.
    pub(crate) fn record_lost_reply(&self, raise: Raise) {
        let mut state = self.0.lock();
        state.doubts += 1;
        match state.fences.counter_mut(raise.name) {
            Some(counter) => counter.record_lost_reply(raise.amount),
            None => state.fences.uncounted_doubt = state.doubts,
        }
    }

    /// Records that the node `by` executed a write without a fence.
    pub(crate) fn record_unfenced_write(&self, by: u64) {
        let mut state = self.0.lock();
        let doubt = state.record_uncounted_doubt();
        if state.fences.unfenced.replace((by, doubt)).is_some_and(|(other, _)| other != by) {
            state.loss = state.loss.max(Some(Loss::Unproven));
        }
    }

    /// Returns the name of the fence if a renewal is due: the fence is about to expire, or only the master can serve the session
    /// without a new one. After that, returns `None` for a while.
    pub(crate) fn due_renewal(&self, now: Instant) -> Option<u64> {
        let mut guard = self.0.lock();
        let is_doubtful = guard.needs_master();
        let State { watermark, fences, .. } = &mut *guard;
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let fence = watermark.fence().filter(|fence| fence.count > 0);
        let is_due = match fence {
            Some(fence) if fences.own.as_ref().is_some_and(|own| own.name == fence.name) => {
                since(fences.last_raised) >= FENCE_TTL / 2
            }
            Some(_) => now.saturating_duration_since(*fences.resumed_at.get_or_insert(now)) >= RESUMED_TTL,
            None => false,
        };
        let pause = if is_doubtful { DOUBT_RETRY } else { RENEWAL_RETRY };
        if !(is_doubtful || is_due) || since(fences.renewal_tried) < pause {
            return None;
        }
        fences.renewal_tried = Some(now);
        Some(fence.map_or(0, |fence| fence.name))
    }

    /// Records the reply to a write. Returns the loss that it proves, which the next read reports.
    pub(crate) fn record_raise(
        &self,
        requirement: &Requirement,
        raise: Raise,
        raised: RaiseReply,
        now: Instant,
    ) -> Option<Loss> {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let is_current = state.fences.own.as_ref().is_some_and(|own| own.name == raise.name)
            || state.watermark.fence().is_some_and(|fence| fence.name == raise.name);
        if state.is_misplaced_renewal(raise, raised) {
            // Either what this node lacks is lost, or the renewal is: the loss of a renewal need not be reported.
            return None;
        }
        // The write began before a loss that was reported since: another history than the master's may contain it.
        let is_stale =
            state.watermark == Watermark::Unknown && state.fences.discontinuities != requirement.discontinuities;
        let mut found =
            if is_current { state.advance(raise, raised, now) } else { state.record_late_answer(raise, raised) };
        if let Some((by, doubt)) = state.fences.unfenced.filter(|(_, doubt)| *doubt <= requirement.doubts) {
            state.fences.unfenced = state.fences.unfenced.filter(|unfenced| unfenced.1 != doubt);
            found = found.max((by != raised.by).then_some(Loss::Unproven));
        }
        if is_current {
            if state.fences.uncounted_doubt > state.settled_doubts
                && let Some(counter) = state.fences.counter_mut(raise.name)
            {
                counter.require_all();
            }
            state.settled_doubts = state.settled_doubts.max(requirement.doubts);
        }
        // What was not lost must still be read: the next fence has to stand for all of it.
        if found.is_some() || is_stale {
            state.record_uncounted_doubt();
        }
        state.fences.losses += u32::from(found.is_some());
        state.loss = state.loss.max(found);
        found
    }

    /// Verifies a read by the fences on the node that served it. `is_confirmed`: the node is the set's master, and the monitor has
    /// asked all nodes since the call began.
    pub(crate) fn verify_read(
        &self,
        requirement: &Requirement,
        reading: FenceReading,
        is_confirmed: bool,
    ) -> Acceptance {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        if requirement.needs_master && !reading.is_master {
            return Acceptance::NotProven;
        }
        let is_set_master = reading.is_master && is_confirmed;
        if reading.is_master && state.fences.unfenced.is_some_and(|(by, _)| by != reading.by) {
            // Another node executed a write for which no fence stands.
            if !is_confirmed {
                return Acceptance::NotProven;
            }
            state.fences.unfenced = None;
            state.loss = state.loss.max(Some(Loss::Unproven));
        }
        let acceptance = if state.contains_required(requirement, reading) {
            Acceptance::Accept
        } else if is_set_master {
            state.handle_missing(requirement, reading)
        } else {
            Acceptance::NotProven
        };
        let reported = match acceptance {
            Acceptance::NotProven => return Acceptance::NotProven,
            Acceptance::Report(loss) => Some(loss),
            Acceptance::Accept => None,
        };
        let (has_fence, second) = (state.watermark.fence().is_some(), state.fences.second);
        let is_shown = |name: u64| {
            let is_observed = has_fence || second.is_some_and(|second| second.name == name);
            is_observed && requirement.fences().any(|fence| fence.name == name)
        };
        state.fences.counters_mut().filter(|counter| !is_shown(counter.name)).for_each(Counter::mark_as_read);
        // A write of another thread may have found a loss since this call began.
        reported.max(state.loss.take()).map_or(Acceptance::Accept, Acceptance::Report)
    }
}

impl Requirement {
    /// Returns the fences that a node has to prove.
    pub(crate) fn fences(&self) -> impl Iterator<Item = Fence> {
        self.watermark.fence().into_iter().chain(self.second)
    }

    /// Requires only what a scan required when it began, if the session still uses that fence.
    pub(crate) fn begin_at(&mut self, session: &Session, watermark: Watermark) {
        let Some(fence) = watermark.fence() else { return };
        let mut state = session.0.lock();
        let is_known = state.fences.counter_mut(fence.name).is_some_and(|counter| counter.has_had(fence.count));
        if is_known && self.watermark.fence().is_some_and(|current| current.name == fence.name) {
            self.watermark = watermark;
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
pub(super) mod tests;
