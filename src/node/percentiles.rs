//! The distribution of the latencies of a node in the last one to two minutes: buckets that calls count in without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// The length of a window, in nanoseconds. The present window and the one before count: one to two minutes.
const WINDOW: u64 = 60_000_000_000;
/// The smallest difference that buckets tell apart is 2^7 = 128 ns.
const UNIT_BITS: u32 = 7;
/// Each power of two has 2^3 = 8 buckets, whose middle is at most one sixteenth away from what they count.
const FINE_BITS: u32 = 3;
const FINE: usize = 1 << FINE_BITS;
/// Powers of two above the first eight units. The last bucket begins at 64 s.
const POWERS: usize = 26;
const BUCKETS: usize = FINE * (POWERS + 1);

/// The latencies of one node. Recording one is a read, and one addition on a cache line that few calls share.
#[derive(Debug)]
pub(super) struct LatencyBuckets {
    /// The window of an even number, and that of an odd one.
    windows: Box<[Window; 2]>,
}

#[derive(Debug)]
struct Window {
    /// The number of the window plus one; 0 before the first latency.
    number: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

/// How long calls to a node took in the last one to two minutes: from [`NodeSnapshot`](crate::NodeSnapshot).
///
/// One answered call in eight is timed, and one in four where the strategy needs latencies. Times include the network and the
/// wait among other callers on a shared connection, but not opening a connection. Each value is at most 6.25 % away from that of
/// a timed call; from 1 µs on, and up to 68 s. In JSON, times are milliseconds: `p50_ms`.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for node in client.snapshot().nodes {
///     if let Some(percentiles) = node.percentiles {
///         println!("{}: {:?}, and 1 in 100 took {:?} or longer", node.addr, percentiles.p50, percentiles.p99);
///     }
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Percentiles {
    /// The number of calls that were timed.
    pub timed: u64,
    /// Half of them took no longer. In JSON: `p50_ms`.
    #[serde(rename = "p50_ms", serialize_with = "crate::millis::serialize")]
    pub p50: Duration,
    /// 90 % of them took no longer. In JSON: `p90_ms`.
    #[serde(rename = "p90_ms", serialize_with = "crate::millis::serialize")]
    pub p90: Duration,
    /// 99 % of them took no longer. In JSON: `p99_ms`.
    #[serde(rename = "p99_ms", serialize_with = "crate::millis::serialize")]
    pub p99: Duration,
    /// 99.9 % of them took no longer. In JSON: `p999_ms`.
    #[serde(rename = "p999_ms", serialize_with = "crate::millis::serialize")]
    pub p999: Duration,
}

impl LatencyBuckets {
    pub(super) fn new() -> Self {
        Self { windows: Box::new([Window::new(), Window::new()]) }
    }

