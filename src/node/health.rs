//! The health of a node: available, ejected after failures, probing, or in slow start after an ejection.
//!
//! The caller gives all times and random numbers. Reading changes nothing. A healthy call touches atomics only; failures and
//! probes take a lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use self::kind::Health;
use super::record::{Outage, Outcome};
use super::state::{InFlight, Node};
use super::sync_state::SyncState;
use crate::replication::{Report, Role};

mod kind;

/// The cool-down of the first ejection. It doubles with each failed probe.
const FIRST_COOL_DOWN: Duration = Duration::from_millis(500);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(30);
/// This many failures in a row eject a node to which connections can be made.
const FAILURES_IN_A_ROW: u32 = 3;
/// How long the slow start takes, in which the share of a node grows to 100 %.
const SLOW_START: Duration = Duration::from_secs(10);
/// The share at the beginning of the slow start.
const FIRST_SHARE: f64 = 0.1;

/// The beginning of an ejection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ejection {
    pub(crate) cool_down: Duration,
}

/// An attempt that runs on a node, until dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    _in_flight: InFlight<'a>,
    _probe: Option<Probe<'a>>,
}

/// A call that finds out whether an ejected node is available again, until dropped.
#[derive(Debug)]
struct Probe<'a>(&'a Node);

/// Another call probes the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Avoided;

impl Node {
    /// Records a complete reply; an error of the application is one. Returns whether the node is ejected all the same.
    #[inline]
    pub(crate) fn record_answer(&self) -> bool {
        if self.traffic.answered.fetch_add(1, Ordering::Relaxed) == 0 {
            self.reached();
        }
        // Read before write: all threads share the cache line of a healthy node.
        (self.record.failures_in_a_row.load(Ordering::Relaxed) != 0 || self.is_ejected())
            && self.answered_after_failures()
    }

