//! A node with its pool, kept across topologies as long as the node belongs to the set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::progress::Progress;
use super::refused::Refused;
use super::wakeup::Wakeup;
use crate::addr::NodeAddr;
use crate::endpoint::{AddressMap, Place};
use crate::error::{Error, Result, words_of};
use crate::events;
use crate::node::{Node, Outcome};
use crate::pool::{Housekeeping, Limits, Login, Means, Pool, Resolver, Silence};
use crate::replication::{Report, Role};

/// A node that the monitor has not reached in this time is asked after others, until somebody reaches it.
const REACHED_WITHIN: Duration = Duration::from_millis(100);
/// An answer that failed to come that long before the deadline was waited for as long as it should be.
const MARGIN: Duration = Duration::from_millis(5);

/// A node, its pool, and what the monitor found out when it last asked.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) pool: Pool,
    /// Wakes the thread that watches this node. `None`: nobody does.
    pub(crate) wakeup: Option<Wakeup>,
    is_watched: AtomicBool,
    asked: Mutex<Asked>,
    pub(crate) progress: Progress,
    /// What it was last described as.
    described: Mutex<Place>,
    /// Translates the addresses that the server tells.
    map: AddressMap,
    resolver: Resolver,
    pub(crate) refused: Refused,
}

/// When the node was asked for its state, and whether it answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// When the last question that is answered, or failed, was begun.
    pub(super) last: Option<Instant>,
    /// When the first of the questions was begun that failed since the last answer.
    pub(super) silent_since: Option<Instant>,
    /// How many calls it had answered then.
    answered: u64,
    /// The role that it gave in its last greeting, before it was asked for more.
    pub(super) greeting: Option<Role>,
}

/// What all servers of a client are made of.
#[derive(Debug)]
pub(crate) struct ServerSettings {
    pub(crate) limits: Limits,
    pub(crate) client_name: Option<String>,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) is_monitored: bool,
    /// The strategy goes by latencies.
    pub(crate) is_timed: bool,
    pub(crate) means: Means,
    /// Translates the addresses that servers tell.
    pub(crate) map: AddressMap,
    /// How far a replica may lag behind; `None`: as far as it likes.
    pub(crate) lag_limit: Option<Duration>,
}

impl ServerSettings {
    /// Makes a server; connects to nothing.
    pub(super) fn server(&self, place: Place, role: Role) -> Result<Arc<Server>> {
        let described = Mutex::new(place.clone());
        let Place { addr, info, weight, zone } = place;
        let login = Login { info, client_name: self.client_name.clone() };
        let pool = Pool::new(login, self.limits, &self.means, &self.housekeeping).map_err(|error| error.on(&addr))?;
        let node = Node::new(addr).with_role(role).with_weight(weight);
        let mut node = node.with_response_limit(self.limits.response).with_timing(self.is_timed);
        if let Some(zone) = zone {
            node = node.with_zone(zone);
        }
        if self.is_monitored {
            node.health().leave_probes_to_monitor();
            let (host, port) = (node.addr().host(), node.addr().port());
            let is_known = host.zip(port).is_none_or(|(host, port)| self.means.resolver.knows(host, port));
            node.await_until(Instant::now() + if is_known { REACHED_WITHIN } else { Duration::ZERO });
        }
        let wakeup = self.is_monitored.then(Wakeup::default);
        let (is_watched, asked, progress) = (AtomicBool::new(false), Mutex::default(), Progress::default());
        let (map, resolver) = (self.map.clone(), self.means.resolver.clone());
        let refused = Refused::default();
        Ok(Arc::new(Server { node, pool, wakeup, is_watched, asked, progress, refused, described, map, resolver }))
    }
}

impl Server {
    /// Notes that the node gave a complete reply to a call.
    #[inline]
    pub(crate) fn record_answer(&self) {
        if self.node.record_answer() {
            self.answered_though_ejected();
        }
    }

    /// Records that an attempt failed in a way that speaks against the node. Its connections end if that ejects it.
    #[cold]
    pub(crate) fn record_failure(&self, outcome: Outcome, now: Instant) {
        self.explain(outcome);
        if self.node.record_failure(outcome, now, rand::random()) {
            self.pool.end_generation();
        }
    }

    /// The same, for a request that the node left without a reply, and that another attempt got one to.
    #[cold]
    pub(crate) fn record_loss(&self, now: Instant) {
        if self.node.record_loss(now, rand::random()) {
            self.pool.end_generation();
        }
    }

