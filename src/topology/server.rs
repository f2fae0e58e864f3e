//! A server: a node with its pool, kept across topologies as long as the node belongs to the set.
//!
//! Here the facts about one node become events, and end the connections that they make useless.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::first_write::FirstWrite;
use super::progress::Progress;
use super::refused::Refused;
use super::wakeup::Wakeup;
use crate::addr::NodeAddr;
use crate::endpoint::{AddressMap, Place};
use crate::error::{Error, Result, words_of};
use crate::node::{Ejection, Node, Outcome, SyncState};
use crate::observe::{NodeObservers, Observers};
use crate::pool::{Housekeeping, Limits, Login, Network, Pool, Resolver, Silence};
use crate::replication::{Report, Role};
use crate::retry::Cause;

/// A node that the monitor has not reached in this time is asked after others, until it is reached.
const REACHED_WITHIN: Duration = Duration::from_millis(100);

/// A node, its pool, and what the monitor found out when it last asked.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) pool: Pool,
    /// Wakes the monitor's worker for this node. `None`: there is no monitor that runs at intervals.
    pub(crate) wakeup: Option<Wakeup>,
    has_worker: AtomicBool,
    asked: Mutex<Asked>,
    pub(crate) progress: Progress,
    /// How the node was described last.
    described: Mutex<Place>,
    /// Translates the addresses that the server reports.
    map: AddressMap,
    resolver: Resolver,
    pub(crate) refused: Refused,
    pub(crate) observers: Observers,
    pub(super) first_write: FirstWrite,
}

/// When the monitor asked the node for its state, and whether the node answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// When the last question was begun that was answered or failed.
    pub(super) last: Option<Instant>,
    /// When the first question was begun that failed since the last answer.
    pub(super) silent_since: Option<Instant>,
    /// How many calls the node had answered then.
    answered: u64,
    /// The role in the node's last greeting, which comes before the answer to a question.
    pub(super) greeting: Option<Role>,
}

/// What a report changed: the report before, and the one that counts now.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) before: Option<Arc<Report>>,
    pub(super) now: Arc<Report>,
}

/// What all servers of a client have in common.
#[derive(Debug)]
pub(crate) struct ServerSettings {
    pub(crate) limits: Limits,
    pub(crate) client_name: Option<String>,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) is_monitored: bool,
    /// The strategy needs latencies.
    pub(crate) is_timed: bool,
    pub(crate) network: Network,
    /// Translates the addresses that servers report.
    pub(crate) map: AddressMap,
    /// How far a replica may lag behind; `None`: as far as it likes.
    pub(crate) lag_limit: Option<Duration>,
    pub(crate) observers: Observers,
}

impl ServerSettings {
    /// Makes a server; connects to nothing.
    pub(super) fn server(&self, place: Place, role: Role) -> Result<Arc<Server>> {
        let described = Mutex::new(place.clone());
        let Place { addr, info, weight, zone } = place;
        let login = Login { info, client_name: self.client_name.clone() };
        let observers = NodeObservers::new(self.observers.clone(), addr.clone());
        let pool = Pool::new(login, self.limits, &self.network, &self.housekeeping, observers);
        let pool = pool.map_err(|error| error.on(&addr))?;
        let node = Node::new(addr).with_role(role).with_weight(weight);
        let mut node = node.with_response_limit(self.limits.response).with_timing(self.is_timed);
        if let Some(zone) = zone {
            node = node.with_zone(zone);
        }
        if self.is_monitored {
            node.leave_probes_to_monitor();
            let (host, port) = (node.addr().host(), node.addr().port());
            let is_known = host.zip(port).is_none_or(|(host, port)| self.network.resolver.knows(host, port));
            node.await_until(Instant::now() + if is_known { REACHED_WITHIN } else { Duration::ZERO });
        }
        let wakeup = self.is_monitored.then(Wakeup::default);
        let (has_worker, asked, progress) = (AtomicBool::new(false), Mutex::default(), Progress::default());
        let (map, resolver) = (self.map.clone(), self.network.resolver.clone());
        Ok(Arc::new(Server {
            node,
            pool,
            wakeup,
            has_worker,
            asked,
            progress,
            described,
            map,
            resolver,
            refused: Refused::default(),
            observers: self.observers.clone(),
            first_write: FirstWrite::default(),
        }))
    }
}

impl Server {
    /// Records that the node gave a complete reply to a call.
    #[inline]
    pub(crate) fn record_answer(&self, is_read: bool) {
        if self.node.record_answer() {
            self.answered_though_ejected();
        }
        if !is_read && self.first_write.is_awaited() {
            self.answered_first_write();
        }
    }

