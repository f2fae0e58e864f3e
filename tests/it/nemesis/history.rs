//! What is true: which values the masters after a promotion have, and whether what a session was told agrees with it.
//!
//! Every promotion begins a reign. What the new master had then is recorded in one transaction with the promotion, and the
//! number of the reign is the first thing that is written in it: so every read tells the reign of what it read, and whether
//! a value of one reign is contained in another one is known, not guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

use redis_replicated::ErrorKind;

/// The keys that everybody reads, all of them each time: nothing that a read covers is left unseen. Each holds a number that
/// only grows, and has one writer.
pub const KEYS: [&str; 11] =
    ["reign", "shared", "stray", "own:0", "own:1", "own:2", "own:3", "own:4", "naive:0", "naive:1", "naive:2"];
pub const REIGN: usize = 0;
pub const SHARED: usize = 1;
pub const STRAY: usize = 2;
pub const FIRST_OWN: usize = 3;
pub const FIRST_NAIVE: usize = 8;

/// What one read returned, key by key.
pub type Values = [u64; KEYS.len()];

/// A value that a session has written or read, and the reign in which it was there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Floor {
    pub key: usize,
    pub value: u64,
    pub reign: u64,
    /// How often the session had been told of a loss when the call began.
    pub told: u64,
}

/// A read that came out of another reign than what the session had seen before, or with less, or after a telling.
#[derive(Debug)]
pub struct Crossing {
    pub player: &'static str,
    /// What the read had to contain.
    pub binding: Vec<Floor>,
    /// What was seen before the telling.
    pub excused: Vec<Floor>,
    /// What the session was told since its last read.
    pub tellings: Vec<Telling>,
    /// The calls of other threads with this session that were under way when it ended.
    pub beside: Vec<u64>,
    pub read: Values,
}

/// A session was told of a loss.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Telling {
    /// Which call of the session.
    pub call: u64,
    pub kind: ErrorKind,
    /// What the session had written and read, or was writing.
    pub seen: Vec<Floor>,
    /// The calls of other threads that were under way.
    pub beside: Vec<u64>,
}

/// What is wrong with a crossing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wrong {
    /// It read less than it had written or read, though nothing of that was lost.
    Backward(Floor),
    /// What it had written or read was lost, and nobody told.
    Untold(Floor),
    /// It was told of a loss, and nothing was lost.
    FalseAlarm,
}

#[derive(Debug)]
struct Reign {
    parent: u64,
    at_start: Values,
    /// Its number was written a moment after the promotion, and nothing else in between: until then it looks like its parent.
    is_late: bool,
}

/// All reigns of a run.
#[derive(Debug, Default)]
pub struct Reigns {
    all: Mutex<BTreeMap<u64, Reign>>,
    /// Something that nobody reads moves the offsets too, so that a session may be told that it is lost.
    hear_more: bool,
}

impl Reigns {
    /// Of servers whose offsets are moved also by what nobody reads.
    pub fn with_more() -> Self {
        Self { hear_more: true, ..Self::default() }
    }

    /// Records that a reign began with these values, read just before its number was written.
    pub fn begin(&self, reign: u64, at_start: Values) {
        self.insert(reign, at_start, false);
    }

    /// Records a reign whose number was written late.
    pub fn begin_late(&self, reign: u64, at_start: Values) {
        self.insert(reign, at_start, true);
    }

    fn insert(&self, reign: u64, at_start: Values, is_late: bool) {
        self.all.lock().unwrap().insert(reign, Reign { parent: at_start[REIGN], at_start, is_late });
    }

    /// Says how the reigns of a crossing began.
    pub fn around(&self, crossing: &Crossing) -> String {
        let seen =
            crossing.binding.iter().chain(&crossing.excused).map(|floor| floor.reign).chain([crossing.read[REIGN]]);
        let (first, last) = seen.fold((u64::MAX, 0), |(first, last), reign| (first.min(reign), last.max(reign)));
        let reigns = self.all.lock().unwrap();
        reigns.range(first..=last).map(|(number, reign)| format!("{number} {reign:?}; ")).collect()
    }

