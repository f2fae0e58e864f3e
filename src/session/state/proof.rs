//! What the values of a session's counters prove of what it has written.

use std::time::Instant;

use super::epoch::{Before, Epoch};
use super::fences::{Fences, Passed, Raise, Raised};
use super::memory::{Requirement, State, Step};
use crate::session::loss::Loss;
use crate::session::token::{Fence, Seen};

impl State {
    /// Something may be there that no counter counts. Returns which doubt this is.
    pub(super) fn doubt_uncounted(&mut self) -> u64 {
        self.doubts += 1;
        self.fences.uncounted = self.doubts;
        self.doubts
    }

    /// Returns whether a write that only raised the counter was executed where something is missing.
    pub(super) fn is_apart(&self, raise: Raise, raised: Raised) -> bool {
        let Some(epoch) = self.fences.find(raise.name).filter(|epoch| epoch.is_touch(raise.amount)) else {
            return false;
        };
        let kept_before = |before: Fence| {
            let Some(value) = raised.before else { return false };
            let is_kept = |epoch: &Epoch| {
                epoch.is_at_top(value) || epoch.keeps_all(value) || (value >= before.count && epoch.had(value))
            };
            self.fences.find(before.name).map_or(value == before.count, is_kept)
        };
        let is_kept = epoch.is_at_top(raised.count) || epoch.keeps_all(raised.count.saturating_sub(raise.amount));
        !(is_kept && raise.before.is_none_or(kept_before))
    }

    /// Goes on to where a write raised its counter.
    pub(super) fn advance(&mut self, raise: Raise, raised: Raised, now: Instant) -> Option<Loss> {
        let is_open = |before: Fence| self.fences.open.is_some_and(|open| open.name == before.name);
        let before = match (self.seen.fence(), raise.before) {
            // The first answer behind this fence: it stands for the one before from now on, if that was there.
            (Some(seen), Some(before)) if seen.name == before.name => self.judge(before, raised.before),
            (_, Some(before)) if is_open(before) => self.judge(before, raised.before),
            (Some(seen), _) if seen.name == raise.name => None,
            // Other calls have gone on behind a fence that this one did not ask for.
            (Some(seen), _) => (seen.count > 0).then_some(Loss::Unproven),
            (None, _) => None,
        };
        let Some((found, count)) = self.answered(raise, raised) else { return Some(Loss::Unproven) };
        self.seen = Seen::Fence(Fence { name: raise.name, count });
        if before.is_some() {
            self.fences.turn(raise.name);
        }
        self.fences.raised = Some(now);
        found.max(before)
    }

    /// A write was answered behind a fence that the session does not go by any more: that has to be proven as well.
    pub(super) fn answered_late(&mut self, raise: Raise, raised: Raised) -> Option<Loss> {
        if self.fences.epoch(raise.name).is_some_and(|epoch| epoch.has_found(raise.amount)) {
            // The present fence was raised after it.
            return None;
        }
        let Some((found, count)) = self.answered(raise, raised) else { return Some(Loss::Unproven) };
        found.max(self.open(Fence { name: raise.name, count }))
    }

    /// Takes an answer into account. Returns what is lost, and where its counter stands.
    fn answered(&mut self, raise: Raise, raised: Raised) -> Option<(Option<Loss>, u64)> {
        let epoch = self.fences.epoch(raise.name)?;
        let value = raised.count.saturating_sub(raise.amount);
        let is_loss = epoch.proves_loss(value);
        let answered = epoch.answered(raise.amount, raised.count);
        let count = epoch.top();
        let found = match answered {
            Before::All | Before::Kept => None,
            Before::Other(_) if is_loss => Some(Loss::Lost),
            Before::Other(_) | Before::Unknown => Some(Loss::Unproven),
        };
        if answered != Before::All {
            self.fences.turn(raise.name);
        }
        Some((found, count))
    }

    /// From now on this fence has to be proven beside the present one. There is room for one such.
    fn open(&mut self, fence: Fence) -> Option<Loss> {
        let other = self.fences.open.replace(fence).filter(|other| other.name != fence.name);
        other.map(|_| Loss::Unproven)
    }

    /// Says what is lost where a write found the fence before, which stood at `before` when the write began, at this value.
    fn judge(&mut self, before: Fence, value: Option<u64>) -> Option<Loss> {
        self.fences.open.take_if(|open| open.name == before.name);
        // Lost, expired or evicted.
        let Some(value) = value else { return Some(Loss::Unproven) };
        let Some(epoch) = self.fences.epoch(before.name) else {
            return (value != before.count).then_some(Loss::Unproven);
        };
        if epoch.is_at_top(value) {
            epoch.learn(value);
            return None;
        }
        if epoch.keeps_all(value) {
            return None;
        }
        if value >= before.count && epoch.had(value) {
            // Writes that were answered meanwhile came after this one.
            let fence = Fence { count: epoch.top(), ..before };
            return self.open(fence);
        }
        Some(if value < before.count && epoch.proves_loss(value) { Loss::Lost } else { Loss::Unproven })
    }

    /// Returns whether a node contains what was seen when the call began, and learns what it contains beyond that.
    pub(super) fn is_past(&mut self, requirement: &Requirement, passed: Passed) -> bool {
        let has_gone_on = self.fences.era != requirement.era;
        let asked = [(requirement.seen.fence(), passed.count), (requirement.open, passed.open)];
        let asked = asked.into_iter().filter_map(|(fence, count)| Some((fence?, count)));
        let is_past = asked.clone().all(|(fence, count)| self.fences.proves(fence, count, has_gone_on));
        if is_past {
            asked.for_each(|(fence, count)| self.learn(fence, count, has_gone_on));
        }
        is_past
    }

