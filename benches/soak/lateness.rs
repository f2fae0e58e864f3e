//! How late calls were back, and how late this machine was itself.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How late a call may be back.
pub(super) const GRACE: Duration = Duration::from_millis(20);
/// A thread that does nothing but sleep is late from here on.
const STALL: Duration = Duration::from_millis(3);
/// How many late calls, and how many stalls, are kept.
const KEPT: usize = 10;
const STALLS: usize = 10_000;

/// A call that was late by more than the grace.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub(super) what: &'static str,
    pub(super) start: Instant,
    pub(super) limit: Duration,
    pub(super) took: Duration,
    /// How long its thread could have run, and had no processor.
    pub(super) starved: Duration,
}

/// All late calls, and what a thread met that did nothing but sleep.
#[derive(Debug, Default)]
pub(super) struct Lateness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the sleeping thread should have been woken, and when it was.
    stalls: VecDeque<(Instant, Instant)>,
    /// Calls that are to be judged as soon as the stalls beside them are known.
    pending: Vec<Late>,
    late: Figures,
    /// Without what the machine itself was late.
    net: Figures,
    asleep: Figures,
    /// The latest of them, the latest first.
    worst: Vec<(Duration, Late)>,
}

/// How many there were, and the latest: of all, and since that was last taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) count: u64,
    pub(super) latest: Duration,
    pub(super) recent: Duration,
}

/// The figures at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) late: Figures,
    pub(super) net: Figures,
    /// Of a thread that does nothing but sleep.
    pub(super) asleep: Figures,
}

impl Figures {
    fn record(&mut self, late: Duration) {
        self.count += 1;
        self.latest = self.latest.max(late);
        self.recent = self.recent.max(late);
    }

    fn take(&mut self) -> Self {
        let figures = *self;
        self.recent = Duration::ZERO;
        figures
    }
}

impl Lateness {
    pub(super) fn record(&self, late: Late) {
        let mut state = self.0.lock().unwrap();
        state.late.record(late.took - late.limit);
        state.pending.push(late);
    }

    /// Sleeps once, and records how late it was woken.
    pub(super) fn sleep(&self) {
        let due = Instant::now() + Duration::from_millis(5);
        thread::sleep(Duration::from_millis(5));
        let woken = Instant::now();
        let late = woken.saturating_duration_since(due);
        if late < STALL {
            return;
        }
        let mut state = self.0.lock().unwrap();
        state.asleep.record(late);
        state.stalls.push_back((due, woken));
        if state.stalls.len() > STALLS {
            state.stalls.pop_front();
        }
    }

    /// Judges the calls that had ended by then.
    pub(super) fn judge(&self, end: Instant) {
        let mut state = self.0.lock().unwrap();
        let (known, pending) = std::mem::take(&mut state.pending).into_iter().partition(|late| late.end() < end);
        state.pending = pending;
        let known: Vec<Late> = known;
        for late in known {
            let of_machine = late.starved.max(state.stalled(late.start, late.end()));
            let net = (late.took - late.limit).saturating_sub(of_machine);
            if net > GRACE {
                state.net.record(net);
            }
            let at = state.worst.partition_point(|(other, _)| *other >= net);
            state.worst.insert(at, (net, late));
            state.worst.truncate(KEPT);
        }
    }

    /// Returns how long the sleeping thread was late since then.
    pub(super) fn stalled_since(&self, start: Instant) -> Duration {
        self.0.lock().unwrap().stalled(start, Instant::now())
    }

    /// Returns the figures, and takes the recent ones.
    pub(super) fn report(&self) -> Report {
        let mut state = self.0.lock().unwrap();
        Report { late: state.late.take(), net: state.net.take(), asleep: state.asleep.take() }
    }

    /// Returns the calls that were latest without what the machine itself was late.
    pub(super) fn worst(&self) -> Vec<(Duration, Late)> {
        self.0.lock().unwrap().worst.clone()
    }
}

impl State {
    /// Returns how long the sleeping thread was late in this time.
    fn stalled(&self, start: Instant, end: Instant) -> Duration {
        let within = |(due, woken): &(Instant, Instant)| (*woken).min(end).saturating_duration_since((*due).max(start));
        self.stalls.iter().rev().take_while(|(_, woken)| *woken >= start).map(within).sum()
    }
}

impl Late {
    fn end(&self) -> Instant {
        self.start + self.took
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, limit, took, starved, .. } = self;
        write!(f, "{what} within {limit:?} took {took:.1?}, {starved:.1?} of it without a processor")
    }
}
