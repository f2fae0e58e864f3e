//! What is counted of calls: how many there were, how they failed, and how late they were back.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::failure::{COLUMNS, Failure};

/// How late a call may be back.
const GRACE: Duration = Duration::from_millis(20);
/// A call that is this late does not come back at all.
const LOST: Duration = Duration::from_secs(15);
/// A call that may take as long as it likes is over by then: what it waits for comes all the time.
const LONGEST: Duration = Duration::from_secs(60);
/// How much of what is wrong is kept as text.
const KEPT: usize = 30;

/// All that is counted in a run. Each thread that calls has a slot of its own.
#[derive(Debug)]
pub(super) struct Gauge {
    start: Instant,
    slots: Vec<Slot>,
    /// From now on no call may fail.
    pub(super) is_calm: AtomicBool,
    /// The run is over.
    pub(super) is_over: AtomicBool,
    hung: OnceLock<String>,
    wrong: Mutex<Vec<String>>,
    wrong_count: AtomicU64,
    names: Mutex<BTreeMap<String, u64>>,
    late: Mutex<Vec<(Duration, String)>>,
    /// How late calls were back, and how late without the time in which their thread waited for a processor.
    pub(super) latest: Peak,
    pub(super) latest_on_cpu: Peak,
    /// How late a thread woke up that does nothing but sleep.
    pub(super) asleep: Peak,
}

/// The longest time of all, and the longest since it was last taken, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Peak {
    all: AtomicU64,
    recent: AtomicU64,
}

/// What one thread counts.
#[derive(Debug, Default)]
struct Slot {
    /// When its call has to be back, in milliseconds since the start; 0: it makes none.
    due: AtomicU64,
    calls: AtomicU64,
    errors: [AtomicU64; COLUMNS.len()],
    /// Those that ended at their limit or behind it.
    overdue: AtomicU64,
    /// Later than the grace; of those, later than the grace even without the time in which the thread waited for a processor.
    late: AtomicU64,
    late_on_cpu: AtomicU64,
}

/// The sums over all threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) errors: [u64; COLUMNS.len()],
    pub(super) overdue: u64,
    pub(super) late: u64,
    pub(super) late_on_cpu: u64,
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
            names: Mutex::default(),
            late: Mutex::default(),
            latest: Peak::default(),
            latest_on_cpu: Peak::default(),
            asleep: Peak::default(),
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
            let what = format!("{:.1?}: {}", self.start.elapsed(), what.into());
            println!("WRONG {what}");
            wrong.push(what);
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

    /// Returns the calls that were latest, the latest first.
    pub(super) fn late(&self) -> Vec<(Duration, String)> {
        self.late.lock().unwrap().clone()
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for slot in &self.slots {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            sums.calls += of(&slot.calls);
            sums.overdue += of(&slot.overdue);
            sums.late += of(&slot.late);
            sums.late_on_cpu += of(&slot.late_on_cpu);
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
                let _ = self.hung.set(format!("a call of thread {lost} has not come back {LOST:?} after its limit"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Sleeps again and again until the run is over, and records how late it wakes up.
    pub(super) fn sleep(&self) {
        let time = Duration::from_millis(5);
        while !self.is_over.load(Ordering::SeqCst) {
            let start = Instant::now();
            thread::sleep(time);
            self.asleep.record(start.elapsed().saturating_sub(time));
        }
    }

    /// Returns the time from the start until so long after now.
    fn millis(&self, later: Duration) -> u64 {
        u64::try_from((self.start.elapsed() + later).as_millis()).unwrap()
    }

    fn failed(&self, what: &str, failure: &Failure) {
        *self.names.lock().unwrap().entry(failure.name()).or_default() += 1;
        if failure.is_wrong() || self.is_calm.load(Ordering::SeqCst) {
            self.wrong(format!("{what} failed: {}", failure.text()));
        }
    }
}

impl Peak {
    fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        [&self.all, &self.recent].into_iter().for_each(|most| _ = most.fetch_max(nanos, Ordering::SeqCst));
    }

    pub(super) fn of_all(&self) -> Duration {
        Duration::from_nanos(self.all.load(Ordering::SeqCst))
    }

    pub(super) fn take(&self) -> Duration {
        Duration::from_nanos(self.recent.swap(0, Ordering::SeqCst))
    }
}

impl Caller<'_> {
    /// Makes a call that has to be back within this time and its grace. `None`: it waits until what it waits for comes.
    pub(super) fn call<T, E: Into<Failure>>(
        &mut self,
        what: &str,
        limit: impl Into<Option<Duration>>,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        let (limit, start) = (limit.into(), Instant::now());
        if start - self.waited.1 > Duration::from_millis(1) {
            self.waited = (waited(&self.waits), start);
        }
        self.slot.due.store(self.gauge.millis(limit.unwrap_or(LONGEST) + LOST), Ordering::SeqCst);
        let called = call();
        let took = start.elapsed();
        self.slot.due.store(0, Ordering::SeqCst);
        self.slot.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(limit) = limit.filter(|limit| took >= *limit) {
            self.slot.overdue.fetch_add(1, Ordering::Relaxed);
            if took > limit + GRACE {
                self.late(what, limit, took);
            }
        }
        called.map_err(|error| {
            let failure = error.into();
            self.slot.errors[failure.column()].fetch_add(1, Ordering::Relaxed);
            self.gauge.failed(what, &failure);
            failure
        })
    }

    #[cold]
    fn late(&mut self, what: &str, limit: Duration, took: Duration) {
        let late = took - limit;
        let starved = waited(&self.waits).saturating_sub(self.waited.0);
        let on_cpu = late.saturating_sub(starved);
        self.slot.late.fetch_add(1, Ordering::Relaxed);
        self.gauge.latest.record(late);
        self.gauge.latest_on_cpu.record(on_cpu);
        if on_cpu > GRACE {
            self.slot.late_on_cpu.fetch_add(1, Ordering::Relaxed);
        }
        let mut all = self.gauge.late.lock().unwrap();
        let at = all.partition_point(|(other, _)| *other >= on_cpu);
        let when = self.gauge.elapsed();
        let text =
            format!("{when:.1?}: {what} within {limit:?}: + {late:.1?}, {starved:.1?} of it without a processor");
        all.insert(at, (on_cpu, text));
        all.truncate(KEPT);
    }
}

/// Reads how long a thread has waited for a processor.
fn waited(waits: &File) -> Duration {
    let mut text = [0; 64];
    let length = waits.read_at(&mut text, 0).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    Duration::from_nanos(text.split(' ').nth(1).unwrap().parse().unwrap())
}