    /// A node showed this counter at this value.
    fn learn(&mut self, fence: Fence, count: Option<u64>, has_gone_on: bool) {
        // After a loss, only what is raised where the master is says what is there.
        let is_open = self.fences.open.is_some_and(|open| open.name == fence.name);
        if self.seen.fence().is_none() && !is_open {
            return;
        }
        let (Some(count), Some(epoch)) = (count, self.fences.epoch(fence.name)) else { return };
        if !epoch.is_at_top(count) || (has_gone_on && !epoch.had(fence.count)) {
            return;
        }
        let is_more = count != epoch.top();
        epoch.learn(count);
        let fence = Fence { count: epoch.top(), ..fence };
        if self.seen.fence().is_some_and(|seen| seen.name == fence.name) {
            self.seen = Seen::Fence(fence);
        } else if is_more {
            // Another fence stands for what was seen, but not for the writes that this value shows.
            self.loss = self.loss.max(self.open(fence));
        }
    }

    /// The set's master does not contain what was seen when the call began.
    pub(super) fn miss(&mut self, requirement: &Requirement, passed: Passed) -> Step {
        let (has_gone_on, has_told) = (self.fences.era != requirement.era, self.fences.losses != requirement.losses);
        let mut step = Step::Accept;
        if let Some(fence) = requirement.seen.fence()
            && !self.fences.proves(fence, passed.count, has_gone_on)
        {
            let now = self.seen.fence();
            step = self.miss_fence(Missed { fence, now, count: passed.count, is_open: false, has_gone_on, has_told });
        }
        if let Some(fence) = requirement.open.filter(|_| step == Step::Accept)
            && !self.fences.proves(fence, passed.open, has_gone_on)
        {
            let now = self.fences.open;
            step = self.miss_fence(Missed { fence, now, count: passed.open, is_open: true, has_gone_on, has_told });
        }
        step
    }

    /// The set's master does not contain what this fence stood for.
    fn miss_fence(&mut self, missed: Missed) -> Step {
        let Missed { fence, now, count, is_open, has_gone_on, has_told } = missed;
        let Some(seen) = now else {
            // Another call has been told; or has made sure of it, behind a fence that is to be asked for.
            return if has_told { Step::Accept } else { Step::Wait };
        };
        let epoch = self.fences.epoch(fence.name);
        let is_loss = epoch.zip(count).is_some_and(|(epoch, count)| epoch.proves_loss(count));
        let loss = if is_loss { Loss::Lost } else { Loss::Unproven };
        if seen.name != fence.name {
            return if has_told { Step::Accept } else { Step::Tell(loss) };
        }
        match count {
            // Another call has been told, or will be, and the session goes on from here.
            Some(count) if has_gone_on && self.fences.proves(seen, Some(count), false) => {
                self.learn(seen, Some(count), false);
                return Step::Accept;
            }
            // An answer that comes late.
            _ if has_gone_on => return Step::Wait,
            // Between what was seen then and what is seen now: that one as well.
            Some(count) if (fence.count..seen.count).contains(&count) => return Step::Wait,
            _ => {}
        }
        self.fences.turn(fence.name);
        let mut kept = None;
        if let Some(epoch) = self.fences.epoch(fence.name) {
            kept = count.filter(|count| epoch.keep(*count)).map(|count| Fence { count, ..fence });
            if kept.is_none() {
                epoch.restart(count.unwrap_or(0));
            }
        }
        match kept {
            Some(kept) if is_open => self.fences.open = Some(kept),
            Some(kept) => self.seen = Seen::Fence(kept),
            // After a loss the master's history counts: only a fence that is raised there proves that.
            None => (self.seen, self.fences.open) = (Seen::Unknown, None),
        }
        if kept.is_some() {
            return Step::Accept;
        }
        self.fences.losses += 1;
        Step::Tell(loss)
    }
}

/// A fence that the set's master does not prove.
#[derive(Clone, Copy, Debug)]
struct Missed {
    /// As it was when the call began, and as the session goes by it now.
    fence: Fence,
    now: Option<Fence>,
    /// Where it stands on the master.
    count: Option<u64>,
    /// It is the one that is proven beside the present one.
    is_open: bool,
    /// Since the call began, the session went on elsewhere; and something was found to be lost.
    has_gone_on: bool,
    has_told: bool,
}

impl Fences {
    /// Returns whether a node on which the counter of a fence stands at `count` contains what it stood for. `has_gone_on`: the
    /// session did, since that was asked.
    fn proves(&self, fence: Fence, count: Option<u64>, has_gone_on: bool) -> bool {
        // Of what nobody saw yet, a node may have nothing, or what it is known for.
        let is_exact = count == Some(fence.count).filter(|count| *count > 0);
        let epoch = self.find(fence.name);
        let (Some(count), Some(epoch)) = (count, epoch) else { return is_exact };
        if is_exact || (has_gone_on && !epoch.had(fence.count)) {
            return is_exact;
        }
        epoch.is_at_top(count) || (epoch.had(count) && count > fence.count)
    }
}

#[cfg(test)]
mod tests;