    /// Counts a latency. `now`: in nanoseconds since any moment, which is the same for all calls.
    #[inline]
    pub(super) fn record(&self, took: Duration, now: u64) {
        let number = now / WINDOW + 1;
        let window = &self.windows[(number & 1) as usize];
        if window.number.load(Ordering::Relaxed) != number {
            window.begin(number);
        }
        // Relaxed: a count that another thread sees late is one of many.
        window.counts[bucket_of(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the percentiles of the present window and the one before; `None` if nothing was timed in them.
    pub(super) fn percentiles(&self, now: u64) -> Option<Percentiles> {
        let present = now / WINDOW + 1;
        let is_recent = |window: &&Window| {
            let number = window.number.load(Ordering::Relaxed);
            // Another thread may have read the clock later, and begun the next window.
            number > 0 && number + 1 >= present
        };
        let mut counts = [0_u64; BUCKETS];
        for window in self.windows.iter().filter(is_recent) {
            let both = counts.iter_mut().zip(&window.counts);
            both.for_each(|(sum, count)| *sum += u64::from(count.load(Ordering::Relaxed)));
        }
        let timed: u64 = counts.iter().sum();
        // `thousandths` of the calls, rounded up to a whole one, took no longer.
        let at = |thousandths: u64| {
            let mut left = (timed * thousandths).div_ceil(1000).max(1);
            let bucket = counts.iter().position(|count| {
                left = left.saturating_sub(*count);
                left == 0
            });
            middle_of(bucket.unwrap_or(BUCKETS - 1))
        };
        (timed > 0).then(|| Percentiles { timed, p50: at(500), p90: at(900), p99: at(990), p999: at(999) })
    }
}

impl Window {
    fn new() -> Self {
        Self { number: AtomicU64::new(0), counts: [const { AtomicU32::new(0) }; BUCKETS] }
    }

    /// Begins the window of this number, in the place of the one two before. Calls that count meanwhile may be lost.
    #[cold]
    fn begin(&self, number: u64) {
        let before = self.number.load(Ordering::Relaxed);
        // A thread that read the clock before the last change of windows counts among the calls of the next one.
        let is_new = before < number;
        if is_new && self.number.compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
    }
}

/// Returns the bucket that counts a latency: its highest bit and the three bits below.
#[inline]
fn bucket_of(took: Duration) -> usize {
    // In 64 bits, as far as they go: a division of 128 bits costs more than all the rest.
    let nanos = took.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(took.subsec_nanos()));
    let units = nanos >> UNIT_BITS;
    // The first two powers have buckets of one unit.
    let shift = units.max(1).ilog2().saturating_sub(FINE_BITS);
    (shift as usize * FINE + (units >> shift) as usize).min(BUCKETS - 1)
}

/// Returns the middle of what a bucket counts.
fn middle_of(bucket: usize) -> Duration {
    let shift = (bucket / FINE).saturating_sub(1);
    let first = ((bucket - shift * FINE) as u64) << shift;
    Duration::from_nanos((first << UNIT_BITS) + (1 << shift << UNIT_BITS) / 2)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, LatencyBuckets, WINDOW, bucket_of, middle_of};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_bucket_is_at_most_one_sixteenth_away_from_what_it_counts() {
        let mut nanos = 1_100_u64;
        while nanos < 68_000_000_000 {
            let middle = middle_of(bucket_of(Duration::from_nanos(nanos))).as_nanos() as f64;
            let error = (middle - nanos as f64).abs() / nanos as f64;
            assert!(error <= 0.0625, "{middle} for {nanos}: {error}");
            nanos += nanos / 97 + 1;
        }
    }

    #[test]
    fn each_bucket_follows_the_one_before() {
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert!((0..BUCKETS).all(|bucket| bucket_of(middle_of(bucket)) == bucket));
        assert!((1..BUCKETS).all(|bucket| middle_of(bucket - 1) < middle_of(bucket)));
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1, "absurd times do no harm");
    }

    #[test]
    fn percentiles_are_those_of_the_calls() {
        let buckets = LatencyBuckets::new();
        assert_eq!(buckets.percentiles(0), None);
        (1..=10_000).for_each(|micros| buckets.record(Duration::from_micros(micros), 0));
        let found = buckets.percentiles(0).unwrap();
        assert_eq!(found.timed, 10_000);
        for (found, expected) in [(found.p50, 5_000), (found.p90, 9_000), (found.p99, 9_900), (found.p999, 9_990)] {
            let error = found.as_micros() as f64 / f64::from(expected) - 1.0;
            assert!(error.abs() <= 0.0625, "{found:?} for {expected} µs");
        }
    }

    #[test]
    fn one_late_call_of_a_thousand_is_only_in_the_last_percentile() {
        let buckets = LatencyBuckets::new();
        (0..998).for_each(|_| buckets.record(Duration::from_micros(100), 0));
        (0..2).for_each(|_| buckets.record(Duration::from_secs(1), 0));
        let found = buckets.percentiles(0).unwrap();
        assert!(found.p99 < Duration::from_micros(110) && found.p999 > Duration::from_millis(900), "{found:?}");
    }

    #[test]
    fn latencies_count_for_one_to_two_minutes() {
        let (buckets, ms) = (LatencyBuckets::new(), Duration::from_millis(1));
        let timed = |now| buckets.percentiles(now).map_or(0, |found| found.timed);
        buckets.record(ms, WINDOW - 1);
        assert_eq!((timed(WINDOW - 1), timed(WINDOW), timed(2 * WINDOW - 1), timed(2 * WINDOW)), (1, 1, 1, 0));
        buckets.record(ms, WINDOW);
        assert_eq!((timed(WINDOW), timed(2 * WINDOW)), (2, 1));
        buckets.record(ms, 2 * WINDOW);
        assert_eq!(timed(2 * WINDOW), 2, "the first window was begun anew");
        buckets.record(ms, WINDOW - 1);
        assert_eq!(timed(2 * WINDOW), 3, "a clock that was read long ago begins no window");
    }

    #[test]
    fn no_thread_loses_a_count_within_a_window() {
        let buckets = LatencyBuckets::new();
        buckets.record(Duration::from_micros(1), 0);
        thread::scope(|scope| {
            for micros in 1..=4 {
                let buckets = &buckets;
                scope.spawn(move || (0..5_000).for_each(|_| buckets.record(Duration::from_micros(micros), 0)));
            }
        });
        assert_eq!(buckets.percentiles(0).unwrap().timed, 20_001);
    }
}
