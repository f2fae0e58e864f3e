//! The value of a fence: a sum that says which writes of its session a node contains.
//!
//! Each write adds an amount of its own to the counter, drawn at random and never used again. A counter that stands at the sum
//! of some amounts was raised by exactly those writes. So it does not matter how often servers lose writes, start again from
//! an old snapshot or evict the key: a value that was seen once is never reached by other writes.

use std::collections::VecDeque;

/// The first write of an epoch adds this as well: a counter below it was deleted and began anew.
const BASE: u64 = 1 << 62;
/// Amounts have this bit and any below it.
const SMALLEST: u64 = 1 << 43;
/// From here on the next epoch begins, long before the counter overflows.
const HIGHEST: u64 = BASE + (1 << 61);
/// What a token says beside a value has this bit if also what only raised the counter has to be there.
const ALL_NEEDED: u64 = 1 << 63;
/// So many writes may be without a reply at a time: each of them doubles the values that are to be told apart.
const UNDER_WAY: usize = 16;
/// So many of those may have been lost: then the next epoch begins.
const LOST: usize = 4;
/// So many writes only for the counter are told from others: they are seconds apart.
const TOUCHES: usize = 4;
/// So many values that the counter had are remembered, for reads that began when it had them.
const REMEMBERED: usize = 64;

/// A counter, and what the session knows of it. Nobody else raises it.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    pub(super) name: u64,
    /// The values that the counter had, the last one at the end. Whatever contains a later one contains the earlier ones.
    chain: VecDeque<Place>,
    /// The writes that may have raised it further.
    under_way: Vec<Rise>,
    /// Those that did, as a value shows, and whose replies are awaited still.
    found: Vec<Rise>,
    /// How much of the last value was written, and how much of it a node has to have: what was written, and what stands for
    /// other things. The rest are the last few writes that did nothing but raise the counter.
    written: u64,
    needed: u64,
    touches: Vec<Rise>,
    /// Others know of the value: it has to stay.
    pub(super) is_told: bool,
}

/// A value of the counter, and how much of it was written.
#[derive(Clone, Copy, Debug)]
struct Place {
    value: u64,
    written: u64,
}

/// A write of which no reply has come.
#[derive(Clone, Copy, Debug)]
struct Rise {
    amount: u64,
    /// No reply will come. It may still be executed.
    is_lost: bool,
    /// It began before the counter went on at another value, which may contain it.
    is_unsure: bool,
    /// A read may have shown what it does, beside which nothing told of this counter.
    is_read: bool,
    kind: Kind,
}

impl Rise {
    fn new(amount: u64, kind: Kind) -> Self {
        Self { amount, is_lost: false, is_unsure: false, is_read: false, kind }
    }
}

/// What a write does beside raising the counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It is applied in one step with the raise.
    Whole,
    /// It is applied bit by bit, and raises the counter at its end: until then nothing tells how much of it a node has.
    Split,
    /// Nothing: if it is lost, nobody has to know.
    Touch,
}

/// What the reply to a write says of the writes before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Before {
    /// The server contained everything that is known of this counter.
    All,
    /// It contained everything but writes that did nothing else than raise the counter.
    Kept,
    /// It stood at this value, at which the session never saw it.
    Other(u64),
    /// Nobody can tell.
    Unknown,
}

impl Epoch {
    pub(super) fn new(name: u64) -> Self {
        Self {
            name,
            chain: VecDeque::from([Place { value: 0, written: 0 }]),
            under_way: Vec::new(),
            found: Vec::new(),
            written: 0,
            needed: 0,
            touches: Vec::new(),
            is_told: false,
        }
    }

    /// One that a token told of, at this value, beside which it said this.
    pub(super) fn resumed(name: u64, value: u64, told: Option<u64>) -> Self {
        let mut epoch = Self::new(name);
        epoch.restart(value);
        (epoch.is_told, epoch.written) = (true, value);
        if let Some(told) = told.filter(|told| *told & !ALL_NEEDED < value) {
            epoch.written = told & !ALL_NEEDED;
            if told & ALL_NEEDED == 0 {
                epoch.needed = told;
                epoch.touches = vec![Rise::new(value - told, Kind::Touch)];
            }
        }
        epoch
    }

    /// Returns what a token says beside the last value, if there is something to say: how much of it was written.
    pub(super) fn told(&self) -> Option<u64> {
        // There is room for one number: where not all that is needed was written, all of the value is needed.
        let all_needed = || Some(self.written | ALL_NEEDED).filter(|_| self.written < self.top());
        if self.written == self.needed { Some(self.needed).filter(|needed| *needed < self.top()) } else { all_needed() }
    }

