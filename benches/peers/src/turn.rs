//! One turn of one arm: callers read as fast as they can for a while.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::caller::{AsyncCaller, Caller, Outcome};
use crate::cpu::{Used, Watched};

/// The pause after a failed call.
const PAUSE: Duration = Duration::from_millis(1);

/// What most callers read.
pub const SMALL: Value = Value { key: "key", size: 64 };

/// A value that the servers hold.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    pub key: &'static str,
    pub size: usize,
}

/// How long a turn takes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls that are not counted.
    pub warm_up: Duration,
    pub length: Duration,
}

/// What one turn came to.
#[derive(Clone, Debug)]
pub struct Turn {
    pub calls_per_second: f64,
    /// Microseconds per call, as all below.
    pub client_cpu: f64,
    pub server_cpu: f64,
    pub p50: f64,
    pub p99: f64,
    pub latest: f64,
    /// The share of its thread that the slow line used.
    pub line: f64,
    /// The share of all cores that other processes used.
    pub others: f64,
    pub failed: u64,
    pub failure: Option<String>,
}

/// The time in which calls are counted.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    begin: Instant,
    end: Instant,
}

/// What one caller has seen.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    latencies: Histogram<u32>,
    failed: u64,
    failure: Option<String>,
}

impl Value {
    fn check(self, length: Outcome<usize>) -> Outcome<()> {
        match length? {
            length if length == self.size => Ok(()),
            length => Err(format!("read {length} bytes of {}", self.size)),
        }
    }
}

impl Window {
    pub fn new(plan: &Plan) -> Self {
        let begin = Instant::now() + plan.warm_up;
        Self { begin, end: begin + plan.length }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }

    /// Sleeps until the window has passed; returns the CPU time used in it.
    pub fn observe(&self, watched: &Watched) -> Used {
        thread::sleep(self.begin.saturating_duration_since(Instant::now()));
        watched.during(|| thread::sleep(self.end.saturating_duration_since(Instant::now()))).1
    }

    fn length(&self) -> Duration {
        self.end - self.begin
    }
}

impl Tally {
    pub fn new(window: Window) -> Self {
        // Two digits: small enough to stay in the cache.
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("these bounds are valid");
        Self { window, latencies, failed: 0, failure: None }
    }

    /// Records a call; returns when the next one begins.
    pub fn record(&mut self, began: Instant, result: Outcome<()>) -> Instant {
        let now = Instant::now();
        match result {
            Ok(()) if now >= self.window.begin && now < self.window.end => {
                let nanos = u64::try_from((now - began).as_nanos()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(nanos.max(1));
            }
            Ok(()) => {}
            Err(error) => {
                self.failed += 1;
                self.failure = Some(error);
            }
        }
        now
    }

    pub fn merge(mut self, other: Self) -> Self {
        self.latencies.add(other.latencies).expect("both have the same bounds");
        self.failed += other.failed;
        self.failure = self.failure.or(other.failure);
        self
    }

    pub fn finish(self, used: Used) -> Turn {
        let calls_per_second = self.latencies.len() as f64 / self.window.length().as_secs_f64();
        let at = |share| self.latencies.value_at_quantile(share) as f64 / 1e3;
        Turn {
            p50: at(0.5),
            p99: at(0.99),
            latest: self.latencies.max() as f64 / 1e3,
            failed: self.failed,
            failure: self.failure,
            ..Turn::new(calls_per_second, used)
        }
    }
}

impl Turn {
    /// A turn without latencies and failures.
    pub fn new(calls_per_second: f64, used: Used) -> Self {
        let per_call = |time: Duration| time.as_secs_f64() / used.time.as_secs_f64() / calls_per_second * 1e6;
        Self {
            calls_per_second,
            client_cpu: per_call(used.client),
            server_cpu: per_call(used.servers),
            p50: f64::NAN,
            p99: f64::NAN,
            latest: f64::NAN,
            line: used.line_share(),
            others: used.others_share(),
            failed: 0,
            failure: None,
        }
    }
}

/// Lets each caller read on a thread of its own.
pub fn on_threads<C: Caller>(plan: &Plan, watched: &Watched, callers: Vec<C>) -> Turn {
    let window = Window::new(plan);
    thread::scope(|scope| {
        let run = |mut caller: C| move || read(&mut caller, window, SMALL);
        let threads: Vec<_> = callers.into_iter().map(|caller| scope.spawn(run(caller))).collect();
        let used = window.observe(watched);
        let tallies = threads.into_iter().map(|thread| thread.join().expect("no caller panics"));
        tallies.fold(Tally::new(window), Tally::merge).finish(used)
    })
}

/// Reads on this thread until the window has passed.
pub fn read<C: Caller>(caller: &mut C, window: Window, value: Value) -> Tally {
    let mut tally = Tally::new(window);
    let mut now = Instant::now();
    while !window.is_over(now) {
        let result = value.check(caller.get(value.key));
        let has_failed = result.is_err();
        now = tally.record(now, result);
        if has_failed {
            thread::sleep(PAUSE);
            now = Instant::now();
        }
    }
    tally
}

/// Lets each caller read on a task of its own.
pub fn on_tasks<C: AsyncCaller>(plan: &Plan, watched: &Watched, runtime: &Runtime, callers: Vec<C>) -> Turn {
    let window = Window::new(plan);
    let tasks: Vec<_> = callers.into_iter().map(|caller| runtime.spawn(read_on_task(caller, window))).collect();
    let used = window.observe(watched);
    let tallies = tasks.into_iter().map(|task| runtime.block_on(task).expect("no caller panics"));
    tallies.fold(Tally::new(window), Tally::merge).finish(used)
}

async fn read_on_task<C: AsyncCaller>(mut caller: C, window: Window) -> Tally {
    let mut tally = Tally::new(window);
    let mut now = Instant::now();
    while !window.is_over(now) {
        let result = SMALL.check(caller.get(SMALL.key).await);
        let has_failed = result.is_err();
        now = tally.record(now, result);
        if has_failed {
            tokio::time::sleep(PAUSE).await;
            now = Instant::now();
        }
    }
    tally
}