    /// Tells whether a reign contains a value of another one.
    fn contains(&self, floor: Floor, reign: u64) -> bool {
        let reigns = self.all.lock().unwrap();
        let had = |reign: u64| reigns.get(&reign).is_some_and(|began| floor.value <= began.at_start[floor.key]);
        let parent = |reign: u64| reigns.get(&reign).map(|began| began.parent);
        let ancestors: Vec<u64> = std::iter::successors(Some(reign), |reign| parent(*reign)).collect();
        // Down to where the two lines part, and up again.
        let (mut from, mut to) = (floor.reign, reign);
        while !ancestors.contains(&from) {
            if !had(from) {
                return false;
            }
            let Some(before) = parent(from) else { return false };
            from = before;
        }
        while to != from {
            if !had(to) {
                return false;
            }
            let Some(before) = parent(to) else { return false };
            to = before;
        }
        true
    }

    /// Says what is wrong with the crossings of a session, once all reigns are known.
    ///
    /// Of two calls that overlap, nobody can say which was first: where one is told, the other one may be after that.
    pub fn judge<'c>(&self, crossings: &'c [Crossing]) -> Vec<(Wrong, &'c Crossing)> {
        let told: BTreeSet<u64> =
            crossings.iter().flat_map(|crossing| &crossing.tellings).map(|told| told.call).collect();
        let beside = |crossing: &Crossing| crossing.beside.iter().copied().filter(|call| told.contains(call)).collect();
        let mut wrong = Vec::new();
        let mut justified = BTreeSet::<u64>::new();
        for crossing in crossings {
            let told_beside: Vec<u64> = beside(crossing);
            for found in self.judge_alone(crossing) {
                if matches!(found, Wrong::Untold(_)) && !told_beside.is_empty() {
                    justified.extend(&told_beside);
                } else {
                    wrong.push((found, crossing));
                }
            }
        }
        let is_justified = |crossing: &Crossing| crossing.tellings.iter().any(|told| justified.contains(&told.call));
        wrong.retain(|(found, crossing)| *found != Wrong::FalseAlarm || !is_justified(crossing));
        wrong
    }

    /// Says what is wrong with a crossing. Where a read may come from a reign whose number was written late, in the light that
    /// is best for it.
    fn judge_alone(&self, crossing: &Crossing) -> Vec<Wrong> {
        let lines = self.lines_of(&crossing.read).into_iter();
        lines.map(|reign| self.judge_in(crossing, reign)).min_by_key(Vec::len).unwrap_or_default()
    }

    /// Returns the reigns of which these values may be.
    fn lines_of(&self, read: &Values) -> Vec<u64> {
        let reigns = self.all.lock().unwrap();
        let fits = |reign: &Reign| {
            reign.is_late
                && reign.parent == read[REIGN]
                && read.iter().zip(&reign.at_start).all(|(had, then)| had <= then)
        };
        let late = reigns.iter().filter(|(_, reign)| fits(reign)).map(|(number, _)| *number);
        [read[REIGN]].into_iter().chain(late).collect()
    }

    /// The same, if what was read is of this reign.
    fn judge_in(&self, crossing: &Crossing, reign: u64) -> Vec<Wrong> {
        let Crossing { binding, excused, tellings, read, .. } = crossing;
        let is_lost = |floor: &&Floor| !self.contains(**floor, reign);
        let mut wrong: Vec<Wrong> = binding.iter().filter(is_lost).map(|floor| Wrong::Untold(*floor)).collect();
        // What was not lost has to be there, whatever was told.
        let all = || binding.iter().chain(excused);
        let is_less = |floor: &&Floor| read[floor.key] < floor.value && !is_lost(floor);
        wrong.extend(all().filter(is_less).map(|floor| Wrong::Backward(*floor)));
        let is_loss = |told: &&Telling| match told.kind {
            ErrorKind::WriteLost => true,
            ErrorKind::HistoryLost => !self.hear_more,
            _ => false,
        };
        let of_loss = || tellings.iter().filter(is_loss);
        let mut told_of = all().chain(of_loss().flat_map(|told| &told.seen));
        if of_loss().next().is_some() && !told_of.any(|floor| is_lost(&floor)) {
            wrong.push(Wrong::FalseAlarm);
        }
        wrong
    }
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { player, binding, excused, tellings, read, .. } = self;
        let tellings: Vec<_> = tellings.iter().map(|told| (told.kind, told.call)).collect();
        let line = |floors: &[Floor]| -> Vec<String> {
            let name = |floor: &Floor| format!("{}={} in {}", KEYS[floor.key], floor.value, floor.reign);
            floors.iter().map(name).collect()
        };
        write!(
            f,
            "{player}, told {tellings:?}, read {read:?} after {:?}, before that {:?}",
            line(binding),
            line(excused)
        )
    }
}

