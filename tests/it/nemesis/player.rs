//! One session and what it must be able to read: the model, and the threads that play it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::{Error, ErrorKind, ReplicatedClient, Result, redis};

use super::history::{Crossing, FIRST_OWN, Floor, KEYS, REIGN, Telling, Values};

/// What the threads of a run have done so far; the nemesis waits for it.
#[derive(Debug, Default)]
pub struct Progress {
    pub stop: AtomicBool,
    /// The pause of each thread after each call: other tests run beside a short run.
    pub pause: Duration,
    /// Reads that sessions were given.
    pub accepted: AtomicU64,
    /// Writes that were acknowledged.
    pub written: AtomicU64,
}

impl Progress {
    /// Tells whether there is to be another call.
    pub fn goes_on(&self) -> bool {
        if !self.pause.is_zero() {
            thread::sleep(self.pause);
        }
        !self.stop.load(Ordering::SeqCst)
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Tally {
    pub reads: u64,
    pub writes: u64,
    /// Writes that went to a master that had come back empty.
    pub on_emptied: u64,
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
        self.on_emptied += other.on_emptied;
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
struct Before {
    call: u64,
    floors: Vec<Floor>,
    told: u64,
}

impl Model {
    /// Of a session that promises only what it writes itself, to these of the own keys.
    pub fn of_own(own: &[usize]) -> Self {
        Self { only: Some(own.iter().map(|own| FIRST_OWN + own).collect()), ..Self::default() }
    }

    fn judges(&self, key: usize) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&key))
    }

    fn begin(&self) -> Before {
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

    fn wrote(&self, before: &Before, key: usize, value: u64, reign: u64) {
        let mut seen = self.end_of(before);
        seen.tally.writes += 1;
        seen.tally.on_emptied += u64::from(reign == 0);
        seen.floors.retain(|floor| (floor.key, floor.reign, floor.told) != (key, reign, before.told));
        let floor = Floor { key, value, reign, told: before.told };
        seen.floors.push(floor);
        seen.written.insert(before.call, floor);
    }

    fn read(&self, player: &'static str, before: Before, read: Values) {
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
    fn forget(&self, before: &Before) {
        drop(self.end_of(before));
    }

    fn failed(&self, before: &Before, error: &Error) {
        let mut seen = self.end_of(before);
        match error.kind() {
            // Also after a write that met a demotion: that is no telling.
            ErrorKind::Unproven if error.may_have_executed() => {}
            ErrorKind::WriteLost | ErrorKind::HistoryLost => seen.tally.lost += 1,
            ErrorKind::Unproven => seen.tally.unproven += 1,
            kind => *seen.tally.errors.entry(format!("{kind:?}")).or_default() += 1,
        }
        if error.may_have_executed() {
            seen.tally.in_doubt += 1;
        } else if matches!(error.kind(), ErrorKind::WriteLost | ErrorKind::HistoryLost | ErrorKind::Unproven) {
            seen.told += 1;
            let telling = Telling {
                call: before.call,
                kind: error.kind(),
                seen: seen.floors.clone(),
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

/// A thread that writes a key of its own and reads all, with a session.
pub struct Player<'a> {
    pub name: &'static str,
    /// Which of the own keys is its own.
    pub own: usize,
    /// Without a session.
    pub client: ReplicatedClient,
    pub session: ReplicatedClient,
    pub model: &'a Model,
    pub progress: &'a Progress,
    /// The session is nobody else's: now and then it goes on as a token.
    pub travels: bool,
}

impl Player<'_> {
    pub fn play(mut self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut next = 0;
        while self.progress.goes_on() {
            if self.travels && rng.random_ratio(1, 300) {
                let text = self.session.token().unwrap().to_string();
                self.session = self.client.resume(&text.parse().unwrap());
            }
            if rng.random_ratio(1, 6) {
                next += 1;
                self.write(next, rng.random_range(0..3));
            } else {
                self.read(rng.random_range(0..8));
            }
        }
    }

    fn write(&self, value: u64, way: u32) {
        let (key, mut pipeline) = (FIRST_OWN + self.own, redis::pipe());
        pipeline.set(KEYS[key], value).ignore().get(KEYS[REIGN]);
        let before = self.model.begin();
        let written: Result<(Option<u64>,)> = match way {
            0 => self.session.query_pipeline(&pipeline),
            1 => self.session.query_pipeline(pipeline.atomic()),
            _ => pipeline.atomic().query(&mut self.session.connection()).map_err(ours),
        };
        match written {
            Ok((reign,)) => {
                // None at all: on a master that came back empty.
                self.model.wrote(&before, key, value, reign.unwrap_or(0));
                self.progress.written.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => self.model.failed(&before, &error),
        }
    }

    fn read(&self, way: u32) {
        let before = self.model.begin();
        let all = redis::cmd("MGET").arg(&KEYS).to_owned();
        let read: Result<Vec<Option<u64>>> = match way {
            0 => {
                let mut pipeline = redis::pipe();
                for key in KEYS {
                    pipeline.get(key);
                }
                // A replica may pass into the next reign on its way through.
                pipeline.get(KEYS[REIGN]);
                self.session.query_pipeline(&pipeline)
            }
            1 => all.query(&mut self.session.connection()).map_err(ours),
            _ => self.session.query(&all),
        };
        match read {
            // What it writes is of one reign or the other.
            Ok(values) if self.model.only.is_some() && values.last() != values.get(REIGN) && way == 0 => {
                self.model.forget(&before);
            }
            Ok(values) => {
                let values = std::array::from_fn(|key| values[key].unwrap_or(0));
                self.model.read(self.name, before, values);
                self.progress.accepted.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => self.model.failed(&before, &error),
        }
    }
}

/// The error of this crate inside one of the redis crate: nothing else is expected here.
fn ours(error: redis::RedisError) -> Error {
    Error::of(&error).unwrap_or_else(|| panic!("an answer of a server: {error}")).clone()
}