    #[cold]
    fn answered_after_failures(&self) -> bool {
        let is_ejected = self.is_ejected();
        if !is_ejected {
            self.record.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        is_ejected
    }

    /// Records a failed attempt that counts against the node. `chance`, 0 to 1, spreads the cool-down. Returns the ejection,
    /// if this failure begins one.
    #[cold]
    pub(crate) fn record_failure(&self, outcome: Outcome, now: Instant, chance: f64) -> Option<Ejection> {
        self.count_failure();
        self.traffic.latency.failed(now);
        self.count_against(outcome, now, chance)
    }

    /// As [`record_failure`](Self::record_failure), for a loss that was counted when it happened.
    #[cold]
    pub(crate) fn record_loss(&self, now: Instant, chance: f64) -> Option<Ejection> {
        self.traffic.latency.failed(now);
        self.count_against(Outcome::Failed, now, chance)
    }

    /// Counts a failed attempt that does not count against the node.
    pub(crate) fn count_failure(&self) {
        self.record.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`record_failure`](Self::record_failure), for a failure of the monitor.
    pub(crate) fn count_against(&self, outcome: Outcome, now: Instant, chance: f64) -> Option<Ejection> {
        if outcome == Outcome::Answered {
            return None;
        }
        let mut outage = self.record.outage.lock();
        outage.outcome = Some(outcome);
        let failures = self.record.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let too_many = outage.window.fail(self.record.second(now), self.answered());
        if outcome == Outcome::Failed && failures < FAILURES_IN_A_ROW && !too_many {
            return None;
        }
        if let Some(left) = self.cools_down_for(now) {
            // Only probes decide how long an ejection lasts. Without a monitor, this call may have been one.
            if left.is_zero() && self.record.calls_probe.load(Ordering::Relaxed) {
                outage.doublings = outage.doublings.saturating_add(1);
                self.cool_down(&outage, now, chance);
            }
            return None;
        }
        let was_back_for = outage.returned.map(|returned| now.saturating_duration_since(returned));
        outage.doublings = match was_back_for {
            Some(time) if time < SLOW_START => outage.doublings.saturating_add(1),
            _ => 0,
        };
        outage.ejected = Some(now);
        outage.ejections += 1;
        Some(Ejection { cool_down: self.cool_down(&outage, now, chance) })
    }

    /// Records in words why an attempt, or the monitor, failed; `None` if that is not known.
    pub(crate) fn record_reason(&self, reason: Option<String>) {
        *self.record.reason.lock() = reason.map(Into::into);
    }

    /// Returns why the last attempt failed, whether the node is ejected or not.
    pub(crate) fn last_reason(&self) -> Option<Arc<str>> {
        self.record.reason.lock().clone()
    }

    /// Records the server's report. Returns the report before.
    pub(crate) fn record_report(&self, report: Arc<Report>, now: Instant) -> Option<Arc<Report>> {
        if let Some(zone) = &report.zone {
            // A configured zone stays.
            let _ = self.zone.set(zone.clone());
        }
        // From here on, failures are compared with the answers of the last seconds only.
        self.record.outage.lock().window.mark(self.record.second(now), self.answered());
        self.end_slow_start(now);
        self.reported.lock().replace((now, report)).map(|(_, before)| before)
    }

    /// Records the sync state. Returns whether it is new.
    pub(crate) fn set_sync_state(&self, sync_state: SyncState, now: Instant) -> bool {
        let before = SyncState::of(self.sync_state.swap(sync_state as u8, Ordering::Relaxed));
        if before == SyncState::Syncing && sync_state == SyncState::InSync {
            // Its caches are cold.
            self.begin_slow_start(now);
        }
        before != sync_state
    }

    /// Makes calls prefer other nodes from this moment on, unless the node is reached before.
    pub(crate) fn await_until(&self, moment: Instant) {
        self.record.unreached_from.store(self.record.nanos(moment).max(1), Ordering::Relaxed);
    }

    /// Records that the node was reached.
    #[inline]
    pub(crate) fn reached(&self) {
        // Read before write: all threads share the cache line of a healthy node.
        if self.record.unreached_from.load(Ordering::Relaxed) != 0 {
            self.record.unreached_from.store(0, Ordering::Relaxed);
        }
    }

    /// Returns whether the node was never reached, and the time for that is over.
    #[inline]
    pub(crate) fn is_unreached(&self, now: Instant) -> bool {
        let from = self.record.unreached_from.load(Ordering::Relaxed);
        from != 0 && self.record.nanos(now) >= from
    }

    /// Returns whether nothing counts against the node in this role: it is in sync, not ejected, and has the role.
    #[inline]
    pub(crate) fn is_sound_as(&self, role: Role) -> bool {
        let is_in_sync = self.sync_state.load(Ordering::Relaxed) == SyncState::InSync as u8;
        is_in_sync && !self.is_ejected() && self.role() == role
    }

    #[inline]
    pub(crate) fn is_ejected(&self) -> bool {
        self.record.ejected_until.load(Ordering::Relaxed) != 0
    }

    /// Returns whether calls should go elsewhere. Without a monitor, one call is wanted as a probe once the cool-down is over.
    #[inline]
    pub(crate) fn is_avoided(&self, now: Instant) -> bool {
        let until = self.record.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.is_avoided_until(until, now)
    }

    #[cold]
    fn is_avoided_until(&self, until: u64, now: Instant) -> bool {
        !self.record.calls_probe.load(Ordering::Relaxed)
            || self.record.nanos(now) < until
            || self.record.is_probed.load(Ordering::Relaxed)
    }

    /// Counts an attempt as in flight, and as the probe if the node is ejected and calls are its probes. Fails while another
    /// call probes.
    #[inline]
    pub(crate) fn claim(&self, now: Instant) -> Result<Claim<'_>, Avoided> {
        let in_flight = self.begin();
        let probe = if self.is_ejected() { self.probe(now)? } else { None };
        Ok(Claim { _in_flight: in_flight, _probe: probe })
    }