#[test]
fn what_a_reign_contains_is_known() {
    let reigns = Reigns::default();
    let began = |parent: u64, shared: u64| {
        let mut values = Values::default();
        (values[REIGN], values[SHARED]) = (parent, shared);
        values
    };
    // 1 – 2 – 4, and 3 went its own way from 1.
    for (reign, parent, shared) in [(1, 0, 0), (2, 1, 10), (3, 1, 20), (4, 2, 30)] {
        reigns.begin(reign, began(parent, shared));
    }
    let contains = |value, from, to| reigns.contains(Floor { key: SHARED, value, reign: from, told: 0 }, to);
    assert!(contains(10, 1, 2) && !contains(11, 1, 2) && contains(99, 2, 2));
    assert!(contains(30, 2, 4) && !contains(31, 2, 4) && !contains(11, 1, 4));
    assert!(contains(10, 3, 4) && !contains(20, 3, 4) && contains(20, 3, 1) && !contains(21, 3, 1));
    let floor = Floor { key: SHARED, value: 11, reign: 1, told: 0 };
    let crossing = |tellings: &[ErrorKind], value: u64, reign: u64| Crossing {
        player: "test",
        binding: if tellings.is_empty() { vec![Floor { value, ..floor }] } else { Vec::new() },
        excused: if tellings.is_empty() { Vec::new() } else { vec![Floor { value, ..floor }] },
        tellings: tellings
            .iter()
            .map(|kind| Telling { call: 5, kind: *kind, seen: Vec::new(), beside: Vec::new() })
            .collect(),
        beside: Vec::new(),
        read: began(reign, 9),
    };
    let judge = |tellings: &[ErrorKind], value, reign| reigns.judge_alone(&crossing(tellings, value, reign));
    assert_eq!(judge(&[], 9, 2), []);
    assert_eq!(judge(&[], 10, 2), [Wrong::Backward(Floor { value: 10, ..floor })]);
    assert_eq!(judge(&[], 11, 2), [Wrong::Untold(floor)]);
    assert_eq!(judge(&[ErrorKind::WriteLost], 11, 2), []);
    assert_eq!(judge(&[ErrorKind::WriteLost], 9, 2), [Wrong::FalseAlarm]);
    assert_eq!(judge(&[ErrorKind::Unproven], 9, 2), []);
    // A thread that reads while the other one is told.
    let untold = Crossing { beside: vec![5], ..crossing(&[], 11, 2) };
    let told = crossing(&[ErrorKind::WriteLost], 9, 2);
    assert_eq!(reigns.judge(&[untold, told]).len(), 0);
    assert_eq!(reigns.judge(&[crossing(&[], 11, 2), crossing(&[ErrorKind::WriteLost], 9, 2)]).len(), 2);
}

#[test]
fn a_reign_whose_number_comes_late_looks_like_its_parent() {
    let reigns = Reigns::default();
    let values = |reign: u64, shared: u64| {
        let mut values = Values::default();
        (values[REIGN], values[SHARED]) = (reign, shared);
        values
    };
    reigns.begin(1, Values::default());
    reigns.begin_late(2, values(1, 10));
    let floor = |value| Floor { key: SHARED, value, reign: 1, told: 0 };
    let judge = |seen: u64, told: bool, read: u64| {
        let telling = Telling { call: 5, kind: ErrorKind::WriteLost, seen: Vec::new(), beside: Vec::new() };
        let (binding, excused) = if told { (vec![], vec![floor(seen)]) } else { (vec![floor(seen)], vec![]) };
        let tellings = if told { vec![telling] } else { Vec::new() };
        let crossing =
            Crossing { player: "test", binding, excused, tellings, beside: Vec::new(), read: values(1, read) };
        reigns.judge_alone(&crossing)
    };
    assert_eq!(judge(15, true, 10), [], "it was lost when the next reign began");
    assert_eq!(judge(15, true, 12).len(), 2, "that is none of the next reign");
    assert_eq!(judge(9, true, 10), [Wrong::FalseAlarm]);
    assert_eq!(judge(15, false, 10).len(), 1, "nobody told");
}
