//! The latency of a node: an average that single late answers hardly move, in one atomic word.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

/// After this many milliseconds without an answer, half of the average is left.
const TAU: f64 = 1000.0;
/// The unit of latencies: 2^32 of them are seven minutes.
const UNIT_NANOS: f64 = 100.0;
/// What a failure costs by default: twice the default response limit.
const PENALTY: Duration = Duration::from_secs(2);
/// A late answer counts as at most this multiple of the average. On a busy machine one answer in thirty takes a hundred times
/// longer than the others, because a process waited for a processor. That says nothing about the node.
const MOST: f64 = 2.0;
/// The part of the way to a late answer that the average goes. Ten late answers in a row raise it tenfold.
const UP: f64 = 1.0 / 4.0;
/// The part of the way to an early answer that the average goes. Less than [`UP`]: a slow node matters more than a quick one.
const DOWN: f64 = 1.0 / 32.0;
/// An answer that is later than the average by this is a stall of the node, in units. Waiting for a processor takes less.
const STALL: f64 = 200_000.0;
/// After a first stall the average is trusted for this many milliseconds. A second stall before it is confirmed counts in full.
const SUSPECTED: u32 = 16;
/// The shortest and the longest time for which an average is trusted without a new answer, in milliseconds.
const TRUST: (u32, u32) = (1, 1000);

/// An average of the times of answers, similar to Finagle's peak EWMA. A usual answer moves it by little; a stall and a failure
/// raise it at once. A failure counts as at least the penalty: otherwise a node that fails immediately would look fast and get
/// all calls. Time lowers it, so that nodes are tried again.
///
/// The word holds the latency in its upper half, in units of [`UNIT_NANOS`], and the time of the sample in its lower half, in
/// milliseconds. 0 means that nothing is known.
///
/// `trust` is how long the average is trusted without a new answer. Each answer that confirms the average doubles that time,
/// each other one shortens it. So a node that was slow by chance is soon tried again, and one that stays slow once a second.
#[derive(Debug)]
pub(super) struct Latency {
    /// The time of the first sample, so that the same samples give the same averages whenever the node was made.
    epoch: OnceLock<Moment>,
    word: AtomicU64,
    /// In milliseconds. Not changed together with the word: a mixture of two states only tries the node sooner or later.
    trust: AtomicU32,
    penalty: Duration,
}

/// A time as a plain number, calculated once and compared with the samples of many nodes: in nanoseconds before or after a time
/// on which no result depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(i64);

/// The latency of a node at some time, in plain numbers: strategies calculate with those of all candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// The average in nanoseconds, more than 0.
    pub(crate) nanos: f64,
    /// The age of the last sample in milliseconds.
    pub(crate) age: u32,
    /// The average is not trusted any more: the node should be tried again.
    pub(crate) is_due: bool,
}

/// A sample and its time.
#[derive(Clone, Copy)]
struct Known {
    units: u32,
    millis: u32,
}

impl Latency {
    pub(super) fn new() -> Self {
        Self { epoch: OnceLock::new(), word: AtomicU64::new(0), trust: AtomicU32::new(TRUST.0), penalty: PENALTY }
    }

    /// Sets what a failure costs.
    pub(super) fn set_penalty(&mut self, penalty: Duration) {
        self.penalty = penalty;
    }

