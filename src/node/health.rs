//! The health of a node: available, ejected after failures, probing, or in slow start after it came back.
//!
//! All times are given by the caller, and so is chance. Reading changes nothing. What a healthy call touches are two
//! atomics; the rest is behind a lock that only failures take.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::window::Window;

/// How long a node is avoided after its first ejection; doubles with each failed probe.
const FIRST_COOL_DOWN: Duration = Duration::from_millis(500);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(30);
/// So many failures in a row eject a node that can be reached.
const FAILURES_IN_A_ROW: u32 = 3;
/// Slow start: how long a node that came back gets less than its share.
const SLOW_START: Duration = Duration::from_secs(10);
/// The share with which slow start begins.
const FIRST_SHARE: f64 = 0.1;

/// What an attempt came to, as far as that speaks for or against the node.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// A complete reply; errors of the application are replies.
    Answered,
    /// Lost or late on a connection that was fresh or busy. A few in a row eject the node, as does half of many.
    Failed,
    /// No connection: refused, unreachable, timed out, login refused. Ejects the node.
    Unreachable,
    /// Up, but not ready to serve: LOADING, MASTERDOWN. Ejects the node. One in another role than it was taken for is asked last.
    NotServing,
}

impl fmt::Display for Outcome {
    /// One word, such as `not_serving`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::NotServing => "not_serving",
        })
    }
}

/// What a failed attempt changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ejection {
    pub(crate) cool_down: Duration,
}

#[derive(Debug)]
pub(crate) struct Health {
    epoch: Instant,
    failures_in_a_row: AtomicU32,
    /// When the cool-down ends, in nanoseconds since `epoch`; 0 while the node is healthy.
    ejected_until: AtomicU64,
    /// From when on a node that nobody has reached yet is asked after others, in nanoseconds since `epoch`; 0 once it was
    /// reached.
    unreached_from: AtomicU64,
    /// When the node came back, in nanoseconds since `epoch`; 0 if it gets its full share.
    eased_in_since: AtomicU64,
    /// One probe is under way.
    is_probed: AtomicBool,
    /// Nobody but the calls themselves finds out that the node is back.
    calls_probe: AtomicBool,
    record: Mutex<Record>,
}

/// What only failures and probes touch.
#[derive(Debug, Default)]
struct Record {
    window: Window,
    /// How often the cool-down was doubled.
    doublings: u32,
    returned: Option<Instant>,
    /// When an answer last ended a cool-down.
    hinted: Option<Instant>,
}

/// A call that finds out whether an ejected node is back, until dropped.
#[derive(Debug)]
pub(crate) struct Probe<'a>(&'a Health);

/// Another call is finding that out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Avoided;

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.end_probe();
    }
}

