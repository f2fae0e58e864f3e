//! The worker of one node: asks it for its state at intervals, and probes it while it is ejected.
//!
//! A node that hangs delays only its own worker.

use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::pace::next_round;
use super::thread::{guarded, spawn};
use crate::error::Result;
use crate::pool::{Silence, StatusConnection};
use crate::replication::Report;
use crate::topology::{Server, TopologyStore, Woken};

/// However often questions are requested, a node is asked at most once in this time.
const BREATH: Duration = Duration::from_millis(20);
/// An answer that failed to come this long before the deadline was waited for as long as it should be.
const MARGIN: Duration = Duration::from_millis(5);

/// Starts a worker for the node, unless it has one. It ends when the node leaves the set, and with the client.
pub(super) fn start(server: &Arc<Server>, store: &Arc<TopologyStore>) -> Result<()> {
    let connection = server.pool.status_connection();
    if !server.take_worker() {
        return Ok(());
    }
    let worker = NodeWorker { server: Arc::clone(server), store: Arc::downgrade(store), connection };
    // The next description tries again.
    spawn("redis-watch", move || worker.run()).inspect_err(|_| server.leave_worker())
}

/// Asks the node once, on a connection opened for that.
pub(super) fn ask_once(server: &Server, store: &TopologyStore, deadline: Instant) {
    let asked = Instant::now();
    let mut connection = server.pool.status_connection();
    connection.set_end(deadline);
    let answer = connection.ask();
    // The time that was left may have been too short for anything.
    if answer.is_err() && Instant::now() + MARGIN >= deadline {
        return;
    }
    store.observe_answer(server, answer, asked);
    if connection.is_shared() {
        store.observe_shared_endpoint(server);
    }
}

struct NodeWorker {
    server: Arc<Server>,
    /// Weak: the client ends with its last handle, not with this worker.
    store: Weak<TopologyStore>,
    connection: StatusConnection,
}

impl NodeWorker {
    fn run(mut self) {
        let mut wait = Duration::ZERO;
        let mut last = None::<Instant>;
        loop {
            let Some(wakeup) = &self.server.wakeup else { return };
            if wakeup.wait(wait) == Woken::Closed {
                return;
            }
            if let Some(early) = last.map(|last| BREATH.saturating_sub(last.elapsed())).filter(|early| !early.is_zero())
            {
                sleep(early);
            }
            let asked = Instant::now();
            last = Some(asked);
            let server = Arc::clone(&self.server);
            if guarded(Some(server.node.addr()), || self.look(asked)).is_none() {
                self.recover(asked);
            }
            let Some(store) = self.store.upgrade() else { return };
            wait = next_round(&store, &self.server);
        }
    }

    /// Asks the node once; as a probe, if it is ejected and has cooled down.
    fn look(&mut self, asked: Instant) {
        let is_probe = self.server.node.begin_probe(asked);
        if is_probe {
            self.connection.close();
        }
        let was_open = self.connection.is_open();
        let answer = match self.ask() {
            // The name may lead to another server now: a fresh connection decides.
            Ok(report) if was_open && report.role.is_some_and(|role| role != self.server.node.role()) => {
                self.connection.close();
                self.ask()
            }
            answer => answer,
        };
        let answers = answer.is_ok();
        if let Some(took) = self.connection.round_trip().filter(|_| answers) {
            self.server.node.record_heartbeat(took);
        }
        // Not before: the store may end while the node is asked.
        let Some(store) = self.store.upgrade() else { return };
        if is_probe {
            store.observe_probe(&self.server, answer, asked);
        } else {
            store.observe_answer(&self.server, answer, asked);
        }
        store.tell_gauges(&self.server);
        drop(store);
        if answers
            && self.connection.is_shared()
            && let Some(store) = self.store.upgrade()
        {
            store.observe_shared_endpoint(&self.server);
        }
    }

    /// Puts right what a panic left behind: it ended the question that was begun at `asked`, and the answer is not known.
    fn recover(&mut self, asked: Instant) {
        self.connection.close();
        self.server.node.end_probe();
        let server = Arc::clone(&self.server);
        guarded(Some(server.node.addr()), || {
            if let Some(store) = self.store.upgrade() {
                store.observe_answer(&server, Err(Silence::Failed), asked);
            }
        });
    }

    fn ask(&mut self) -> std::result::Result<Report, Silence> {
        if !self.connection.is_open() {
            let role = self.connection.connect()?;
            if let Some(store) = self.store.upgrade() {
                store.observe_greeting(&self.server, role);
            }
        }
        self.connection.ask()
    }
}
