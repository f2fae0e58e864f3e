//! What is counted of calls: how many there were, how they failed, and how late they were back.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::failure::{COLUMNS, Failure};
use super::lateness::{GRACE, Late, Lateness};

/// A call that is this late does not come back at all.
const LOST: Duration = Duration::from_secs(15);
/// A call that may take as long as it likes is over by then: what it waits for comes all the time.
const LONGEST: Duration = Duration::from_secs(60);
/// A machine that stands still for so long explains a failure.
const LONG_STALL: Duration = Duration::from_millis(300);
/// How much of what is wrong is kept as text.
const KEPT: usize = 30;
/// So many events are shown beside it.
const EVENTS: usize = 3;

/// All that is counted in a run. Each thread that calls has a slot of its own.
#[derive(Debug)]
pub(super) struct Gauge {
    start: Instant,
    slots: Vec<Slot>,
    /// No call that begins now may fail, unless the machine stands still.
    pub(super) is_calm: AtomicBool,
    /// The run is over.
    pub(super) is_over: AtomicBool,
    hung: OnceLock<String>,
    wrong: Mutex<Vec<String>>,
    wrong_count: AtomicU64,
    /// What happened to the servers last.
    events: Mutex<VecDeque<String>>,
    names: Mutex<BTreeMap<String, u64>>,
    pub(super) lateness: Lateness,
}

/// What one thread counts.
#[derive(Debug, Default)]
struct Slot {
    /// When its call has to be back, in milliseconds since the start; 0: it makes none.
    due: AtomicU64,
    what: Mutex<&'static str>,
    calls: AtomicU64,
    errors: [AtomicU64; COLUMNS.len()],
    /// Those that ended at their limit or behind it.
    overdue: AtomicU64,
}

/// The sums over all threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) errors: [u64; COLUMNS.len()],
    pub(super) overdue: u64,
}

/// Makes the calls of one thread.
pub(super) struct Caller<'a> {
    pub(super) gauge: &'a Gauge,
    slot: &'a Slot,
    waits: File,
    /// How long the thread had waited for a processor, and when that was read.
    waited: (Duration, Instant),
}

impl Gauge {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            start: Instant::now(),
            slots: (0..threads).map(|_| Slot::default()).collect(),
            is_calm: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            hung: OnceLock::new(),
            wrong: Mutex::default(),
            wrong_count: AtomicU64::new(0),
            events: Mutex::default(),
            names: Mutex::default(),
            lateness: Lateness::default(),
        }
    }

    /// Returns a caller for this thread.
    pub(super) fn caller(&self, slot: usize) -> Caller<'_> {
        let waits = File::open("/proc/thread-self/schedstat").unwrap();
        let waited = (waited(&waits), Instant::now());
        Caller { gauge: self, slot: &self.slots[slot], waits, waited }
    }

    /// Records something that must not be.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        let mut wrong = self.wrong.lock().unwrap();
        self.wrong_count.fetch_add(1, Ordering::SeqCst);
        if wrong.len() < KEPT {
            let what = format!("{:.3?}: {}; {:?}", self.start.elapsed(), what.into(), self.events.lock().unwrap());
            println!("WRONG {what}");
            wrong.push(what);
        }
    }

    /// Records what begins to happen to the servers.
    pub(super) fn happens(&self, event: String) {
        let mut events = self.events.lock().unwrap();
        events.push_back(format!("{:.3?} {event}", self.start.elapsed()));
        if events.len() > EVENTS {
            events.pop_front();
        }
    }

    /// Returns what must not be and was.
    pub(super) fn wrongs(&self) -> (u64, Vec<String>) {
        (self.wrong_count.load(Ordering::SeqCst), self.wrong.lock().unwrap().clone())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns which call does not come back, if there is one.
    pub(super) fn hung(&self) -> Option<&str> {
        self.hung.get().map(String::as_str)
    }

    /// Returns how often calls failed, by the names of the errors.
    pub(super) fn names(&self) -> BTreeMap<String, u64> {
        self.names.lock().unwrap().clone()
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for slot in &self.slots {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            sums.calls += of(&slot.calls);
            sums.overdue += of(&slot.overdue);
            sums.errors.iter_mut().zip(&slot.errors).for_each(|(sum, errors)| *sum += of(errors));
        }
        sums
    }

    /// Looks for calls that do not come back, until the run is over.
    pub(super) fn watch(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            let now = self.millis(Duration::ZERO);
            let is_lost = |slot: &Slot| (1..now).contains(&slot.due.load(Ordering::SeqCst));
            if let Some(lost) = self.slots.iter().position(is_lost) {
                let what = self.slots[lost].what.lock().unwrap();
                let _ = self.hung.set(format!("{what} of thread {lost} has not come back {LOST:?} after its limit"));
            }
            self.lateness.judge(Instant::now() - Duration::from_secs(1));
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Sleeps again and again until the run is over, and records how late it wakes up.
    pub(super) fn sleep(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            self.lateness.sleep();
        }
    }

    /// Returns the time from the start until so long after now.
    fn millis(&self, later: Duration) -> u64 {
        u64::try_from((self.start.elapsed() + later).as_millis()).unwrap()
    }

    /// Counts a call that began then and failed.
    fn failed(&self, what: &str, start: Instant, failure: &Failure) {
        *self.names.lock().unwrap().entry(failure.name()).or_default() += 1;
        let is_calm = self.is_calm.load(Ordering::SeqCst) && self.lateness.stalled_since(start) < LONG_STALL;
        if failure.is_wrong() || is_calm {
            self.wrong(format!("{what} failed: {}", failure.text()));
        }
    }
}

impl Caller<'_> {
    /// Makes a call that has to be back within this time and its grace. `None`: it waits until what it waits for comes.
    pub(super) fn call<T, E: Into<Failure>>(
        &mut self,
        what: &'static str,
        limit: impl Into<Option<Duration>>,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        let (limit, start) = (limit.into(), Instant::now());
        if start - self.waited.1 > Duration::from_millis(1) {
            self.waited = (waited(&self.waits), start);
        }
        *self.slot.what.lock().unwrap() = what;
        self.slot.due.store(self.gauge.millis(limit.unwrap_or(LONGEST) + LOST), Ordering::SeqCst);
        let called = call();
        let took = start.elapsed();
        self.slot.due.store(0, Ordering::SeqCst);
        self.slot.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(limit) = limit.filter(|limit| took >= *limit) {
            self.slot.overdue.fetch_add(1, Ordering::Relaxed);
            if took > limit + GRACE {
                let starved = waited(&self.waits).saturating_sub(self.waited.0);
                self.gauge.lateness.record(Late { what, start, limit, took, starved });
            }
        }
        called.map_err(|error| {
            let failure = error.into();
            self.slot.errors[failure.column()].fetch_add(1, Ordering::Relaxed);
            self.gauge.failed(what, start, &failure);
            failure
        })
    }
}

/// Reads how long a thread has waited for a processor.
fn waited(mut waits: &File) -> Duration {
    let mut text = [0; 64];
    waits.rewind().unwrap();
    let length = waits.read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    Duration::from_nanos(text.split(' ').nth(1).unwrap().parse().unwrap())
}
