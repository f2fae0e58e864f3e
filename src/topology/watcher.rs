//! One thread for each node: asks it for its state at intervals, and probes it while it is ejected.
//!
//! A node that hangs delays nobody but its own thread.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::bell::Woken;
use super::keeper::Keeper;
use super::peer::Peer;
use super::thread::{guarded, spawn};
use crate::node::{Report, SyncState};
use crate::pool::{Line, Silence};

/// However often somebody rings, a node is asked at most once in this time.
const BREATH: Duration = Duration::from_millis(20);

/// Starts to watch a node, unless somebody does. The thread ends when the node leaves the set, and with the client.
pub(super) fn start(peer: &Arc<Peer>, keeper: &Weak<Keeper>) -> crate::Result<()> {
    let line = peer.pool.line();
    if !peer.begin_watch() {
        return Ok(());
    }
    let watcher = Watcher { peer: Arc::clone(peer), keeper: Weak::clone(keeper), line };
    // Tried again with the next description.
    spawn("redis-watch", move || watcher.watch()).inspect_err(|_| peer.end_watch())
}

struct Watcher {
    peer: Arc<Peer>,
    /// Weak: the client ends with its last handle, not with this thread.
    keeper: Weak<Keeper>,
    line: Line,
}

impl Watcher {
    fn watch(mut self) {
        let mut wait = Duration::ZERO;
        let mut last = None::<Instant>;
        loop {
            let Some(bell) = &self.peer.bell else { return };
            if bell.wait(wait) == Woken::Closed {
                return;
            }
            if let Some(early) = last.map(|last| BREATH.saturating_sub(last.elapsed())).filter(|early| !early.is_zero())
            {
                std::thread::sleep(early);
            }
            let began = Instant::now();
            last = Some(began);
            let peer = Arc::clone(&self.peer);
            if guarded(Some(peer.node.addr()), || self.look()).is_none() {
                self.recover(began);
            }
            let Some(keeper) = self.keeper.upgrade() else { return };
            wait = keeper.next_round(self.peer.node.health().cools_down_for(Instant::now()));
            if keeper.is_master(&self.peer) {
                wait = keeper.chronicle().pace().map_or(wait, |pace| pace.min(wait));
            }
        }
    }

    /// Asks the node once; as a probe, if it is ejected and has cooled down.
    fn look(&mut self) {
        let began = Instant::now();
        let is_probe = self.peer.node.health().begin_probe(began);
        if is_probe {
            self.line.hang_up();
        }
        let was_open = self.line.is_open();
        let was_silent = self.peer.asked().silent_since.is_some();
        let told = match self.ask() {
            // The name may lead to another server now: a fresh connection decides.
            Ok(report) if was_open && report.role.is_some_and(|role| role != self.peer.node.role()) => {
                self.line.hang_up();
                self.ask()
            }
            told => told,
        };
        let answers = told.is_ok();
        if let Some(took) = self.line.round_trip().filter(|_| answers) {
            self.peer.node.record_heartbeat(took);
        }
        let before = self.peer.node.report();
        match told {
            Ok(report) => self.peer.heard(report, began),
            Err(silence) => self.peer.heard_nothing(silence, began),
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
        self.peer.node.health().end_probe();
        let peer = Arc::clone(&self.peer);
        guarded(Some(peer.node.addr()), || {
            peer.heard_nothing(Silence::Failed, began);
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
            self.peer.node.share_endpoint();
        }
        if let (true, Some(keeper)) = (was_silent, self.keeper.upgrade()) {
            keeper.peers().iter().filter(|peer| peer.asked().silent_since.is_some()).for_each(|peer| peer.ring());
        }
    }

    /// Notes what the node told of its history when it was asked at `began`.
    fn write_down(&self, before: Option<&Report>, began: Instant) {
        if let (Some(keeper), Some(report)) = (self.keeper.upgrade(), self.peer.node.report()) {
            keeper.chronicle().note(before, &report, began, keeper.is_master(&self.peer));
        }
    }

    /// Connects. The greeting tells the role, which may be all that is needed to know who the master is.
    fn greet(&mut self) -> Result<(), Silence> {
        let role = self.line.connect()?;
        self.peer.greeted(role);
        self.reconcile();
        Ok(())
    }

    fn reconcile(&self) {
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.reconcile();
        }
    }

    /// The node is back if it answers, is what the set takes it for, and neither loads nor synchronises.
    fn conclude(&self, answers: bool) {
        let (node, now, chance) = (&self.peer.node, Instant::now(), rand::random());
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
