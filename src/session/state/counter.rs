//! The counter of a fence: its value says which writes of the session a node contains.
//!
//! Each write adds an amount of its own, drawn at random and never used again. So a value that is the sum of some amounts was
//! made by exactly those writes. A server may lose writes, restart from an old snapshot or evict the key: other writes never
//! bring the counter to a value that was seen before. A *renewal* is a write that only raises the counter.

use std::collections::VecDeque;

/// The first write of a counter adds this as well: a value below it shows that the key was deleted and created again.
const BASE: u64 = 1 << 62;
/// Each amount has this bit, and random bits below it.
const SMALLEST: u64 = 1 << 43;
/// Above this value the session takes another counter, long before this one overflows.
const MAX_VALUE: u64 = BASE + (1 << 61);
/// Set in the number that a token carries beside the value, if a node must contain the renewals too.
const ALL_REQUIRED: u64 = 1 << 63;
/// How many writes may wait for a reply at a time: each doubles the number of values that are possible.
const MAX_PENDING: usize = 16;
/// How many replies may be lost before the session takes another counter.
const MAX_LOST: usize = 4;
/// How many renewals are remembered as such: they are seconds apart.
const MAX_RENEWALS: usize = 4;
/// How many values are remembered, for reads that began when the counter had them.
const MAX_VALUES: usize = 64;

/// A counter, and what the session knows of it. No other session raises it.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) name: u64,
    /// The values that the counter had, the latest at the end. A node with a later one contains what belongs to the earlier.
    values: VecDeque<KnownValue>,
    /// The writes that may have raised the counter beyond the last value.
    pending: Vec<Increment>,
    /// The writes that the last value contains, but whose replies have not come yet.
    observed: Vec<Increment>,
    /// The part of the last value that comes from the session's own writes.
    written: u64,
    /// The part of the last value that a node must contain: `written`, and amounts that stand for something seen before.
    required: u64,
    /// The latest renewals: the rest of the last value.
    renewals: Vec<Increment>,
    /// A token carries the value: no further write may raise this counter.
    pub(super) is_in_token: bool,
}

/// A value of the counter, and the part of it that comes from the session's own writes.
#[derive(Clone, Copy, Debug)]
struct KnownValue {
    value: u64,
    written: u64,
}

/// The amount that one write adds.
#[derive(Clone, Copy, Debug)]
struct Increment {
    amount: u64,
    /// No reply will come. The write may still be executed.
    is_lost: bool,
    /// The write began before the counter was restarted at another value, which may contain it.
    may_be_counted: bool,
    /// A read that did not ask for this counter may have returned what the write did.
    may_be_read: bool,
    kind: WriteKind,
}

impl Increment {
    fn new(amount: u64, kind: WriteKind) -> Self {
        Self { amount, is_lost: false, may_be_counted: false, may_be_read: false, kind }
    }
}

/// How a write is applied, beside raising the counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WriteKind {
    /// In one step with the raise.
    Atomic,
    /// Command by command, with the raise at its end: until then nothing shows how much of it a node contains.
    Stepwise,
    /// It does nothing else: its loss need not be reported.
    Renewal,
}

/// Which earlier writes a server contained when it executed a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Earlier {
    /// All that the session knows of.
    All,
    /// All but renewals.
    AllButRenewals,
    /// The counter had this value, which the session never saw.
    Other(u64),
    /// The value does not show it.
    Unknown,
}

impl Counter {
    /// Returns a counter that no write has raised yet.
    pub(super) fn new(name: u64) -> Self {
        Self {
            name,
            values: VecDeque::from([KnownValue { value: 0, written: 0 }]),
            pending: Vec::new(),
            observed: Vec::new(),
            written: 0,
            required: 0,
            renewals: Vec::new(),
            is_in_token: false,
        }
    }

    /// Returns the counter of a token: its value, and the number that the token carries beside it.
    pub(super) fn resumed(name: u64, value: u64, written: Option<u64>) -> Self {
        let mut counter = Self::new(name);
        counter.restart(value);
        (counter.is_in_token, counter.written) = (true, value);
        if let Some(written) = written.filter(|written| *written & !ALL_REQUIRED < value) {
            counter.written = written & !ALL_REQUIRED;
            if written & ALL_REQUIRED == 0 {
                counter.required = written;
                counter.renewals = vec![Increment::new(value - written, WriteKind::Renewal)];
            }
        }
        counter
    }

    /// Returns the number that a token carries beside the last value: the part that was written. `None`: all of it.
    pub(super) fn token_written(&self) -> Option<u64> {
        // A token has room for one number: if `written` and `required` differ, it requires the whole value.
        let all_required = || Some(self.written | ALL_REQUIRED).filter(|_| self.written < self.last_value());
        if self.written == self.required {
            Some(self.required).filter(|required| *required < self.last_value())
        } else {
            all_required()
        }
    }