    #[cold]
    fn answered_first_write(&self) {
        if let Some(after) = self.first_write.answered(Instant::now()) {
            self.observers.writes_resumed(self.node.addr(), after);
        }
    }

    /// Records that an attempt failed in a way that speaks against the node. Its connections end if that ejects it.
    #[cold]
    pub(crate) fn record_failure(&self, outcome: Outcome, cause: Cause<'_>, now: Instant) {
        self.explain(outcome, cause.map(words_of));
        self.conclude(outcome, self.node.record_failure(outcome, now, rand::random()));
    }

    /// As [`record_failure`](Self::record_failure), for a request that got no reply here and one in another attempt.
    #[cold]
    pub(crate) fn record_loss(&self, now: Instant) {
        self.explain(Outcome::Failed, Some("no reply to a request that another node answered".to_owned()));
        self.conclude(Outcome::Failed, self.node.record_loss(now, rand::random()));
    }

    /// As [`record_failure`](Self::record_failure), for what the monitor found out.
    fn blame(&self, outcome: Outcome, reason: &str, now: Instant) {
        self.explain(outcome, Some(reason.to_owned()));
        self.conclude(outcome, self.node.count_against(outcome, now, rand::random()));
    }

    /// Reports an ejection and ends the connections, if there is one.
    fn conclude(&self, outcome: Outcome, ejection: Option<Ejection>) {
        if let Some(Ejection { cool_down }) = ejection {
            self.observers.ejected(self.node.addr(), outcome, cool_down, self.node.last_reason().as_deref());
            self.pool.end_generation();
        }
    }

    /// Ends an ejection, if there is one: the node serves again.
    pub(super) fn come_back(&self, now: Instant) {
        if let Some(after) = self.node.come_back(now) {
            self.observers.returned(self.node.addr(), after);
        }
    }

    /// Ends the monitor's probe of an ejected node. The node is back if it answers, has its assigned role, and neither loads
    /// nor synchronises.
    pub(super) fn end_probe(&self, answers: bool) {
        let (node, now, chance) = (&self.node, Instant::now(), rand::random());
        let is_loading = node.report().is_some_and(|report| report.loading);
        let is_fit = !is_loading && matches!(node.sync_state(), SyncState::InSync | SyncState::Lagging);
        self.observers.probed(node.addr(), answers && is_fit);
        match (answers, is_fit) {
            (true, true) => self.come_back(now),
            (true, false) => node.probe_came_early(now, chance),
            (false, _) => node.probe_failed(now, chance),
        }
        node.end_probe();
    }

    /// Records why an attempt failed: why no connection could be made, if that is so, or else `reason`.
    fn explain(&self, outcome: Outcome, reason: Option<String>) {
        let failure = self.pool.failure().filter(|_| outcome == Outcome::Unreachable);
        self.node.record_reason(failure.map(|failure| words_of(&failure)).or(reason));
    }

    #[cold]
    fn answered_though_ejected(&self) {
        match &self.wakeup {
            // While the monitor runs, calls end no ejection; but it is time for a probe.
            Some(wakeup) if self.node.end_cool_down(Instant::now()) => wakeup.wake(),
            Some(_) => {}
            None => self.come_back(Instant::now()),
        }
    }

    /// Records the role that the server says it has: the only place where roles change. Returns whether that is news; then
    /// its connections end.
    pub(crate) fn observe_role(&self, role: Role) -> bool {
        let news = self.node.observe_role(role);
        if news {
            self.pool.end_generation();
            self.observers.role_changed(self.node.addr(), role);
        }
        news
    }

    /// Records the answer to the question that was begun at `asked`. `None`: a later question was answered already.
    pub(super) fn record_report(&self, mut report: Report, asked: Instant) -> Option<Reported> {
        if self.was_asked_since(asked) {
            return None;
        }
        self.node.reached();
        report.translate(|addr| self.map.reachable(addr));
        if let Some(role) = report.role {
            self.observe_role(role);
        }
        let now = Instant::now();
        self.progress.hears_report(&mut report);
        let report = Arc::new(report);
        let is_loading = report.loading;
        let before = self.node.record_report(Arc::clone(&report), now);
        let run_id = before.as_ref().and_then(|before| before.run_id.as_ref());
        if !self.node.is_shared() && run_id.is_some() && report.run_id.is_some() && run_id != report.run_id.as_ref() {
            // Another process: the connections to the old one are dead, or lead elsewhere.
            self.pool.end_generation();
        }
        self.pool.close_idle(now);
        *self.asked.lock() = Asked { last: Some(asked), greeting: report.role, ..Asked::default() };
        if is_loading {
            self.blame(Outcome::NotServing, "the server is loading its data", now);
        }
        Some(Reported { before, now: report })
    }

