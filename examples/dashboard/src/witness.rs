//! What the client tells about its calls, its nodes and the set: counted, or written into the journal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis_replicated::observe::{
    CallEnded, Event, Interest, NodeChange, NodeEvent, Observer, SessionChange, SessionEvent, TopologyChange,
};
use redis_replicated::{NodeAddr, Outcome, SyncState};

use crate::board::Board;
use crate::journal::Kind;

/// Calls that take longer are written into the journal.
pub const SLOW: Duration = Duration::from_secs(1);
/// At most one slow call is written in this time.
const PAUSE_MS: u64 = 5000;

/// The observer of the client.
pub struct Witness {
    board: Arc<Board>,
    /// When the last slow call was written, in milliseconds since the start.
    slow_at: AtomicU64,
}

impl Witness {
    pub fn new(board: Arc<Board>) -> Self {
        Self { board, slow_at: AtomicU64::new(0) }
    }

    fn call(&self, call: &CallEnded<'_>) {
        let index = call.node().and_then(|node| self.board.stage.index_of(node));
        if let (Some(index), None) = (index, call.error()) {
            self.board.traffic[index].count(call.is_read());
        }
        if call.is_slow() {
            self.slow_call(index, call);
        }
    }

    fn slow_call(&self, index: Option<usize>, call: &CallEnded<'_>) {
        let (now, last) = (self.board.journal.now(), self.slow_at.load(Ordering::Relaxed));
        let is_due = last == 0 || now.saturating_sub(last) >= PAUSE_MS;
        if is_due && self.slow_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (took, attempts) = (told(call.took()), call.attempts());
            let plural = if attempts == 1 { "" } else { "s" };
            let text = format!("slow call: {} took {took}, with {attempts} attempt{plural}", call.command());
            self.board.journal.write(Kind::Change, index, text);
        }
    }

    fn node(&self, event: &NodeEvent<'_>) {
        let Some(index) = self.board.stage.index_of(event.node()) else { return };
        let name = self.board.stage.nodes()[index].name;
        let (kind, text) = match event.change() {
            NodeChange::Ejected { outcome, reason, .. } => {
                let reason = reason.unwrap_or(match outcome {
                    Outcome::Unreachable => "no connection can be made",
                    Outcome::NotServing => "it runs, but does not serve",
                    _ => "it does not answer in time",
                });
                (Kind::Trouble, format!("node {name} is ejected: {reason}"))
            }
            NodeChange::Returned { after, .. } => {
                (Kind::Recovery, format!("node {name} is back after {}, with a slow start", told(after)))
            }
            NodeChange::SyncState(SyncState::InSync) => (Kind::Recovery, format!("node {name} is in sync")),
            NodeChange::SyncState(state) => (Kind::Trouble, format!("node {name} is not in sync: {state}")),
            NodeChange::Role(role) => (Kind::Change, format!("node {name} says that it is a {role} now")),
            NodeChange::Gauges(gauges) => {
                self.board.traffic[index].set_lag(gauges.lag_time);
                return;
            }
            _ => return,
        };
        self.board.journal.write(kind, Some(index), text);
    }

    fn topology(&self, change: TopologyChange<'_>) {
        let (stage, journal) = (&self.board.stage, &self.board.journal);
        match change {
            TopologyChange::Failover { to, .. } => {
                let text = format!("failover: writes go to node {} from now on", stage.name_of(to));
                journal.write_with_mark(Kind::Failover, stage.index_of(to), text, Some("master"));
            }
            TopologyChange::WritesResumed { master, after, .. } => {
                let text = format!("writes go on, {} after the old master was out", told(after));
                journal.write(Kind::Recovery, stage.index_of(master), text);
            }
            TopologyChange::Changed { master, replicas, .. } => {
                let names =
                    |nodes: &[&NodeAddr]| nodes.iter().map(|node| stage.name_of(node)).collect::<Vec<_>>().join(" ");
                let master = master.map_or("none", |master| stage.name_of(master));
                let text = format!("the set is now: master {master}, replicas {}", names(replicas));
                journal.write(Kind::Change, None, text);
            }
            TopologyChange::ProviderFailed { error, .. } => {
                journal.write(Kind::Trouble, None, format!("the Sentinels do not describe the set: {error}"));
            }
            _ => {}
        }
    }

    fn session(&self, event: &SessionEvent<'_>) {
        let text = match event.change() {
            SessionChange::WriteLost => "a session is told that the failover lost its last write",
            SessionChange::HistoryLost => "a session is told that the failover lost what it had read",
            SessionChange::Unproven => "a session is told that its last write may be lost",
            _ => return,
        };
        self.board.journal.write(Kind::Trouble, self.board.stage.index_of(event.node()), text);
    }
}

impl Observer for Witness {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Call(call) => self.call(call),
            Event::Attempt(attempt) => {
                if let (Some(index), None) = (self.board.stage.index_of(attempt.node()), attempt.error()) {
                    self.board.traffic[index].record(attempt.took());
                }
            }
            Event::Node(node) => self.node(node),
            Event::Topology(topology) => self.topology(topology.change()),
            Event::Session(session) => self.session(session),
            _ => {}
        }
    }

    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::ATTEMPTS | Interest::NODES | Interest::TOPOLOGY | Interest::SESSIONS
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

/// Writes a time as people do.
fn told(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