    #[cold]
    fn probe(&self, now: Instant) -> Result<Option<Probe<'_>>, Avoided> {
        let cools_down = self.cools_down_for(now).is_none_or(|left| !left.is_zero());
        if cools_down || !self.record.calls_probe.load(Ordering::Relaxed) {
            // It was selected in spite of its ejection, as the last resort.
            return Ok(None);
        }
        if self.begin_probe(now) { Ok(Some(Probe(self))) } else { Err(Avoided) }
    }

    /// From now on, only the monitor ends ejections.
    pub(crate) fn leave_probes_to_monitor(&self) {
        self.record.calls_probe.store(false, Ordering::Relaxed);
    }

    /// Returns the time until the node may be probed; `None` if it is not ejected.
    pub(crate) fn cools_down_for(&self, now: Instant) -> Option<Duration> {
        let until = self.record.ejected_until.load(Ordering::Relaxed);
        (until != 0).then(|| Duration::from_nanos(until.saturating_sub(self.record.nanos(now))))
    }

    /// Begins a probe, if the cool-down is over and no other probe runs. The caller has to end it by
    /// [`end_probe`](Self::end_probe).
    pub(crate) fn begin_probe(&self, now: Instant) -> bool {
        let until = self.record.ejected_until.load(Ordering::Acquire);
        if until == 0 || self.record.nanos(now) < until {
            return false;
        }
        // Acquire and release: the winner sees everything that the last probe has written.
        let won = self.record.is_probed.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if won && !self.is_ejected() {
            // The last probe has just succeeded.
            self.end_probe();
            return false;
        }
        won
    }

    pub(crate) fn end_probe(&self) {
        self.record.is_probed.store(false, Ordering::Release);
    }

    /// Ends an ejection: a probe found the node able to serve, or it became the master. Slow start begins. Returns how
    /// long it was ejected; `None`: it was not.
    pub(crate) fn come_back(&self, now: Instant) -> Option<Duration> {
        let mut outage = self.record.outage.lock();
        let was_ejected = self.is_ejected();
        outage.window.forget();
        outage.returned = Some(now);
        self.record.failures_in_a_row.store(0, Ordering::Relaxed);
        if was_ejected {
            self.begin_slow_start(now);
            // Its latency after an outage is not known.
            self.traffic.latency.forget();
        }
        self.record.ejected_until.store(0, Ordering::Release);
        was_ejected.then(|| outage.ejected.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)))
    }

    /// Returns since when the node has been ejected; `None`: it is not.
    pub(crate) fn ejected_since(&self) -> Option<Instant> {
        self.record.outage.lock().ejected.filter(|_| self.is_ejected())
    }

    /// Doubles the cool-down after a failed probe.
    pub(crate) fn probe_failed(&self, now: Instant, chance: f64) {
        let mut outage = self.record.outage.lock();
        if self.is_ejected() {
            outage.doublings = outage.doublings.saturating_add(1);
            self.cool_down(&outage, now, chance);
        }
    }

    /// Begins the shortest cool-down again: the node can be reached, but is not ready yet.
    pub(crate) fn probe_came_early(&self, now: Instant, chance: f64) {
        let _outage = self.record.outage.lock();
        if self.is_ejected() {
            self.eject_for(FIRST_COOL_DOWN, now, chance);
        }
    }

    /// Ends the cool-down: the node answered a call. Returns whether it did. At most once in 500 ms: where probes fail, as at a
    /// server that accepts no more connections, calls may be answered for long.
    pub(crate) fn end_cool_down(&self, now: Instant) -> bool {
        // Does not wait for the lock: the thread that holds it records a failure or a probe.
        let Some(mut outage) = self.record.outage.try_lock() else { return false };
        let is_early = outage.hinted.is_some_and(|hinted| now.saturating_duration_since(hinted) < FIRST_COOL_DOWN);
        if is_early || !self.is_ejected() {
            return false;
        }
        outage.hinted = Some(now);
        self.record.ejected_until.store(1, Ordering::Release);
        true
    }

    fn cool_down(&self, outage: &Outage, now: Instant, chance: f64) -> Duration {
        let doubled = FIRST_COOL_DOWN.saturating_mul(1 << outage.doublings.min(10)).min(LONGEST_COOL_DOWN);
        self.eject_for(doubled, now, chance)
    }

    /// Ejects the node for 0.8 to 1.2 times this long, so that clients that saw one failure do not all return at one moment.
    fn eject_for(&self, cool_down: Duration, now: Instant, chance: f64) -> Duration {
        let wait = cool_down.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0));
        self.record.ejected_until.store(self.record.nanos(now + wait), Ordering::Release);
        wait
    }

    fn begin_slow_start(&self, now: Instant) {
        self.record.slow_start_since.store(self.record.nanos(now).max(1), Ordering::Relaxed);
    }

    /// Returns whether [`share_at`](Self::share_at) may be less than 1.
    #[inline]
    pub(crate) fn is_slow_start(&self) -> bool {
        self.record.slow_start_since.load(Ordering::Relaxed) != 0
    }

    /// Ends the slow start, if its time is over: then calls need not calculate the share.
    pub(crate) fn end_slow_start(&self, now: Instant) {
        if self.is_slow_start() && self.share_at(now) >= 1.0 {
            self.record.slow_start_since.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the part of its load that the node should get. Normally 1; after an ejection it grows from 0.1 to 1 in 10 s.
    #[must_use]
    pub fn share_at(&self, now: Instant) -> f64 {
        let since = self.record.slow_start_since.load(Ordering::Relaxed);
        if since == 0 {
            return 1.0;
        }
        let passed = Duration::from_nanos(self.record.nanos(now).saturating_sub(since));
        (passed.as_secs_f64() / SLOW_START.as_secs_f64()).clamp(FIRST_SHARE, 1.0)
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.end_probe();
    }
}

#[cfg(test)]
mod tests;