    /// Records the role that the server gave in its greeting.
    pub(super) fn record_greeting(&self, role: Option<Role>) {
        self.node.reached();
        if let Some(role) = role {
            self.observe_role(role);
        }
        self.asked.lock().greeting = role;
    }

    /// Records that the question which was begun at `began` got no answer.
    pub(super) fn record_silence(&self, silence: Silence, began: Instant) {
        if self.was_asked_since(began) {
            return;
        }
        let mut asked = self.asked.lock();
        asked.last = Some(began);
        if silence == Silence::TurnedAway {
            // Its open connections still work.
            return;
        }
        // The silence begins anew if the node answered calls since it began.
        let answered = self.node.answered();
        if asked.silent_since.is_none() || answered > asked.answered {
            asked.silent_since = Some(began);
            asked.answered = answered;
        }
        drop(asked);
        let outcome = match silence {
            Silence::Unreachable => Outcome::Unreachable,
            Silence::Failed | Silence::TurnedAway => Outcome::Failed,
        };
        self.blame(outcome, "no answer to the monitor", Instant::now());
    }

    /// Returns when the node was asked. A node that answers calls is not silent.
    pub(super) fn asked(&self) -> Asked {
        let asked = *self.asked.lock();
        let serves = self.node.answered() > asked.answered;
        Asked { silent_since: asked.silent_since.filter(|_| !serves), ..asked }
    }

    /// Returns since when the node has been out: since the monitor got no answer, or since it was ejected. `None`: it is not out.
    pub(super) fn out_since(&self) -> Option<Instant> {
        self.asked().silent_since.into_iter().chain(self.node.ejected_since()).min()
    }

    /// Returns whether the monitor gets no answer from the node.
    pub(super) fn is_silent(&self) -> bool {
        self.asked().silent_since.is_some()
    }

    /// Returns whether the monitor waits for an answer of the node: another process may have taken its address.
    pub(crate) fn is_awaited(&self) -> bool {
        self.wakeup.is_some() && self.asked.lock().silent_since.is_some()
    }

    /// Returns whether a later question than this one was answered already.
    fn was_asked_since(&self, began: Instant) -> bool {
        self.asked.lock().last.is_some_and(|last| last > began)
    }

    /// Takes over a new login and a new weight from a description. A weight set by hand stays until another one is described.
    /// Returns whether the description is of this node at all: another database, zone or TLS mode makes it another node.
    pub(super) fn is_described_by(&self, place: &Place) -> Result<bool> {
        let mut described = self.described.lock();
        if described.is_elsewhere(place) {
            return Ok(false);
        }
        if described.logs_in_otherwise(place) {
            self.pool.set_login(place.info.clone()).map_err(|error| error.on(&place.addr))?;
        }
        if described.weight != place.weight {
            self.node.set_weight(place.weight);
        }
        described.clone_from(place);
        Ok(true)
    }

    /// Returns whether the node is at this address, as far as is known without asking: under its own name, or at one of the
    /// addresses that both names stand for.
    pub(super) fn is_at(&self, other: &NodeAddr) -> bool {
        let own = self.node.addr();
        own == other
            || (own.port() == other.port() && self.ips_of(own).iter().any(|ip| self.ips_of(other).contains(ip)))
    }

    fn ips_of(&self, addr: &NodeAddr) -> Vec<SocketAddr> {
        let Some((host, port)) = addr.host().zip(addr.port()) else { return Vec::new() };
        self.resolver.keep_fresh(host);
        self.resolver.known(host, port).unwrap_or_default()
    }

    /// Returns whether the node had no worker of the monitor. From now on, it has one.
    pub(crate) fn take_worker(&self) -> bool {
        !self.has_worker.swap(true, Ordering::AcqRel)
    }

    /// Records that the worker could not be started.
    pub(crate) fn leave_worker(&self) {
        self.has_worker.store(false, Ordering::Release);
    }

    /// Requests that the monitor asks the node now. Does nothing without a monitor.
    pub(crate) fn request_check(&self) {
        if let Some(wakeup) = &self.wakeup {
            wakeup.wake();
        }
    }

    /// Ends the worker of the node.
    pub(super) fn close(&self) {
        if let Some(wakeup) = &self.wakeup {
            wakeup.close();
        }
    }
}

/// Refuses nodes that cannot be used together.
pub(super) fn check_together(places: &[(Option<Role>, Place)]) -> Result<()> {
    let database = |place: &Place| place.database();
    match places.split_first() {
        Some(((_, first), others)) => match others.iter().find(|(_, other)| database(other) != database(first)) {
            Some((_, other)) => {
                let text = "this node is to use another database than the others";
                Err(Error::config(text).on(&other.addr))
            }
            None => Ok(()),
        },
        None => Ok(()),
    }
}