impl Health {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            failures_in_a_row: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            unreached_from: AtomicU64::new(0),
            eased_in_since: AtomicU64::new(0),
            is_probed: AtomicBool::new(false),
            calls_probe: AtomicBool::new(true),
            record: Mutex::default(),
        }
    }

    /// From now on, only the monitor brings the node back.
    pub(crate) fn leave_probes_to_monitor(&self) {
        self.calls_probe.store(false, Ordering::Relaxed);
    }

    /// Has the node asked after others from this moment on, unless it is reached before.
    pub(super) fn await_until(&self, moment: Instant) {
        self.unreached_from.store(self.since_epoch(moment).max(1), Ordering::Relaxed);
    }

    /// Records that the node was reached.
    #[inline]
    pub(super) fn reached(&self) {
        // Read before write: healthy nodes share their cache line among all threads.
        if self.unreached_from.load(Ordering::Relaxed) != 0 {
            self.unreached_from.store(0, Ordering::Relaxed);
        }
    }

    /// Returns whether nobody has reached the node, in the time that it had for that.
    #[inline]
    pub(super) fn is_unreached(&self, now: Instant) -> bool {
        let from = self.unreached_from.load(Ordering::Relaxed);
        from != 0 && self.since_epoch(now) >= from
    }

    #[inline]
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) != 0
    }

    /// Tells whether calls should go elsewhere. Without a monitor, one call is wanted as a probe once the cool-down is over.
    #[inline]
    pub(crate) fn is_avoided(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.is_avoided_until(until, now)
    }

    #[cold]
    fn is_avoided_until(&self, until: u64, now: Instant) -> bool {
        !self.calls_probe.load(Ordering::Relaxed)
            || self.since_epoch(now) < until
            || self.is_probed.load(Ordering::Relaxed)
    }

    /// Lets a call through to the node. Where calls are the probes, one at a time: the others are not let through.
    #[inline]
    pub(crate) fn admit(&self, now: Instant) -> Result<Option<Probe<'_>>, Avoided> {
        if self.is_ejected() { self.admit_to_ejected(now) } else { Ok(None) }
    }

    #[cold]
    fn admit_to_ejected(&self, now: Instant) -> Result<Option<Probe<'_>>, Avoided> {
        let cools_down = self.cools_down_for(now).is_none_or(|left| !left.is_zero());
        if cools_down || !self.calls_probe.load(Ordering::Relaxed) {
            // It was asked in spite of its ejection, as the last resort.
            return Ok(None);
        }
        if self.begin_probe(now) { Ok(Some(Probe(self))) } else { Err(Avoided) }
    }

    /// Returns how long it takes until the node may be probed; `None` if it is healthy.
    pub(crate) fn cools_down_for(&self, now: Instant) -> Option<Duration> {
        let until = self.ejected_until.load(Ordering::Relaxed);
        (until != 0).then(|| Duration::from_nanos(until.saturating_sub(self.since_epoch(now))))
    }

    /// Begins a probe, if the cool-down is over and none is under way. It has to be ended by one of the three below.
    pub(crate) fn begin_probe(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Acquire);
        if until == 0 || self.since_epoch(now) < until {
            return false;
        }
        // Acquire and release: who wins sees all that the last probe has written.
        let won = self.is_probed.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if won && !self.is_ejected() {
            // The last probe has just succeeded.
            self.end_probe();
            return false;
        }
        won
    }

    pub(crate) fn end_probe(&self) {
        self.is_probed.store(false, Ordering::Release);
    }

    /// The probe found the node able to serve: it is back, with a small share at first. Returns whether that is news.
    pub(crate) fn come_back(&self, now: Instant) -> bool {
        let mut record = self.record.lock();
        let news = self.is_ejected();
        record.window.forget();
        record.returned = Some(now);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        if news {
            self.eased_in_since.store(self.since_epoch(now).max(1), Ordering::Relaxed);
        }
        self.ejected_until.store(0, Ordering::Release);
        news
    }

    /// The probe failed: the next one has to wait twice as long.
    pub(crate) fn probe_failed(&self, now: Instant, chance: f64) {
        let mut record = self.record.lock();
        if self.is_ejected() {
            record.doublings = record.doublings.saturating_add(1);
            self.cool_down(&record, now, chance);
        }
    }

    /// The node can be reached, but is not ready: the next probe need not wait longer than this one did.
    pub(crate) fn probe_came_early(&self, now: Instant, chance: f64) {
        let record = self.record.lock();
        let wait = FIRST_COOL_DOWN.mul_f64(spread(chance));
        if self.is_ejected() {
            self.ejected_until.store(self.since_epoch(now + wait), Ordering::Release);
        }
        drop(record);
    }

    /// The node gets its full share only after a while: it was resynchronised, and its caches are cold.
    pub(crate) fn ease_in(&self, now: Instant) {
        self.eased_in_since.store(self.since_epoch(now).max(1), Ordering::Relaxed);
    }

    /// Returns the part of its load that the node should get: 1, or less after it came back.
    pub(crate) fn share(&self, now: Instant) -> f64 {
        let since = self.eased_in_since.load(Ordering::Relaxed);
        if since == 0 {
            return 1.0;
        }
        let passed = Duration::from_nanos(self.since_epoch(now).saturating_sub(since));
        (passed.as_secs_f64() / SLOW_START.as_secs_f64()).clamp(FIRST_SHARE, 1.0)
    }

    /// Tells whether the share may be less than 1.
    #[inline]
    pub(crate) fn is_eased_in(&self) -> bool {
        self.eased_in_since.load(Ordering::Relaxed) != 0
    }

    /// The share is 1 again: calls need not work it out any more.
    pub(crate) fn end_slow_start(&self, now: Instant) {
        if self.is_eased_in() && self.share(now) >= 1.0 {
            self.eased_in_since.store(0, Ordering::Relaxed);
        }
    }

    /// The node answered a call. Returns whether it did so although it is ejected.
    #[inline]
    pub(crate) fn answered(&self) -> bool {
        // Read before write: healthy nodes share their cache line among all threads.
        (self.failures_in_a_row.load(Ordering::Relaxed) != 0 || self.is_ejected()) && self.answered_after_failures()
    }

    #[cold]
    fn answered_after_failures(&self) -> bool {
        let is_ejected = self.is_ejected();
        if !is_ejected {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        is_ejected
    }

    /// The cool-down is over, because the node was seen to answer. Returns whether that is news: calls may be answered for
    /// long where probes fail, as at a server that takes no more connections.
    pub(crate) fn end_cool_down(&self, now: Instant) -> bool {
        // The lock is not waited for: whoever has it looks after the node.
        let Some(mut record) = self.record.try_lock() else { return false };
        let is_early = record.hinted.is_some_and(|hinted| now.saturating_duration_since(hinted) < FIRST_COOL_DOWN);
        if is_early || !self.is_ejected() {
            return false;
        }
        record.hinted = Some(now);
        self.ejected_until.store(1, Ordering::Release);
        true
    }

    /// Takes note of a failure; `answered` counts all answers so far. Returns the ejection, if this is the first cause of
    /// one.
    pub(crate) fn fail(&self, outcome: Outcome, now: Instant, answered: u64, chance: f64) -> Option<Ejection> {
        if outcome == Outcome::Answered {
            return None;
        }
        let mut record = self.record.lock();
        let failures = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let too_many = record.window.fail(self.second(now), answered);
        if outcome == Outcome::Failed && failures < FAILURES_IN_A_ROW && !too_many {
            return None;
        }
        if let Some(left) = self.cools_down_for(now) {
            // Only probes decide how long an ejection lasts; without a monitor, this may have been one.
            if left.is_zero() && self.calls_probe.load(Ordering::Relaxed) {
                record.doublings = record.doublings.saturating_add(1);
                self.cool_down(&record, now, chance);
            }
            return None;
        }
        let was_back_for = record.returned.map(|returned| now.saturating_duration_since(returned));
        record.doublings = match was_back_for {
            Some(time) if time < SLOW_START => record.doublings.saturating_add(1),
            _ => 0,
        };
        Some(Ejection { cool_down: self.cool_down(&record, now, chance) })
    }

    /// Notes how many answers there were, so that failures are compared with those of the last seconds only.
    pub(crate) fn mark(&self, now: Instant, answered: u64) {
        self.record.lock().window.mark(self.second(now), answered);
    }

    fn cool_down(&self, record: &Record, now: Instant, chance: f64) -> Duration {
        let doubled = FIRST_COOL_DOWN.saturating_mul(1 << record.doublings.min(10)).min(LONGEST_COOL_DOWN);
        let wait = doubled.mul_f64(spread(chance));
        self.ejected_until.store(self.since_epoch(now + wait), Ordering::Release);
        wait
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        // 584 years fit.
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A factor of 0.8 to 1.2, so that clients that saw one failure do not all come back at one moment.
fn spread(chance: f64) -> f64 {
    0.8 + 0.4 * chance.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