    /// Returns the last known value; 0: there is none yet.
    pub(super) fn last_value(&self) -> u64 {
        self.values.back().map_or(0, |known| known.value)
    }

    /// Returns whether no further write may raise this counter.
    pub(super) fn is_closed(&self) -> bool {
        let lost = self.pending.iter().filter(|increment| increment.is_lost).count();
        self.is_in_token || self.last_value() > MAX_VALUE || lost >= MAX_LOST
    }

    /// Returns whether a write waits for its reply.
    pub(super) fn has_pending(&self) -> bool {
        self.pending.iter().any(|increment| !increment.is_lost)
    }

    /// Returns whether a write without a reply may be seen by reads although the counter does not show it.
    pub(super) fn has_hidden(&self) -> bool {
        self.pending
            .iter()
            .any(|increment| !increment.is_lost && (increment.kind == WriteKind::Stepwise || increment.may_be_read))
    }

    /// Records that a read, which did not ask for this counter, may have returned what pending writes did.
    pub(super) fn mark_as_read(&mut self) {
        self.pending.iter_mut().for_each(|increment| increment.may_be_read = true);
    }

    /// Returns whether this is a renewal that no value has shown yet.
    pub(super) fn is_pending_renewal(&self, amount: u64) -> bool {
        self.pending.iter().any(|increment| increment.amount == amount && increment.kind == WriteKind::Renewal)
    }

