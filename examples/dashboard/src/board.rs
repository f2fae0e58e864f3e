//! All that the page shows, put together once a second.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use redis_replicated::{NodeSnapshot, ReplicatedClient, Role};
use serde::Serialize;

use crate::history::{History, NODES, Second};
use crate::journal::{Entry, Journal, Kind};
use crate::load::Load;
use crate::stage::{Condition, SLOWED_BY, Stage};
use crate::tally::Tally;
use crate::traffic::Traffic;

/// What the threads of the dashboard share.
pub struct Board {
    pub stage: Stage,
    pub journal: Journal,
    pub load: Load,
    pub traffic: [Traffic; NODES],
    history: Mutex<History>,
}

/// What the page is told.
#[derive(Serialize)]
pub struct State {
    /// Milliseconds since the start.
    now: u64,
    slowed_by_ms: u64,
    nodes: Vec<NodeState>,
    totals: Totals,
    seconds: Vec<Second>,
    events: Vec<Entry>,
}

#[derive(Serialize)]
struct NodeState {
    name: &'static str,
    addr: String,
    condition: Condition,
    /// What the client knows; `None`: the node is not in its set.
    seen: Option<Seen>,
    reads: u64,
    writes: u64,
    p99: f64,
    /// For how long it has been behind the master.
    lag_ms: Option<u64>,
}

#[derive(Serialize)]
struct Seen {
    is_master: bool,
    /// What the server says it is, if the client takes it for something else.
    claims: Option<String>,
    ejected: bool,
    reason: Option<String>,
    /// The part of its load that it gets, from 0 to 1.
    share: f64,
    sync_state: String,
    lag_bytes: Option<u64>,
    heartbeat_ms: Option<f64>,
    in_flight: u32,
    connections: u32,
}

#[derive(Serialize)]
struct Totals {
    reads: Calls,
    writes: Calls,
    kept: u64,
    broken: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Calls {
    done: u64,
    failed: u64,
    in_doubt: u64,
}

impl Board {
    pub fn new(stage: Stage) -> Self {
        let traffic = std::array::from_fn(|_| Traffic::new());
        Self { stage, journal: Journal::new(), load: Load::new(), traffic, history: Mutex::default() }
    }

    /// Ends a second: to be called once a second.
    pub fn tick(&self) {
        let nodes = self.traffic.each_ref().map(Traffic::take);
        let (reads, writes) = (self.load.reads.take_times(), self.load.writes.take_times());
        let mut history = self.history.lock();
        let failed = self.load.reads.failed() + self.load.writes.failed();
        history.push(Second {
            number: 0,
            at: self.journal.now(),
            reads: nodes.map(|node| node.reads),
            writes: nodes.map(|node| node.writes),
            p99: nodes.map(|node| node.times.p99),
            read_p50: reads.p50,
            read_p99: reads.p99,
            write_p99: writes.p99,
            failed,
        });
        drop(history);
        self.report_failures("read", &self.load.reads);
        self.report_failures("write", &self.load.writes);
    }

    /// Returns what the page does not know yet: the seconds and events after these.
    pub fn state(&self, client: &ReplicatedClient, second: u64, event: u64) -> State {
        let snapshot = client.snapshot();
        let last = self.history.lock().last();
        let node = |(index, place): (usize, &crate::stage::Place)| NodeState {
            name: place.name,
            addr: place.addr().to_string(),
            condition: place.condition(),
            seen: snapshot.nodes.iter().find(|node| node.addr == place.addr()).map(Seen::of),
            reads: last.reads[index],
            writes: last.writes[index],
            p99: last.p99[index],
            lag_ms: self.traffic[index].lag(),
        };
        let promises = &self.load.promises;
        State {
            now: self.journal.now(),
            slowed_by_ms: millis(SLOWED_BY) as u64,
            nodes: self.stage.nodes().iter().enumerate().map(node).collect(),
            totals: Totals {
                reads: Calls::of(&self.load.reads),
                writes: Calls::of(&self.load.writes),
                kept: promises.kept.load(Ordering::Relaxed),
                broken: promises.broken.load(Ordering::Relaxed),
                lost: promises.lost.load(Ordering::Relaxed),
            },
            seconds: self.history.lock().after(second),
            events: self.journal.after(event),
        }
    }

    fn report_failures(&self, kind: &str, tally: &Tally) {
        if let Some(error) = tally.take_last_error() {
            self.journal.write(Kind::Failure, None, format!("{kind}s failed in the last second, for example: {error}"));
        }
    }
}

impl Seen {
    fn of(node: &NodeSnapshot) -> Self {
        Self {
            is_master: node.assigned_role == Role::Master,
            claims: (node.role != node.assigned_role).then(|| node.role.to_string()),
            ejected: node.ejected,
            reason: node.reason.clone(),
            share: node.share,
            sync_state: node.sync_state.to_string(),
            lag_bytes: node.replication.as_ref().and_then(|replication| replication.lag),
            heartbeat_ms: node.heartbeat.map(millis),
            in_flight: node.in_flight,
            connections: node.connections_in_use,
        }
    }
}

impl Calls {
    fn of(tally: &Tally) -> Self {
        Self { done: tally.done(), failed: tally.failed(), in_doubt: tally.in_doubt() }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
