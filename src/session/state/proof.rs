//! What the values of a session's counters prove: which of its writes a node contains, and which are lost.
//!
//! [`fenced`](super::fenced) calls it for the replies to reads and writes.

use std::time::Instant;

use super::counter::{Counter, Earlier};
use super::fences::{FenceReading, Fences, Raise, RaiseReply};
use super::memory::{Acceptance, Requirement, State};
use crate::session::token::{Fence, Loss, Watermark};

impl State {
    /// Records a doubt about something that no counter counts. Returns its number.
    pub(super) fn record_uncounted_doubt(&mut self) -> u64 {
        self.doubts += 1;
        self.fences.uncounted_doubt = self.doubts;
        self.doubts
    }

    /// Returns whether a renewal was executed by a node that lacks something the session has seen.
    pub(super) fn is_misplaced_renewal(&self, raise: Raise, raised: RaiseReply) -> bool {
        let Some(counter) = self.fences.counter(raise.name).filter(|counter| counter.is_pending_renewal(raise.amount))
        else {
            return false;
        };
        let kept_before = |before: Fence| {
            let Some(value) = raised.before else { return false };
            let is_kept = |counter: &Counter| {
                counter.contains_all_at(value)
                    || counter.lacks_only_renewals(value)
                    || (value >= before.count && counter.has_had(value))
            };
            self.fences.counter(before.name).map_or(value == before.count, is_kept)
        };
        let is_kept = counter.contains_all_at(raised.count)
            || counter.lacks_only_renewals(raised.count.saturating_sub(raise.amount));
        !(is_kept && raise.before.is_none_or(kept_before))
    }

    /// Continues at the value to which a write raised its counter. Returns the loss that the reply proves.
    pub(super) fn advance(&mut self, raise: Raise, raised: RaiseReply, now: Instant) -> Option<Loss> {
        let is_second = |before: Fence| self.fences.second.is_some_and(|second| second.name == before.name);
        let before = match (self.watermark.fence(), raise.before) {
            // The first reply for this fence: it stands for the one before from now on, if the server had that.
            (Some(current), Some(before)) if current.name == before.name => self.check_previous(before, raised.before),
            (_, Some(before)) if is_second(before) => self.check_previous(before, raised.before),
            (Some(current), _) if current.name == raise.name => None,
            // Other calls have continued with a fence that this write did not read.
            (Some(current), _) => (current.count > 0).then_some(Loss::Unproven),
            (None, _) => None,
        };
        let Some((found, count)) = self.record_answer(raise, raised) else { return Some(Loss::Unproven) };
        self.watermark = Watermark::Fence(Fence { name: raise.name, count });
        if before.is_some() {
            self.fences.record_discontinuity(raise.name);
        }
        self.fences.last_raised = Some(now);
        found.max(before)
    }

    /// Records the reply to a write of a fence that the session no longer uses: nodes have to prove that fence too.
    pub(super) fn record_late_answer(&mut self, raise: Raise, raised: RaiseReply) -> Option<Loss> {
        if self.fences.counter_mut(raise.name).is_some_and(|counter| counter.has_observed(raise.amount)) {
            // The current fence was raised after it, and stands for it.
            return None;
        }
        let Some((found, count)) = self.record_answer(raise, raised) else { return Some(Loss::Unproven) };
        found.max(self.require_second(Fence { name: raise.name, count }))
    }

    /// Records a reply in its counter. Returns the loss that it proves, and the last value of the counter.
    fn record_answer(&mut self, raise: Raise, raised: RaiseReply) -> Option<(Option<Loss>, u64)> {
        let counter = self.fences.counter_mut(raise.name)?;
        let value = raised.count.saturating_sub(raise.amount);
        let is_loss = counter.proves_loss(value);
        let answered = counter.record_answer(raise.amount, raised.count);
        let count = counter.last_value();
        let found = match answered {
            Earlier::All | Earlier::AllButRenewals => None,
            Earlier::Other(_) if is_loss => Some(Loss::Lost),
            Earlier::Other(_) | Earlier::Unknown => Some(Loss::Unproven),
        };
        if answered != Earlier::All {
            self.fences.record_discontinuity(raise.name);
        }
        Some((found, count))
    }