    /// Records the time that a call took.
    #[inline]
    pub(super) fn answered(&self, took: Duration, now: Instant) {
        let word = self.word.load(Ordering::Relaxed);
        let (sample, millis) = (units(took), self.millis(now.into()));
        let trust = self.trust.load(Ordering::Relaxed);
        let (next, next_trust) = match Known::of(word) {
            None => (sample, TRUST.0),
            Some(known) => self.moved(known, trust, f64::from(sample), millis),
        };
        // Usually it is as long as it can be.
        if next_trust != trust {
            self.trust.store(next_trust, Ordering::Relaxed);
        }
        let next = pack(next, millis);
        if next != word {
            // If another thread was faster, its sample is as good as this one.
            let _ = self.word.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns the average with one more sample, and how long it is to be trusted.
    #[inline]
    fn moved(&self, known: Known, trust: u32, sample: f64, millis: u32) -> (u32, u32) {
        let age = known.age_at(millis);
        let (last, kept) = (f64::from(known.units), kept_after(age));
        let before = last * kept;
        let more = trust.saturating_mul(2).min(TRUST.1);
        let is_stall = sample > before + STALL;
        if is_stall && trust > SUSPECTED {
            // One stall may be chance, on a machine whose processors are all busy. The next one is not.
            return ((before + (last * MOST - before).max(0.0) * UP) as u32, SUSPECTED);
        }
        if is_stall {
            // The node is avoided for twice as long as the stall took.
            let twice = (sample * (2.0 * UNIT_NANOS / 1e6)) as u32;
            return (sample as u32, twice.clamp(TRUST.0, TRUST.1));
        }
        if sample > before {
            let next = before + (sample.min(last * MOST) - before) * UP.max(1.0 - kept);
            return (next as u32, if sample > last * MOST { (trust / 8).max(TRUST.0) } else { more });
        }
        if age < trust {
            let kept = kept.min(1.0 - DOWN);
            return ((before * kept + sample * (1.0 - kept)) as u32, more);
        }
        // It was tried because the average was not trusted any more. After a failure one good answer is not enough.
        if before * 16.0 > f64::from(units(self.penalty)) {
            return (((before + sample) / 2.0) as u32, more);
        }
        (sample as u32, if sample * MOST < before { TRUST.0 } else { more })
    }

    /// Records that a call failed.
    #[cold]
    pub(super) fn failed(&self, now: Instant) {
        let (penalty, millis) = (units(self.penalty), self.millis(now.into()));
        let raise = |word: u64| {
            let left = |known: Known| (f64::from(known.units) * kept_after(known.age_at(millis))) as u32;
            Some(pack(Known::of(word).map_or(0, left).max(penalty), millis))
        };
        // The closure never refuses.
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
        self.trust.store(TRUST.1, Ordering::Relaxed);
    }

    /// Forgets everything, as if the node was never measured.
    pub(super) fn forget(&self) {
        self.word.store(0, Ordering::Relaxed);
    }

    /// Returns the latency at this time; `None` before the first sample.
    #[inline]
    pub(super) fn at(&self, now: Moment) -> Option<Measured> {
        let known = Known::of(self.word.load(Ordering::Relaxed))?;
        let age = known.age_at(self.millis(now));
        let nanos = f64::from(known.units) * (UNIT_NANOS * TAU) / (TAU + f64::from(age));
        // Usually the last answer came in this millisecond.
        let is_due = age >= TRUST.0 && age >= self.trust.load(Ordering::Relaxed);
        Some(Measured { nanos, age, is_due })
    }

    /// Returns the milliseconds since the first sample, modulo 49 days. It begins with 1, because a word of 0 means no sample.
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

    /// Returns the age in milliseconds. A clock that another thread read a little earlier gives the age 0, not 49 days.
    #[inline]
    fn age_at(self, millis: u32) -> u32 {
        (millis.wrapping_sub(self.millis) as i32).max(0) as u32
    }
}

fn pack(units: u32, millis: u32) -> u64 {
    (u64::from(units.max(1)) << 32) | u64::from(millis)
}

fn units(time: Duration) -> u32 {
    // In 64 bits: a division of 128 bits costs more than all the rest.
    let units = time.as_secs().saturating_mul(10_000_000).saturating_add(u64::from(time.subsec_nanos() / 100));
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Returns the part of an average that is left after this many milliseconds. Cheaper than an exponential function.
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

    fn is_due(latency: &Latency, now: Instant) -> bool {
        latency.at(now.into()).unwrap().is_due
    }

    #[test]
    fn a_late_answer_hardly_counts_and_ten_of_them_do() {
        let start = Instant::now();
        let latency = Latency::new();
        assert!(latency.at(start.into()).is_none());
        (0..20).for_each(|_| latency.answered(MS, start));
        latency.answered(10 * MS, start);
        assert!((average(&latency, start) - 1.25).abs() < 0.01, "{}", average(&latency, start));
        (0..200).for_each(|_| latency.answered(MS, start));
        assert!(average(&latency, start) < 1.01, "{}", average(&latency, start));
        (0..10).for_each(|_| latency.answered(10 * MS, start));
        assert!(average(&latency, start) > 7.0, "{}", average(&latency, start));
        assert!((average(&latency, start + 1000 * MS) * 2.0 - average(&latency, start)).abs() < 0.1, "time lowers it");
    }

    #[test]
    fn a_second_stall_counts_at_once_and_for_twice_its_length() {
        let start = Instant::now();
        let latency = Latency::new();
        (0..20).for_each(|_| latency.answered(MS, start));
        latency.answered(50 * MS, start);
        assert!(average(&latency, start) < 1.3, "one may be chance: {}", average(&latency, start));
        latency.answered(50 * MS, start);
        assert!((average(&latency, start) - 50.0).abs() < 0.01);
        assert!(!is_due(&latency, start + 99 * MS) && is_due(&latency, start + 100 * MS));
        (100..110_u32).for_each(|n| latency.answered(MS, start + n * MS));
        assert!(average(&latency, start + 110 * MS) < 2.0, "{}", average(&latency, start + 110 * MS));
    }

    #[test]
    fn what_is_confirmed_is_trusted_for_longer() {
        let start = Instant::now();
        let latency = Latency::new();
        latency.answered(10 * MS, start);
        // After 1 ms, 2 ms, 4 ms and so on.
        let mut now = start;
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000] {
            assert!(!is_due(&latency, now + wait * MS - MS / 2) && is_due(&latency, now + wait * MS), "{wait}");
            now += wait * MS;
            latency.answered(10 * MS, now);
        }
        // It was slow for some time, and is not any more.
        now += 1000 * MS;
        let mut asked = 0;
        while average(&latency, now) > 0.2 {
            assert!(is_due(&latency, now));
            latency.answered(MS / 10, now);
            asked += 1;
            now += MS;
        }
        assert!(asked < 8, "{asked}");
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
        assert!(average(&latency, start + 2 * MS) > 96.0, "a fast answer does not hide it");
        assert!(!is_due(&latency, start + 1000 * MS), "it is asked again after a second");
        latency.answered(MS / 100, start + 1001 * MS);
        assert!(!is_due(&latency, start + 2000 * MS), "and then not at once");
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
