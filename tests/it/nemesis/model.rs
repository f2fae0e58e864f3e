//! What one session has written and read, and what it has to read therefore.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use redis_replicated::{Error, ErrorKind};

use super::history::{Crossing, FIRST_OWN, Floor, REIGN, Telling, Values};

/// What was counted.
#[derive(Debug, Default)]
pub struct Tally {
    pub reads: u64,
    pub writes: u64,
    /// Writes that may or may not have been applied.
    pub in_doubt: u64,
    pub lost: u64,
    pub unproven: u64,
    /// Other errors, by kind.
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.in_doubt += other.in_doubt;
        self.lost += other.lost;
        self.unproven += other.unproven;
        other.errors.into_iter().for_each(|(kind, count)| *self.errors.entry(kind).or_default() += count);
    }
}

/// What a session has seen. Shared by the threads that share the session.
#[derive(Debug, Default)]
pub struct Model {
    seen: Mutex<Seen>,
    /// The session promises only what it wrote itself: of these keys.
    only: Option<Vec<usize>>,
}

#[derive(Debug, Default)]
struct Seen {
    floors: Vec<Floor>,
    /// How often it was told of a loss, and what since the last read.
    told: u64,
    tellings: Vec<Telling>,
    crossings: Vec<Crossing>,
    /// How many calls have begun, and which of them have not ended.
    calls: u64,
    under_way: Vec<u64>,
    /// What each call wrote.
    written: BTreeMap<u64, Floor>,
    tally: Tally,
}

/// What was seen when a call began.
#[derive(Debug)]
pub struct Before {
    call: u64,
    floors: Vec<Floor>,
    told: u64,
}

impl Model {
    /// Of a session that promises only what it writes itself, to these of the own keys.
    pub fn of_own(own: &[usize]) -> Self {
        Self { only: Some(own.iter().map(|own| FIRST_OWN + own).collect()), ..Self::default() }
    }

    /// Returns whether it promises what it writes only.
    pub fn is_of_own(&self) -> bool {
        self.only.is_some()
    }

    fn judges(&self, key: usize) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&key))
    }

    pub fn begin(&self) -> Before {
        let mut seen = self.seen.lock().unwrap();
        seen.calls += 1;
        let call = seen.calls;
        seen.under_way.push(call);
        Before { call, floors: seen.floors.clone(), told: seen.told }
    }

    fn end_of(&self, before: &Before) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap();
        seen.under_way.retain(|call| *call != before.call);
        seen
    }

    pub fn wrote(&self, before: &Before, key: usize, value: u64, reign: u64) {
        let mut seen = self.end_of(before);
        seen.tally.writes += 1;
        seen.floors.retain(|floor| (floor.key, floor.reign, floor.told) != (key, reign, before.told));
        let floor = Floor { key, value, reign, told: before.told };
        seen.floors.push(floor);
        seen.written.insert(before.call, floor);
    }

    pub fn read(&self, player: &'static str, before: Before, read: Values) {
        let mut seen = self.end_of(&before);
        seen.tally.reads += 1;
        seen.floors.retain(|floor| !before.floors.contains(floor));
        let floor = |(key, value): (usize, &u64)| Floor { key, value: *value, reign: read[REIGN], told: before.told };
        let floors: Vec<Floor> = read.iter().enumerate().filter(|(key, _)| self.judges(*key)).map(floor).collect();
        seen.floors.extend(floors);
        // What was seen before a telling may be what was lost.
        let told = seen.told;
        let (binding, excused): (Vec<_>, Vec<_>) = before.floors.into_iter().partition(|floor| floor.told == told);
        let is_plain = |floor: &Floor| floor.reign == read[REIGN] && floor.value <= read[floor.key];
        if !seen.tellings.is_empty() || !binding.iter().chain(&excused).all(is_plain) {
            let tellings = std::mem::take(&mut seen.tellings);
            let beside = seen.under_way.clone();
            seen.crossings.push(Crossing { player, binding, excused, tellings, beside, read });
        }
    }

    /// A read that cannot be judged.
    pub fn forget(&self, before: &Before) {
        drop(self.end_of(before));
    }

    pub fn failed(&self, before: &Before, error: &Error) {
        let mut seen = self.end_of(before);
        match error.kind() {
            // Also after a write that met a demotion: that is no telling.
            ErrorKind::Unproven if error.may_have_executed() => {}
            ErrorKind::WriteLost | ErrorKind::HistoryLost => seen.tally.lost += 1,
            ErrorKind::Unproven => seen.tally.unproven += 1,
            kind => {
                let code = error.as_redis().and_then(|cause| cause.code()).unwrap_or_default();
                *seen.tally.errors.entry(format!("{kind:?} {code}")).or_default() += 1;
            }
        }
        if error.may_have_executed() {
            seen.tally.in_doubt += 1;
        } else if matches!(error.kind(), ErrorKind::WriteLost | ErrorKind::HistoryLost | ErrorKind::Unproven) {
            seen.told += 1;
            let telling = Telling {
                call: before.call,
                kind: error.kind(),
                // Another thread may have been told meanwhile, and have gone on.
                seen: before.floors.iter().chain(&seen.floors).copied().collect(),
                beside: seen.under_way.clone(),
            };
            seen.tellings.push(telling);
        }
    }

    /// What is to be judged, and what was counted.
    pub fn end(self) -> (Vec<Crossing>, Tally) {
        let Seen { mut crossings, written, tally, .. } = self.seen.into_inner().unwrap();
        for telling in crossings.iter_mut().flat_map(|crossing| &mut crossing.tellings) {
            // What another thread was writing when this one was told.
            telling.seen.extend(telling.beside.iter().filter_map(|call| written.get(call)).copied());
        }
        (crossings, tally)
    }
}
