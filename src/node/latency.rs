//! How long a node takes to answer: a peak-sensitive average in one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

/// How fast the average forgets: after so many milliseconds half of a peak is left.
const TAU: f64 = 1000.0;
/// The unit in which latencies are kept: 2^32 of them are seven minutes.
const UNIT_NANOS: f64 = 100.0;
/// What a failure costs, unless it is said otherwise: twice the default response limit.
const PENALTY: Duration = Duration::from_secs(2);

/// A peak EWMA (Finagle): a sample above the average replaces it, one below pulls it down slowly, and time does as well, so
/// that nodes are tried again. A failure counts as a sample of at least the penalty: else a node that fails at once would
/// look fast, and draw all calls.
///
/// The word holds the latency in its upper half, in units of [`UNIT_NANOS`], and the time of the sample in its lower half, in
/// milliseconds. 0 means that nothing is known.
#[derive(Debug)]
pub(super) struct Latency {
    /// The time of the first sample, so that the same samples give the same averages whenever the node was made.
    epoch: OnceLock<Moment>,
    word: AtomicU64,
    penalty: Duration,
}

/// A time as a plain number, worked out once to be compared with the samples of many nodes: in nanoseconds before or after a
/// time that no result depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(i64);

/// What is known of a node's latency at some time, in plain numbers: strategies calculate with those of all candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// The average in nanoseconds, more than 0.
    pub(crate) nanos: f64,
    /// The age of the last sample in milliseconds.
    pub(crate) age: u32,
}

/// A sample and its time.
#[derive(Clone, Copy)]
struct Known {
    units: u32,
    millis: u32,
}

impl Latency {
    pub(super) fn new() -> Self {
        Self { epoch: OnceLock::new(), word: AtomicU64::new(0), penalty: PENALTY }
    }

    /// Sets what a failure costs.
    pub(super) fn set_penalty(&mut self, penalty: Duration) {
        self.penalty = penalty;
    }

    /// Notes that a call was answered after this time.
    #[inline]
    pub(super) fn answered(&self, took: Duration, now: Instant) {
        let word = self.word.load(Ordering::Relaxed);
        let (sample, millis) = (units(took), self.millis(now.into()));
        let next = match Known::of(word) {
            None => sample,
            Some(known) if sample > known.units => sample,
            // At most one step down in a millisecond: threads do not fight for the word.
            Some(known) if known.millis == millis => return,
            Some(known) => {
                let kept = kept_after(known.age_at(millis));
                let (before, sample) = (f64::from(known.units) * kept, f64::from(sample));
                if sample > before { sample as u32 } else { (before * kept + sample * (1.0 - kept)) as u32 }
            }
        };
        // If another thread was faster, its sample is as good as this one.
        let _ = self.word.compare_exchange(word, pack(next, millis), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that a call failed.
    #[cold]
    pub(super) fn failed(&self, now: Instant) {
        let (penalty, millis) = (units(self.penalty), self.millis(now.into()));
        let raise = |word: u64| {
            let left = |known: Known| (f64::from(known.units) * kept_after(known.age_at(millis))) as u32;
            Some(pack(Known::of(word).map_or(0, left).max(penalty), millis))
        };
        // The closure never refuses.
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
    }

    /// Forgets everything: the node is as one that was never asked.
    pub(super) fn forget(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Returns what is known at this time.
    #[inline]
    pub(super) fn at(&self, now: Moment) -> Option<Measured> {
        let known = Known::of(self.word.load(Ordering::Relaxed))?;
        let age = known.age_at(self.millis(now));
        Some(Measured { nanos: f64::from(known.units) * (UNIT_NANOS * TAU) / (TAU + f64::from(age)), age })
    }

    /// Milliseconds since the beginning, modulo 49 days; never 0 at the beginning, so that no sample looks like none.
    #[inline]
    fn millis(&self, now: Moment) -> u32 {
        let Moment(epoch) = *self.epoch.get_or_init(move || now);
        let passed = now.0.wrapping_sub(epoch).max(0) as u64;
        ((passed / 1_000_000) as u32).wrapping_add(1)
    }
}

impl From<Instant> for Moment {
    #[inline]
    fn from(time: Instant) -> Self {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let nanos = |passed: Duration| i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        match time.checked_duration_since(*ORIGIN) {
            Some(after) => Self(nanos(after)),
            None => Self(-nanos(ORIGIN.saturating_duration_since(time))),
        }
    }
}

impl Known {
    #[inline]
    fn of(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { units: (word >> 32) as u32, millis: word as u32 })
    }

    /// The age in milliseconds. A clock that another thread read a little earlier is no age of 49 days.
    #[inline]
    fn age_at(self, millis: u32) -> u32 {
        (millis.wrapping_sub(self.millis) as i32).max(0) as u32
    }
}

fn pack(units: u32, millis: u32) -> u64 {
    (u64::from(units.max(1)) << 32) | u64::from(millis)
}

fn units(time: Duration) -> u32 {
    // In 64 bits: a division of 128 costs more than all the rest.
    let units = time.as_secs().saturating_mul(10_000_000).saturating_add(u64::from(time.subsec_nanos() / 100));
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// The part of a peak that is left after so many milliseconds: cheaper than an exponential, and slower in the end.
#[inline]
fn kept_after(millis: u32) -> f64 {
    TAU / (TAU + f64::from(millis))
}

#[cfg(test)]
mod tests {
    use super::Latency;
    use std::time::{Duration, Instant};

    const MS: Duration = Duration::from_millis(1);

    fn average(latency: &Latency, now: Instant) -> f64 {
        latency.at(now.into()).unwrap().nanos / 1e6
    }

    #[test]
    fn peaks_count_at_once_and_are_forgotten_slowly() {
        let start = Instant::now();
        let latency = Latency::new();
        assert!(latency.at(start.into()).is_none());
        latency.answered(MS, start);
        latency.answered(50 * MS, start);
        assert!((average(&latency, start) - 50.0).abs() < 0.01);
        latency.answered(MS, start);
        assert!((average(&latency, start) - 50.0).abs() < 0.01, "one good answer does not mend it");
        assert!((average(&latency, start + 1000 * MS) - 25.0).abs() < 0.1, "time does");
        (1..2000_u32).for_each(|n| latency.answered(MS, start + n * MS));
        let mended = average(&latency, start + 2000 * MS);
        assert!((0.9..3.0).contains(&mended), "{mended}");
    }

    #[test]
    fn a_failure_costs_the_penalty_until_it_is_forgotten() {
        let start = Instant::now();
        let mut latency = Latency::new();
        latency.set_penalty(100 * MS);
        latency.answered(MS, start);
        latency.failed(start + MS);
        assert!(average(&latency, start + MS) >= 100.0);
        latency.answered(MS / 100, start + MS);
        assert!(average(&latency, start + 2 * MS) > 99.0, "a fast answer does not hide it");
        latency.forget();
        assert!(latency.at(start.into()).is_none());
    }

    #[test]
    fn absurd_times_do_no_harm() {
        let start = Instant::now();
        let latency = Latency::new();
        latency.answered(MS, start + 1000 * MS);
        latency.answered(Duration::MAX, start);
        latency.answered(Duration::ZERO, start);
        assert!(latency.at((start + Duration::from_secs(86_400 * 365)).into()).is_some());
        let zero = Latency::new();
        zero.answered(Duration::ZERO, start);
        assert!(zero.at(start.into()).is_some(), "a sample of nothing is one");
    }
}
