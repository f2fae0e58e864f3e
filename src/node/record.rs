//! What is recorded of a node's attempts; [`health`](super::health) draws the conclusions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// The outcome of an attempt, as far as it says something about the node.
///
/// `Display` and `Serialize` write one word in snake case: `not_serving`.
///
/// ```
/// use std::time::{Duration, Instant};
/// use redis_replicated::{Node, Outcome};
///
/// let node = Node::new("cache-1:6379".parse()?);
/// node.record_at(Outcome::Answered, Duration::from_millis(2), Instant::now());
/// # Ok::<(), redis_replicated::ParseNodeAddrError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A complete reply. Errors of the application are replies.
    Answered,
    /// No reply in time, or a lost connection that was fresh or busy. Three in a row eject the node, and so do failures of half
    /// of the attempts in 10 s, if there were at least 10.
    Failed,
    /// No connection: refused, unreachable, timed out, or the login was refused. Ejects the node.
    Unreachable,
    /// The node runs, but is not ready to serve: LOADING, MASTERDOWN. Ejects the node.
    NotServing,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::NotServing => "not_serving",
        })
    }
}

/// The failed attempts on a node, and its ejection. A healthy call only reads it, and no lock.
#[derive(Debug)]
pub(super) struct Record {
    epoch: Instant,
    pub(super) failed: AtomicU64,
    pub(super) failures_in_a_row: AtomicU32,
    /// When the cool-down ends, in nanoseconds since `epoch`; 0 while the node is not ejected.
    pub(super) ejected_until: AtomicU64,
    /// From when on calls prefer other nodes to one that was never reached, in nanoseconds since `epoch`; 0 once it was reached.
    pub(super) unreached_from: AtomicU64,
    /// When the slow start began, in nanoseconds since `epoch`; 0 if the node gets its full share.
    pub(super) slow_start_since: AtomicU64,
    /// A probe is running.
    pub(super) is_probed: AtomicBool,
    /// There is no monitor: calls are the probes.
    pub(super) calls_probe: AtomicBool,
    /// Why the last attempt failed, in words.
    pub(super) reason: Mutex<Option<Arc<str>>>,
    pub(super) outage: Mutex<Outage>,
}

/// The part that only failures and probes touch.
#[derive(Debug, Default)]
pub(super) struct Outage {
    pub(super) window: Window,
    /// How often the cool-down was doubled.
    pub(super) doublings: u32,
    /// When the last ejection began.
    pub(super) ejected: Option<Instant>,
    /// How often the node was ejected.
    pub(super) ejections: u64,
    /// The outcome of the last failure that counted against the node.
    pub(super) outcome: Option<Outcome>,
    /// When the last ejection ended.
    pub(super) returned: Option<Instant>,
    /// When an answer last ended a cool-down.
    pub(super) hinted: Option<Instant>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            failed: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            unreached_from: AtomicU64::new(0),
            slow_start_since: AtomicU64::new(0),
            is_probed: AtomicBool::new(false),
            calls_probe: AtomicBool::new(true),
            reason: Mutex::default(),
            outage: Mutex::default(),
        }
    }

    /// Returns the time in nanoseconds since the node was made.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        // 584 years fit.
        u64::try_from(self.age_at(now).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns how long the node has been known.
    pub(super) fn age_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    pub(super) fn second(&self, now: Instant) -> u64 {
        self.age_at(now).as_secs()
    }
}

/// The window, in seconds.
const SECONDS: usize = 10;
/// Fewer attempts than this show no rate.
const FEWEST: u64 = 10;

/// The failures of the last ten seconds, and how many answers there were before each second.
///
/// Answers are not counted here, so that healthy calls need not touch it: their sum is compared with that of the oldest known
/// second.
#[derive(Debug, Default)]
pub(super) struct Window {
    seconds: [Option<Second>; SECONDS],
}

#[derive(Clone, Copy, Debug)]
struct Second {
    number: u64,
    answered_before: u64,
    failed: u64,
}

impl Window {
    /// Records the number of answers before this second. Returns its count of failures.
    pub(super) fn mark(&mut self, second: u64, answered: u64) -> &mut u64 {
        let place = &mut self.seconds[(second % SECONDS as u64) as usize];
        place.take_if(|known| known.number != second);
        &mut place.get_or_insert(Second { number: second, answered_before: answered, failed: 0 }).failed
    }

    /// Counts a failure. Returns whether at least half of the attempts failed, if there were enough.
    pub(super) fn fail(&mut self, second: u64, answered: u64) -> bool {
        *self.mark(second, answered) += 1;
        let recent = || self.seconds.iter().flatten().filter(|known| known.number + SECONDS as u64 > second);
        let failed: u64 = recent().map(|known| known.failed).sum();
        let before = recent().map(|known| known.answered_before).min().unwrap_or(answered);
        let answered = answered.saturating_sub(before);
        failed + answered >= FEWEST && failed >= answered
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn half_of_ten_is_too_many_and_less_is_not() {
        let mut window = Window::default();
        assert!((1..=4).all(|n| !window.fail(0, n)));
        assert!(!window.fail(0, 5), "5 of 9: the first answer was before the first failure");
        assert!(window.fail(0, 6));
        let mut window = Window::default();
        assert!((1..100).all(|n| !window.fail(0, 3 * n)), "a third");
    }

    #[test]
    fn answers_and_failures_count_for_ten_seconds() {
        let mut window = Window::default();
        window.mark(0, 0);
        assert!((0..90).all(|_| !window.fail(1, 1000)), "90 of 1090");
        let mut window = Window::default();
        assert!((0..9).all(|_| !window.fail(1, 0)));
        assert!(!window.fail(11, 0), "the nine are forgotten");
    }
}