    /// Requires this fence beside the current one. There is room for one: if another was required, that one is unproven.
    fn require_second(&mut self, fence: Fence) -> Option<Loss> {
        let other = self.fences.second.replace(fence).filter(|other| other.name != fence.name);
        other.map(|_| Loss::Unproven)
    }

    /// Returns the loss that is proven if a write found the fence `before` at this value.
    fn check_previous(&mut self, before: Fence, value: Option<u64>) -> Option<Loss> {
        self.fences.second.take_if(|second| second.name == before.name);
        // The key is lost, expired or evicted.
        let Some(value) = value else { return Some(Loss::Unproven) };
        let Some(counter) = self.fences.counter_mut(before.name) else {
            return (value != before.count).then_some(Loss::Unproven);
        };
        if counter.contains_all_at(value) {
            counter.observe(value);
            return None;
        }
        if counter.lacks_only_renewals(value) {
            return None;
        }
        if value >= before.count && counter.has_had(value) {
            // The replies that came meanwhile belong to later writes.
            let fence = Fence { count: counter.last_value(), ..before };
            return self.require_second(fence);
        }
        Some(if value < before.count && counter.proves_loss(value) { Loss::Lost } else { Loss::Unproven })
    }

    /// Returns whether a node contains what is required. If so, records what else it contains.
    pub(super) fn contains_required(&mut self, requirement: &Requirement, reading: FenceReading) -> bool {
        let is_outdated = self.fences.discontinuities != requirement.discontinuities;
        let required = [(requirement.watermark.fence(), reading.count), (requirement.second, reading.second)];
        let required = required.into_iter().filter_map(|(fence, count)| Some((fence?, count)));
        let contains_required = required.clone().all(|(fence, count)| self.fences.proves(fence, count, is_outdated));
        if contains_required {
            required.for_each(|(fence, count)| self.observe(fence, count, is_outdated));
        }
        contains_required
    }

    /// Records that a node has this value of a fence's counter. `is_outdated`: as for [`Fences::proves`].
    fn observe(&mut self, fence: Fence, count: Option<u64>, is_outdated: bool) {
        // After a loss, only a fence that the master raises shows what is still there.
        let is_second = self.fences.second.is_some_and(|second| second.name == fence.name);
        if self.watermark.fence().is_none() && !is_second {
            return;
        }
        let (Some(count), Some(counter)) = (count, self.fences.counter_mut(fence.name)) else { return };
        if !counter.contains_all_at(count) || (is_outdated && !counter.has_had(fence.count)) {
            return;
        }
        let is_more = count != counter.last_value();
        counter.observe(count);
        let fence = Fence { count: counter.last_value(), ..fence };
        if self.watermark.fence().is_some_and(|current| current.name == fence.name) {
            self.watermark = Watermark::Fence(fence);
        } else if is_more {
            // The current fence stands for what was seen, but not for the writes that this value shows.
            self.loss = self.loss.max(self.require_second(fence));
        }
    }

    /// Decides what becomes of a read from the set's master, which does not contain what is required.
    pub(super) fn handle_missing(&mut self, requirement: &Requirement, reading: FenceReading) -> Acceptance {
        let (is_outdated, is_reported) =
            (self.fences.discontinuities != requirement.discontinuities, self.fences.losses != requirement.losses);
        let mut acceptance = Acceptance::Accept;
        if let Some(fence) = requirement.watermark.fence()
            && !self.fences.proves(fence, reading.count, is_outdated)
        {
            let current = self.watermark.fence();
            acceptance = self.handle_missing_fence(MissingFence {
                fence,
                current,
                count: reading.count,
                is_second: false,
                is_outdated,
                is_reported,
            });
        }
        if let Some(fence) = requirement.second.filter(|_| acceptance == Acceptance::Accept)
            && !self.fences.proves(fence, reading.second, is_outdated)
        {
            let current = self.fences.second;
            acceptance = self.handle_missing_fence(MissingFence {
                fence,
                current,
                count: reading.second,
                is_second: true,
                is_outdated,
                is_reported,
            });
        }
        acceptance
    }