    /// The last value of the counter that is known; 0: none yet.
    pub(super) fn top(&self) -> u64 {
        self.chain.back().map_or(0, |place| place.value)
    }

    /// Returns whether no write may join it any more.
    pub(super) fn is_over(&self) -> bool {
        let lost = self.under_way.iter().filter(|rise| rise.is_lost).count();
        self.is_told || self.top() > HIGHEST || lost >= LOST
    }

    /// Returns whether the reply to a write is awaited.
    pub(super) fn is_raised(&self) -> bool {
        self.under_way.iter().any(|rise| !rise.is_lost)
    }

    /// Returns whether a write is under way of which a node may have a part, or which a read may have shown.
    pub(super) fn is_hidden(&self) -> bool {
        self.under_way.iter().any(|rise| !rise.is_lost && (rise.kind == Kind::Split || rise.is_read))
    }

    /// A read beside which nothing told of this counter may have shown what is under way.
    pub(super) fn read(&mut self) {
        self.under_way.iter_mut().for_each(|rise| rise.is_read = true);
    }

    /// Returns whether this write, of which no value has told, does nothing but raise the counter.
    pub(super) fn is_touch(&self, amount: u64) -> bool {
        self.under_way.iter().any(|rise| rise.amount == amount && rise.kind == Kind::Touch)
    }

    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() + self.found.len() >= UNDER_WAY
    }

    /// A write begins. Returns what it is to add; `dice`: any number.
    pub(super) fn begin(&mut self, dice: u64, kind: Kind) -> u64 {
        let is_first = self.top() == 0 && self.under_way.is_empty();
        let amount = (SMALLEST | (dice & (SMALLEST - 1))) + if is_first { BASE } else { 0 };
        self.under_way.push(Rise::new(amount, kind));
        amount
    }

    /// A write was not executed, or its reply was read; unless it was lost before, which stays.
    pub(super) fn cancel(&mut self, amount: u64) {
        self.found.retain(|found| found.amount != amount);
        self.under_way.retain(|rise| rise.amount != amount || rise.is_lost);
    }

    /// No reply to a write will come.
    pub(super) fn lose(&mut self, amount: u64) {
        self.under_way.iter_mut().filter(|rise| rise.amount == amount).for_each(|rise| rise.is_lost = true);
    }

    /// Returns whether the top contains a write whose reply is awaited still.
    pub(super) fn has_found(&self, amount: u64) -> bool {
        self.found.iter().any(|found| found.amount == amount)
    }

    /// What was found may be gone: the replies will tell.
    pub(super) fn forget_found(&mut self) {
        let found = self.found.drain(..).map(|rise| Rise { is_unsure: true, ..rise });
        self.under_way.extend(found);
    }

    /// Returns whether the session saw the counter at this value.
    pub(super) fn had(&self, value: u64) -> bool {
        self.chain.iter().any(|place| place.value == value)
    }

    /// Returns whether a node on which the counter stands at `value` contains all that the top does: it stands there, or only
    /// writes of the session that are under way were added.
    pub(super) fn is_at_top(&self, value: u64) -> bool {
        value == self.top() || self.added(value).is_some()
    }

    /// The counter was seen at a value that is at the top: from now on that is the top.
    pub(super) fn learn(&mut self, value: u64) {
        if let Some(added) = self.added(value) {
            self.take(added);
            self.remember(value);
        }
    }

    /// A write was answered: it brought the counter to `value`. Returns what the server contained before.
    pub(super) fn answered(&mut self, amount: u64, value: u64) -> Before {
        if self.has_found(amount) || self.had(value) {
            // A later value was explained by it already.
            self.cancel(amount);
            return Before::All;
        }
        if self.added(value).is_some_and(|added| self.contains(added, amount)) {
            self.learn(value);
            return Before::All;
        }
        let before = value.saturating_sub(amount);
        if self.keep(before) {
            self.learn(value);
            self.cancel(amount);
            return Before::Kept;
        }
        let own =
            self.under_way.iter().position(|rise| rise.amount == amount).map(|place| self.under_way.remove(place));
        if own.is_some_and(|own| own.is_unsure) && value < self.top() {
            return Before::Unknown;
        }
        if let Some(own) = own {
            self.restart(before);
            self.under_way.push(own);
            self.learn(value);
            self.cancel(amount);
        } else {
            self.restart(value);
        }
        Before::Other(before)
    }

    /// The counter stands where only writes are missing that did nothing but raise it: it goes on from there. Returns whether
    /// that is so.
    pub(super) fn keep(&mut self, value: u64) -> bool {
        let rest = value.checked_sub(self.needed).filter(|_| self.needed > 0);
        let under_way = self.under_way.len();
        let mut rises = std::mem::take(&mut self.under_way);
        rises.append(&mut self.touches);
        let Some(kept) = rest.and_then(|rest| explain(rest, &rises)) else {
            self.touches = rises.split_off(under_way);
            self.under_way = rises;
            return false;
        };
        let (written, needed) = (self.written, self.needed);
        self.restart(value);
        (self.written, self.needed) = (written, needed);
        for (place, rise) in rises.into_iter().enumerate() {
            match (kept >> place & 1 == 1, place < under_way) {
                (true, true) => self.count(rise),
                (true, false) => self.touches.push(rise),
                (false, true) => self.under_way.push(Rise { is_unsure: true, ..rise }),
                (false, false) => {}
            }
        }
        true
    }

    /// The counter stands at a value that does not go on from the top: it goes on from there.
    pub(super) fn restart(&mut self, value: u64) {
        self.chain.clear();
        self.chain.push_back(Place { value, written: 0 });
        // What it is made of is not known: only that it has to be there.
        (self.written, self.needed) = (0, value);
        self.touches.clear();
        // Whether those writes are in it, nobody knows.
        self.forget_found();
        self.under_way.iter_mut().for_each(|rise| rise.is_unsure = true);
    }

    /// The last value stands for more than its writes: also what only raised it has to be there.
    pub(super) fn pin(&mut self) {
        self.needed += self.touches.drain(..).map(|touch| touch.amount).sum::<u64>();
    }

    /// Returns whether a counter at `value` proves that writes are lost: it was never deleted, and is lower than what they add,
    /// or stands where fewer of them were.
    pub(super) fn proves_loss(&self, value: u64) -> bool {
        let stood = self.chain.iter().find(|place| place.value == value);
        (BASE..self.written).contains(&value) || (value > 0 && stood.is_some_and(|place| place.written < self.written))
    }

    /// Returns whether a counter at `value` lacks nothing but writes that did nothing else than raise it. Others, which are
    /// under way, may have been added.
    pub(super) fn keeps_all(&self, value: u64) -> bool {
        let added = [self.touches.as_slice(), &self.under_way].concat();
        self.needed > 0 && value.checked_sub(self.needed).is_some_and(|rest| explain(rest, &added).is_some())
    }

    fn remember(&mut self, value: u64) {
        if self.chain.len() == REMEMBERED {
            self.chain.pop_front();
        }
        self.chain.push_back(Place { value, written: self.written });
    }

    fn contains(&self, added: u32, amount: u64) -> bool {
        self.under_way.iter().enumerate().any(|(place, rise)| rise.amount == amount && added >> place & 1 == 1)
    }

    /// The value contains this write.
    fn count(&mut self, rise: Rise) {
        if !rise.is_lost {
            self.found.push(rise);
        }
        match rise.kind {
            Kind::Touch => self.touches.push(rise),
            Kind::Whole | Kind::Split => {
                self.written += rise.amount;
                self.needed += rise.amount;
            }
        }
    }

    /// Takes these writes for executed.
    fn take(&mut self, added: u32) {
        let mut place = 0;
        let taken: Vec<Rise> = self
            .under_way
            .extract_if(.., |_| {
                place += 1;
                added >> (place - 1) & 1 == 1
            })
            .collect();
        taken.into_iter().for_each(|rise| self.count(rise));
        // The first one of all stands for what was seen before.
        if self.needed == 0 {
            self.pin();
        }
        while self.touches.len() > TOUCHES {
            self.needed += self.touches.remove(0).amount;
        }
    }

    /// Returns which of the writes under way make the difference, a bit for each.
    fn added(&self, value: u64) -> Option<u32> {
        let rest = value.checked_sub(self.top()).filter(|rest| *rest > 0)?;
        explain(rest, &self.under_way)
    }
}

/// Returns which amounts add up to `rest`. There is only one way, as they are drawn at random.
fn explain(rest: u64, rises: &[Rise]) -> Option<u32> {
    if rest == 0 {
        return Some(0);
    }
    let (first, others) = rises.split_first().filter(|_| rest >= SMALLEST)?;
    let with = rest.checked_sub(first.amount).and_then(|rest| explain(rest, others)).map(|rest| rest << 1 | 1);
    with.or_else(|| explain(rest, others).map(|rest| rest << 1))
}

#[cfg(test)]
mod tests;
