//! What the application counts of its own calls: numbers, failures and times, as its users would feel them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use redis_replicated::{Error, ErrorKind, Result};

/// Calls of one kind.
pub struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    in_doubt: AtomicU64,
    last_error: Mutex<Option<String>>,
    times: Times,
}

/// The times of the current second.
pub struct Times(Mutex<Histogram<u32>>);

/// The times of a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Percentiles {
    /// In milliseconds; 0 if there was no call.
    pub p50: f64,
    pub p99: f64,
}

/// What sessions promise: each reads what it has written.
#[derive(Default)]
pub struct Promises {
    /// Reads that returned what the session had written before.
    pub kept: AtomicU64,
    /// Reads that returned something older. There should be none.
    pub broken: AtomicU64,
    /// Writes that a failover lost. The session was told.
    pub lost: AtomicU64,
}

impl Tally {
    pub fn new() -> Self {
        let zero = AtomicU64::default;
        Self { done: zero(), failed: zero(), in_doubt: zero(), last_error: Mutex::default(), times: Times::new() }
    }

    /// Makes a call and counts it.
    pub fn count<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let result = call();
        self.times.record(began.elapsed());
        match &result {
            // The session was told about a failover. That is what it asked for.
            Err(error) if is_loss(error) => {}
            Err(error) => self.fail(error),
            Ok(_) => _ = self.done.fetch_add(1, Ordering::Relaxed),
        }
        result
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns how many of the failed calls may have been executed.
    pub fn in_doubt(&self) -> u64 {
        self.in_doubt.load(Ordering::Relaxed)
    }

    pub fn take_last_error(&self) -> Option<String> {
        self.last_error.lock().take()
    }

    pub fn take_times(&self) -> Percentiles {
        self.times.take()
    }

    fn fail(&self, error: &Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.in_doubt.fetch_add(u64::from(error.may_have_executed()), Ordering::Relaxed);
        *self.last_error.lock() = Some(error.to_string());
    }
}

/// Returns whether a session was told that what it had seen is lost.
pub fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WriteLost | ErrorKind::HistoryLost | ErrorKind::Unproven)
}

impl Times {
    pub fn new() -> Self {
        // From 1 µs to 1 min, to two digits. The bounds are valid.
        Self(Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 2).expect("valid bounds")))
    }

    pub fn record(&self, took: Duration) {
        self.0.lock().saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Returns the times since the last call.
    pub fn take(&self) -> Percentiles {
        let mut times = self.0.lock();
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
        let taken = Percentiles { p50: at(0.5), p99: at(0.99) };
        times.reset();
        taken
    }
}