    /// Decides what becomes of a read from the set's master, which does not contain what this fence stands for.
    fn handle_missing_fence(&mut self, missing: MissingFence) -> Acceptance {
        let MissingFence { fence, current, count, is_second, is_outdated, is_reported } = missing;
        let Some(current) = current else {
            // Another call has reported the loss; or another fence, which this call did not require, stands for this one.
            return if is_reported { Acceptance::Accept } else { Acceptance::NotProven };
        };
        let counter = self.fences.counter_mut(fence.name);
        let is_loss = counter.zip(count).is_some_and(|(counter, count)| counter.proves_loss(count));
        let loss = if is_loss { Loss::Lost } else { Loss::Unproven };
        if current.name != fence.name {
            return if is_reported { Acceptance::Accept } else { Acceptance::Report(loss) };
        }
        match count {
            // Another call has reported the loss, or will: the session has continued from here.
            Some(count) if is_outdated && self.fences.proves(current, Some(count), false) => {
                self.observe(current, Some(count), false);
                return Acceptance::Accept;
            }
            // A late reply.
            _ if is_outdated => return Acceptance::NotProven,
            // A late reply too: the value is between the required one and the current one.
            Some(count) if (fence.count..current.count).contains(&count) => return Acceptance::NotProven,
            _ => {}
        }
        self.fences.record_discontinuity(fence.name);
        let mut kept = None;
        if let Some(counter) = self.fences.counter_mut(fence.name) {
            kept =
                count.filter(|count| counter.continue_without_renewals(*count)).map(|count| Fence { count, ..fence });
            if kept.is_none() {
                counter.restart(count.unwrap_or(0));
            }
        }
        match kept {
            Some(kept) if is_second => self.fences.second = Some(kept),
            Some(kept) => self.watermark = Watermark::Fence(kept),
            // After a loss, only a new fence, raised by the master, proves what is still there.
            None => (self.watermark, self.fences.second) = (Watermark::Unknown, None),
        }
        if kept.is_some() {
            return Acceptance::Accept;
        }
        self.fences.losses += 1;
        Acceptance::Report(loss)
    }
}

/// A fence that the set's master does not prove.
#[derive(Clone, Copy, Debug)]
struct MissingFence {
    /// The fence as it was required when the call began.
    fence: Fence,
    /// The fence in its place that the session requires now.
    current: Option<Fence>,
    /// The value of the required fence on the master.
    count: Option<u64>,
    /// It is the second required fence.
    is_second: bool,
    /// The session has continued at another value since the call began.
    is_outdated: bool,
    /// A loss was found since the call began.
    is_reported: bool,
}

impl Fences {
    /// Returns whether a node on which the counter of a fence has the value `count` contains what the fence stands for.
    /// `is_outdated`: the session has continued at another value since the fence was required.
    fn proves(&self, fence: Fence, count: Option<u64>, is_outdated: bool) -> bool {
        // A fence of value 0 was never raised: its key does not exist.
        let is_exact = count == Some(fence.count).filter(|count| *count > 0);
        let counter = self.counter(fence.name);
        let (Some(count), Some(counter)) = (count, counter) else { return is_exact };
        if is_exact || (is_outdated && !counter.has_had(fence.count)) {
            return is_exact;
        }
        counter.contains_all_at(count) || (counter.has_had(count) && count > fence.count)
    }
}

#[cfg(test)]
mod tests;