    /// The same, for what the monitor found out.
    fn blame(&self, outcome: Outcome, now: Instant) {
        self.explain(outcome);
        if self.node.blame(outcome, now, rand::random()) {
            self.pool.end_generation();
        }
    }

    fn explain(&self, outcome: Outcome) {
        let failure = self.pool.failure().filter(|_| outcome == Outcome::Unreachable);
        self.node.explain(failure.map(|failure| words_of(&failure)));
    }

    #[cold]
    fn answered_though_ejected(&self) {
        match &self.wakeup {
            // No call ends an ejection while the monitor runs; but it is time for a probe.
            Some(wakeup) if self.node.health().end_cool_down(Instant::now()) => wakeup.wake(),
            Some(_) => {}
            None => self.node.come_back(Instant::now()),
        }
    }

    /// Notes what the server said it is. Its connections are of no use any more if that is news.
    pub(crate) fn observe_role(&self, role: Role) -> bool {
        let news = self.node.observe_role(role);
        if news {
            self.pool.end_generation();
            events::role_changed(self.node.addr(), role);
        }
        news
    }

    /// Notes what the server said of itself when it was asked at `began`.
    pub(super) fn heard(&self, mut report: Report, began: Instant) {
        if self.was_asked_since(began) {
            return;
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
        let before = self.node.tell(Arc::clone(&report), now).and_then(|before| before.run_id.clone());
        if !self.node.is_shared() && before.is_some() && report.run_id.is_some() && before != report.run_id {
            // Another process: the connections to the old one are dead, or lead elsewhere.
            self.pool.end_generation();
        }
        *self.asked.lock() = Asked { last: Some(began), greeting: report.role, ..Asked::default() };
        if is_loading {
            self.blame(Outcome::NotServing, now);
        }
    }

    /// Notes the role that the server gave in its greeting.
    pub(super) fn greeted(&self, role: Option<Role>) {
        self.node.reached();
        if let Some(role) = role {
            self.observe_role(role);
        }
        self.asked.lock().greeting = role;
    }

    /// Notes that the node could not be asked at `began`.
    pub(super) fn heard_nothing(&self, silence: Silence, began: Instant) {
        if self.was_asked_since(began) {
            return;
        }
        let mut asked = self.asked.lock();
        asked.last = Some(began);
        if silence == Silence::TurnedAway {
            // Its open connections are as good as before.
            return;
        }
        // If it served calls since it fell silent, its silence begins anew.
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
        self.blame(outcome, Instant::now());
    }

    /// Returns when the node was asked. It is not silent as long as it answers calls.
    pub(super) fn asked(&self) -> Asked {
        let asked = *self.asked.lock();
        let serves = self.node.answered() > asked.answered;
        Asked { silent_since: asked.silent_since.filter(|_| !serves), ..asked }
    }

    /// Tells whether the monitor waits to hear from the node again: another process may have taken its address.
    pub(crate) fn is_awaited(&self) -> bool {
        self.wakeup.is_some() && self.asked.lock().silent_since.is_some()
    }

    /// Tells whether a later question than this one was answered already.
    fn was_asked_since(&self, began: Instant) -> bool {
        self.asked.lock().last.is_some_and(|last| last > began)
    }

    /// Asks the node once, on a connection opened for that.
    pub(super) fn ask_once(&self, deadline: Instant) {
        let began = Instant::now();
        let mut line = self.pool.line();
        line.answer_by(deadline);
        match line.ask() {
            Ok(report) => self.heard(report, began),
            // The time that was left may have been too short for anything.
            Err(_) if Instant::now() + MARGIN >= deadline => return,
            Err(silence) => self.heard_nothing(silence, began),
        }
        if line.is_shared() {
            self.node.share_endpoint();
        }
    }

    /// Takes over how the node is described now: login and weight, as far as they are others than before. Those set by hand
    /// stay otherwise. Returns whether it is this node at all: another database or zone, or TLS, makes another one of it.
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

    /// Tells whether nobody watches the node yet; from now on, somebody does.
    pub(super) fn begin_watch(&self) -> bool {
        !self.is_watched.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_watch(&self) {
        self.is_watched.store(false, Ordering::Release);
    }

    /// Has the monitor, if it runs, ask the node now.
    pub(crate) fn request_check(&self) {
        if let Some(wakeup) = &self.wakeup {
            wakeup.wake();
        }
    }

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
