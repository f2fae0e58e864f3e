//! One thread for each node: asks it for its state at intervals, and probes it while it is ejected.
//!
//! A node that hangs delays nobody but its own thread.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::server::Server;
use super::store::TopologyStore;
use super::thread::{guarded, spawn};
use super::wakeup::Woken;
use crate::node::SyncState;
use crate::pool::{Line, Silence};
use crate::replication::Report;

/// However often somebody rings, a node is asked at most once in this time.
const BREATH: Duration = Duration::from_millis(20);

/// Starts to watch a node, unless somebody does. The thread ends when the node leaves the set, and with the client.
pub(super) fn start(server: &Arc<Server>, store: &Weak<TopologyStore>) -> crate::Result<()> {
    let line = server.pool.line();
    if !server.begin_watch() {
        return Ok(());
    }
    let watcher = Watcher { server: Arc::clone(server), store: Weak::clone(store), line };
    // Tried again with the next description.
    spawn("redis-watch", move || watcher.watch()).inspect_err(|_| server.end_watch())
}

struct Watcher {
    server: Arc<Server>,
    /// Weak: the client ends with its last handle, not with this thread.
    store: Weak<TopologyStore>,
    line: Line,
}

impl Watcher {
    fn watch(mut self) {
        let mut wait = Duration::ZERO;
        let mut last = None::<Instant>;
        loop {
            let Some(wakeup) = &self.server.wakeup else { return };
            if wakeup.wait(wait) == Woken::Closed {
                return;
            }
            if let Some(early) = last.map(|last| BREATH.saturating_sub(last.elapsed())).filter(|early| !early.is_zero())
            {
                std::thread::sleep(early);
            }
            let began = Instant::now();
            last = Some(began);
            let server = Arc::clone(&self.server);
            if guarded(Some(server.node.addr()), || self.look()).is_none() {
                self.recover(began);
            }
            let Some(store) = self.store.upgrade() else { return };
            wait = store.next_round(self.server.node.health().cools_down_for(Instant::now()));
            if store.is_master(&self.server) {
                wait = store.history().pace().map_or(wait, |pace| pace.min(wait));
            }
        }
    }

    /// Asks the node once; as a probe, if it is ejected and has cooled down.
    fn look(&mut self) {
        let began = Instant::now();
        let is_probe = self.server.node.health().begin_probe(began);
        if is_probe {
            self.line.hang_up();
        }
        let was_open = self.line.is_open();
        let was_silent = self.server.asked().silent_since.is_some();
        let told = match self.ask() {
            // The name may lead to another server now: a fresh connection decides.
            Ok(report) if was_open && report.role.is_some_and(|role| role != self.server.node.role()) => {
                self.line.hang_up();
                self.ask()
            }
            told => told,
        };
        let answers = told.is_ok();
        if let Some(took) = self.line.round_trip().filter(|_| answers) {
            self.server.node.record_heartbeat(took);
        }
        let before = self.server.node.report();
        match told {
            Ok(report) => self.server.heard(report, began),
            Err(silence) => self.server.heard_nothing(silence, began),
        }
        self.reconcile();
        if answers {
            self.write_down(before.as_deref(), began);
        }
        if is_probe {
            self.conclude(answers);
        }
        if answers {
            self.look_around(was_silent);
        }
    }

    /// A panic ended the look that began then: what the node would have said is not known.
    fn recover(&mut self, began: Instant) {
        self.line.hang_up();
        self.server.node.health().end_probe();
        let server = Arc::clone(&self.server);
        guarded(Some(server.node.addr()), || {
            server.heard_nothing(Silence::Failed, began);
            self.reconcile();
        });
    }

    fn ask(&mut self) -> Result<Report, Silence> {
        if !self.line.is_open() {
            self.greet()?;
        }
        self.line.ask()
    }

    /// The node answers: those that fell silent with it may do so as well. And it may not be one process alone.
    fn look_around(&mut self, was_silent: bool) {
        if self.line.is_shared() {
            self.server.node.share_endpoint();
        }
        if let (true, Some(store)) = (was_silent, self.store.upgrade()) {
            store
                .servers()
                .iter()
                .filter(|server| server.asked().silent_since.is_some())
                .for_each(|server| server.request_check());
        }
    }

    /// Notes what the node told of its history when it was asked at `began`.
    fn write_down(&self, before: Option<&Report>, began: Instant) {
        if let (Some(store), Some(report)) = (self.store.upgrade(), self.server.node.report()) {
            store.history().note(before, &report, began, store.is_master(&self.server));
        }
    }

    /// Connects. The greeting tells the role, which may be all that is needed to know who the master is.
    fn greet(&mut self) -> Result<(), Silence> {
        let role = self.line.connect()?;
        self.server.greeted(role);
        self.reconcile();
        Ok(())
    }

    fn reconcile(&self) {
        if let Some(store) = self.store.upgrade() {
            store.reconcile();
        }
    }

    /// The node is back if it answers, is what the set takes it for, and neither loads nor synchronises.
    fn conclude(&self, answers: bool) {
        let (node, now, chance) = (&self.server.node, Instant::now(), rand::random());
        let is_loading = node.report().is_some_and(|report| report.loading);
        let is_fit = !is_loading && matches!(node.sync_state(), SyncState::InSync | SyncState::Lagging);
        match (answers, is_fit) {
            (true, true) => node.come_back(now),
            (true, false) => node.health().probe_came_early(now, chance),
            (false, _) => node.health().probe_failed(now, chance),
        }
        node.health().end_probe();
    }
}
