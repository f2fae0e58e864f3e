//! How far a node's data is, as far as it is known: a hint which node to ask, never a proof.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lanes::Padded;
use crate::replication::{Evidence, Position, Report, Role};

/// After a reply that did not prove what was asked for, a node is asked after the others for this long. Doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 7;

/// What a node should have, so that it is likely to prove what a call asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hint {
    /// Nothing has to be proven.
    None,
    /// Something without a position: a node that lagged behind a moment ago is less likely to have it.
    InStep,
    At(Position),
}

/// What a node proved lately. Only calls that have to prove something take this lock, once each while the node keeps up.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// It has lagged behind since it last proved anything.
    has_missed: AtomicBool,
    state: Padded<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    position: Option<Position>,
    /// How often it has lagged behind since it last proved anything, and until when it is thought to.
    misses: u32,
    lags_until: Option<Instant>,
    /// It was last seen as a replica that synchronised, or held no data that it could name.
    may_hold_other_data: bool,
}

impl Progress {
    /// Records what the node said beside a reply, and takes away what cannot be believed of it.
    pub(crate) fn hears(&self, evidence: &mut Evidence) {
        let mut state = self.state.lock();
        state.position = Some(evidence.position);
        if !state.believes(evidence.is_master(), evidence.source.holds_what_it_names()) {
            evidence.earlier = None;
        }
    }

    /// Does the same with what the node said to the monitor.
    pub(super) fn hears_report(&self, report: &mut Report) {
        let mut state = self.state.lock();
        state.position = report.position().or(state.position);
        if !state.believes(report.role == Some(Role::Master), report.holds_what_it_names()) {
            report.distrust();
        }
    }

    /// Records that the node proved what was asked for.
    pub(crate) fn proved(&self) {
        // Read before write: all threads share the cache line of a node that keeps up.
        if self.has_missed.load(Ordering::Relaxed) {
            let mut state = self.state.lock();
            (state.misses, state.lags_until) = (0, None);
            self.has_missed.store(false, Ordering::Relaxed);
        }
    }

    /// Records that the node did not prove what was asked for.
    pub(crate) fn missed(&self, now: Instant) {
        let mut state = self.state.lock();
        state.lags_until = now.checked_add(FIRST_PAUSE * (1 << state.misses.min(DOUBLINGS)));
        state.misses = state.misses.saturating_add(1);
        self.has_missed.store(true, Ordering::Relaxed);
    }

    /// Returns whether the node may well have this by now: unless it lagged behind a moment ago, it may have caught up.
    #[inline]
    pub(crate) fn may_have(&self, hint: Hint, now: Instant) -> bool {
        hint == Hint::None || !self.has_missed.load(Ordering::Relaxed) || self.probably_has(hint, now)
    }

    #[cold]
    fn probably_has(&self, hint: Hint, now: Instant) -> bool {
        let state = self.state.lock();
        let has = |known: Position| match hint {
            Hint::At(position) => known.history == position.history && known.offset >= position.offset,
            Hint::None | Hint::InStep => false,
        };
        state.lags_until.is_none_or(|end| now >= end) || state.position.is_some_and(has)
    }
}

impl State {
    /// Returns whether the node's word for what it continues is good enough. `holds`: whether a replica holds the data that
    /// it names, as far as it shows that.
    ///
    /// A master that was last seen in the middle of a resynchronisation is not believed: over a second channel, the data of
    /// another server may have been loaded before its promotion.
    fn believes(&mut self, is_master: bool, holds: Option<bool>) -> bool {
        if is_master {
            return !self.may_hold_other_data;
        }
        self.may_hold_other_data = holds.map_or(self.may_hold_other_data, |holds| !holds);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_PAUSE, Hint, Progress};
    use crate::replication::{Evidence, EvidenceSource, Position, ReplicationId, Report};
    use std::time::{Duration, Instant};

    #[test]
    fn a_node_that_lags_behind_is_asked_less_and_less_until_it_proves_something() {
        let history = ReplicationId::parse("a1".repeat(20)).unwrap();
        let at = |offset| Position { history, offset };
        let (progress, now) = (Progress::default(), Instant::now());
        assert!(progress.may_have(Hint::At(at(5)), now), "not known");
        let told = |offset| Evidence { source: EvidenceSource::Replica, position: at(offset), earlier: None };
        progress.hears(&mut told(4));
        assert!(progress.may_have(Hint::At(at(5)), now), "it goes on all the time");
        progress.missed(now);
        assert!(!progress.may_have(Hint::At(at(5)), now) && progress.may_have(Hint::At(at(4)), now));
        assert!(!progress.may_have(Hint::InStep, now) && progress.may_have(Hint::None, now));
        assert!(progress.may_have(Hint::At(at(5)), now + FIRST_PAUSE));
        (0..40).for_each(|_| progress.missed(now));
        assert!(!progress.may_have(Hint::At(at(5)), now + Duration::from_secs(1)));
        assert!(progress.may_have(Hint::At(at(5)), now + Duration::from_secs(2)));
        progress.hears(&mut told(5));
        assert!(progress.may_have(Hint::At(at(5)), now), "by its own word");
        progress.proved();
        assert!(progress.may_have(Hint::At(at(9)), now));
    }

    #[test]
    fn a_master_last_seen_in_the_middle_of_a_resynchronisation_is_not_believed_what_it_continues() {
        let (one, two) = ("a1".repeat(20), "b2".repeat(20));
        let replica = |link: &str, syncing: u8, offset: u64| {
            format!(
                "role:slave\nmaster_link_status:{link}\nmaster_sync_in_progress:{syncing}\nslave_repl_offset:{offset}\nslave_read_only:1\nmaster_replid:{one}\nmaster_replid2:{two}\nsecond_repl_offset:-1\n"
            )
        };
        let master = format!(
            "role:master\nmaster_replid:{two}\nmaster_replid2:{one}\nsecond_repl_offset:71\nmaster_repl_offset:70\nrepl_backlog_active:1\n"
        );
        for (before, is_believed) in [
            (replica("up", 0, 70), true),
            (replica("down", 0, 70), true),
            (replica("down", 0, 1), false),
            (replica("down", 1, 70), false),
        ] {
            let (calls, monitor) = (Progress::default(), Progress::default());
            let hears = |text: &str| {
                let mut evidence = Evidence::of_info(text.as_bytes()).unwrap();
                let mut report = Report::of_info(text);
                calls.hears(&mut evidence);
                monitor.hears_report(&mut report);
                (evidence.earlier.is_some(), report.believed_history().unwrap().origin().is_some())
            };
            assert_eq!(hears(&master), (true, true));
            hears(&before);
            assert_eq!(hears(&master), (is_believed, is_believed), "{before}");
            hears(&replica("up", 0, 70));
            assert_eq!(hears(&master), (true, true), "it was seen behind it");
        }
    }
}