    /// Returns whether as many writes wait for a reply as may.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() + self.observed.len() >= MAX_PENDING
    }

    /// Begins a write. Returns the amount that it adds; `dice` is random.
    pub(super) fn begin(&mut self, dice: u64, kind: WriteKind) -> u64 {
        let is_first = self.last_value() == 0 && self.pending.is_empty();
        let amount = (SMALLEST | (dice & (SMALLEST - 1))) + if is_first { BASE } else { 0 };
        self.pending.push(Increment::new(amount, kind));
        amount
    }

    /// Ends a write that was not executed, or whose reply was read. A write with a lost reply stays pending.
    pub(super) fn cancel(&mut self, amount: u64) {
        self.observed.retain(|write| write.amount != amount);
        self.pending.retain(|increment| increment.amount != amount || increment.is_lost);
    }

    /// Records that no reply to a write will come.
    pub(super) fn record_lost_reply(&mut self, amount: u64) {
        self.pending
            .iter_mut()
            .filter(|increment| increment.amount == amount)
            .for_each(|increment| increment.is_lost = true);
    }

    /// Returns whether the last value contains a write whose reply has not come yet.
    pub(super) fn has_observed(&self, amount: u64) -> bool {
        self.observed.iter().any(|write| write.amount == amount)
    }

    /// Makes observed writes pending again: they may be lost, which their replies will show.
    pub(super) fn forget_observed(&mut self) {
        let observed = self.observed.drain(..).map(|increment| Increment { may_be_counted: true, ..increment });
        self.pending.extend(observed);
    }

    /// Returns whether the session saw the counter at this value.
    pub(super) fn has_had(&self, value: u64) -> bool {
        self.values.iter().any(|known| known.value == value)
    }

    /// Returns whether a node with this value contains all that belongs to the last value: the values are equal, or only pending
    /// writes were added.
    pub(super) fn contains_all_at(&self, value: u64) -> bool {
        value == self.last_value() || self.pending_in(value).is_some()
    }

    /// Records that a node has this value. If it adds only pending writes, it becomes the last value.
    pub(super) fn observe(&mut self, value: u64) {
        if let Some(added) = self.pending_in(value) {
            self.apply(added);
            self.push_value(value);
        }
    }

    /// Records the reply to a write, which brought the counter to `value`. Returns which earlier writes the server contained.
    pub(super) fn record_answer(&mut self, amount: u64, value: u64) -> Earlier {
        if self.has_observed(amount) || self.has_had(value) {
            // A later value contains the write already.
            self.cancel(amount);
            return Earlier::All;
        }
        if self.pending_in(value).is_some_and(|added| self.includes(added, amount)) {
            self.observe(value);
            return Earlier::All;
        }
        let before = value.saturating_sub(amount);
        if self.continue_without_renewals(before) {
            self.observe(value);
            self.cancel(amount);
            return Earlier::AllButRenewals;
        }
        let own = self
            .pending
            .iter()
            .position(|increment| increment.amount == amount)
            .map(|index| self.pending.remove(index));
        if own.is_some_and(|own| own.may_be_counted) && value < self.last_value() {
            return Earlier::Unknown;
        }
        if let Some(own) = own {
            self.restart(before);
            self.pending.push(own);
            self.observe(value);
            self.cancel(amount);
        } else {
            self.restart(value);
        }
        Earlier::Other(before)
    }

    /// Continues from a value that lacks only renewals, if it does. Returns whether it does.
    pub(super) fn continue_without_renewals(&mut self, value: u64) -> bool {
        let rest = value.checked_sub(self.required).filter(|_| self.required > 0);
        let pending = self.pending.len();
        let mut increments = std::mem::take(&mut self.pending);
        increments.append(&mut self.renewals);
        let Some(kept) = rest.and_then(|rest| find_sum(rest, &increments)) else {
            self.renewals = increments.split_off(pending);
            self.pending = increments;
            return false;
        };
        let (written, required) = (self.written, self.required);
        self.restart(value);
        (self.written, self.required) = (written, required);
        for (index, increment) in increments.into_iter().enumerate() {
            match (kept >> index & 1 == 1, index < pending) {
                (true, true) => self.add(increment),
                (true, false) => self.renewals.push(increment),
                (false, true) => self.pending.push(Increment { may_be_counted: true, ..increment }),
                (false, false) => {}
            }
        }
        true
    }

    /// Restarts at a value that does not contain all that belongs to the last one.
    pub(super) fn restart(&mut self, value: u64) {
        self.values.clear();
        self.values.push_back(KnownValue { value, written: 0 });
        // Which writes it contains is not known, so a node must contain all of it.
        (self.written, self.required) = (0, value);
        self.renewals.clear();
        // The value may contain the writes without a reply.
        self.forget_observed();
        self.pending.iter_mut().for_each(|increment| increment.may_be_counted = true);
    }

    /// Requires the renewals too, because the last value stands for something else that the session has seen.
    pub(super) fn require_all(&mut self) {
        self.required += self.renewals.drain(..).map(|renewal| renewal.amount).sum::<u64>();
    }

    /// Returns whether this value proves that writes are lost: the key was never deleted, and the value is lower than what the
    /// writes add, or is an earlier one with fewer writes.
    pub(super) fn proves_loss(&self, value: u64) -> bool {
        let known = self.values.iter().find(|known| known.value == value);
        (BASE..self.written).contains(&value) || (value > 0 && known.is_some_and(|known| known.written < self.written))
    }

    /// Returns whether this value lacks only renewals. Pending writes may have been added.
    pub(super) fn lacks_only_renewals(&self, value: u64) -> bool {
        let added = [self.renewals.as_slice(), &self.pending].concat();
        self.required > 0 && value.checked_sub(self.required).is_some_and(|rest| find_sum(rest, &added).is_some())
    }

    /// Appends a value, and forgets the oldest one if there are too many.
    fn push_value(&mut self, value: u64) {
        if self.values.len() == MAX_VALUES {
            self.values.pop_front();
        }
        self.values.push_back(KnownValue { value, written: self.written });
    }

    /// Returns whether a write is among the pending ones in `added`, which has a bit for each.
    fn includes(&self, added: u32, amount: u64) -> bool {
        self.pending.iter().enumerate().any(|(index, increment)| increment.amount == amount && added >> index & 1 == 1)
    }

    /// Adds a write that the value contains.
    fn add(&mut self, increment: Increment) {
        if !increment.is_lost {
            self.observed.push(increment);
        }
        match increment.kind {
            WriteKind::Renewal => self.renewals.push(increment),
            WriteKind::Atomic | WriteKind::Stepwise => {
                self.written += increment.amount;
                self.required += increment.amount;
            }
        }
    }

    /// Adds the pending writes in `added`, which has a bit for each.
    fn apply(&mut self, added: u32) {
        let mut index = 0;
        let taken: Vec<Increment> = self
            .pending
            .extract_if(.., |_| {
                index += 1;
                added >> (index - 1) & 1 == 1
            })
            .collect();
        taken.into_iter().for_each(|increment| self.add(increment));
        // The first write of a counter stands for all that the session had seen before.
        if self.required == 0 {
            self.require_all();
        }
        while self.renewals.len() > MAX_RENEWALS {
            self.required += self.renewals.remove(0).amount;
        }
    }

    /// Returns which pending writes make the difference between `value` and the last value, a bit for each.
    fn pending_in(&self, value: u64) -> Option<u32> {
        let rest = value.checked_sub(self.last_value()).filter(|rest| *rest > 0)?;
        find_sum(rest, &self.pending)
    }
}

/// Returns which amounts add up to `rest`, a bit for each. Only one combination does, because the amounts are random.
fn find_sum(rest: u64, increments: &[Increment]) -> Option<u32> {
    if rest == 0 {
        return Some(0);
    }
    let (first, others) = increments.split_first().filter(|_| rest >= SMALLEST)?;
    let with = rest.checked_sub(first.amount).and_then(|rest| find_sum(rest, others)).map(|rest| rest << 1 | 1);
    with.or_else(|| find_sum(rest, others).map(|rest| rest << 1))
}

#[cfg(test)]
mod tests;
