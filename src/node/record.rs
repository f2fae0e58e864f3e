//! What is recorded of a node's attempts, and what its health makes of them. Whoever records makes the events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::health::{Avoided, Ejection, Outcome, Probe};
use super::{InFlight, Node, Role, SyncState};

/// An attempt that runs on a node, until dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    _in_flight: InFlight<'a>,
    _probe: Option<Probe<'a>>,
}

impl Node {
    /// Records that the node gave a complete reply; an error of the application is one. Returns whether it did so although
    /// it is ejected.
    #[inline]
    pub(crate) fn record_answer(&self) -> bool {
        if self.answered.fetch_add(1, Ordering::Relaxed) == 0 {
            self.health.reached();
        }
        self.health.answered()
    }

    /// Has the node asked after others from this moment on, unless it is reached before.
    pub(crate) fn await_until(&self, moment: Instant) {
        self.health.await_until(moment);
    }

    /// Records that the monitor reached the node.
    pub(crate) fn reached(&self) {
        self.health.reached();
    }

    /// Returns whether nobody has reached the node yet, in the time that it had for that.
    #[inline]
    pub(crate) fn is_unreached(&self, now: Instant) -> bool {
        self.health.is_unreached(now)
    }

    /// Records that an attempt failed in a way that speaks against the node. `chance`, 0 to 1, spreads the cool-down.
    /// Returns the ejection, if that ejects the node.
    #[cold]
    pub(crate) fn record_failure(&self, outcome: Outcome, now: Instant, chance: f64) -> Option<Ejection> {
        self.count_failure();
        self.latency.failed(now);
        self.blame(outcome, now, chance)
    }

    /// As [`record_failure`](Self::record_failure), for a loss that was counted when it happened.
    #[cold]
    pub(crate) fn record_loss(&self, now: Instant, chance: f64) -> Option<Ejection> {
        self.latency.failed(now);
        self.blame(Outcome::Failed, now, chance)
    }

    /// Counts a failed attempt that does not speak against the node.
    pub(crate) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`record_failure`](Self::record_failure), for what the monitor found out.
    pub(crate) fn blame(&self, outcome: Outcome, now: Instant, chance: f64) -> Option<Ejection> {
        self.health.fail(outcome, now, self.answered(), chance)
    }

    /// Records why no connection could be made; `None` if the last failure was another one.
    pub(crate) fn explain(&self, reason: Option<String>) {
        *self.reason.lock() = reason.map(Into::into);
    }

    /// Returns why no connection could be made, whether the node is ejected or not.
    pub(crate) fn explanation(&self) -> Option<Arc<str>> {
        self.reason.lock().clone()
    }

    /// Returns why the node is ejected, if no connection to it could be made.
    pub(crate) fn reason(&self) -> Option<String> {
        self.explanation().filter(|_| self.is_ejected()).map(|reason| reason.as_ref().to_owned())
    }

    /// Counts an attempt as in flight, and as the probe if the node is ejected and calls are its probes. Refused while another
    /// call probes.
    #[inline]
    pub(crate) fn claim(&self, now: Instant) -> Result<Claim<'_>, Avoided> {
        let in_flight = self.begin();
        self.health.admit(now).map(|probe| Claim { _in_flight: in_flight, _probe: probe })
    }

    /// Returns whether calls should go elsewhere because of what became of the last ones.
    #[inline]
    pub(crate) fn is_avoided(&self, now: Instant) -> bool {
        self.health.is_avoided(now)
    }

    /// Returns whether nothing at all speaks against the node in this role.
    #[inline]
    pub(crate) fn is_sound_as(&self, role: Role) -> bool {
        let is_in_sync = self.sync_state.load(Ordering::Relaxed) == SyncState::InSync as u8;
        is_in_sync && !self.health.is_ejected() && self.role() == role
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.health.is_ejected()
    }

    /// Ends an ejection: a probe found the node able to serve, or it was chosen as the master. Returns whether it was
    /// ejected.
    pub(crate) fn come_back(&self, now: Instant) -> bool {
        let was_ejected = self.health.come_back(now);
        if was_ejected {
            // Nothing is known of its latency after an outage.
            self.latency.forget();
        }
        was_ejected
    }
}
