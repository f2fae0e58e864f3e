//! Holds the current topology, and replaces it when the set has changed.
//!
//! Everything that is learnt about the set ends here: descriptions of the provider, and what the nodes say of themselves.
//! The books are changed under a lock that is never held across I/O, logging or the end of a connection; calls only take
//! the finished picture. When something is asked is decided in [`refresher`](super::refresher) and
//! [`watcher`](super::watcher).

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::announced::Announced;
use super::description::{Description, TopologyProvider};
use super::history::MasterHistory;
use super::membership::{Described, Drawing, Membership, Succession, Terms};
use super::server::{Server, ServerSettings};
use super::turn::Turn;
use super::wakeup::Wakeup;
use super::watcher;
use super::{Assigned, Topology};
use crate::endpoint::Manner;
use crate::error::{Error, Result};
use crate::events;
use crate::node::SyncState;
use crate::replication::Role;

/// How often nodes and provider are asked while the master is out.
pub(super) const HURRY: Duration = Duration::from_millis(100);
/// After this time without a master, nobody hurries any more.
const HURRIES_FOR: Duration = Duration::from_secs(30);
/// How long after another master took over its replicas may not be attached yet.
const ATTACHES_FOR: Duration = Duration::from_secs(30);
/// How long the master must be silent before another may take its place: at most this.
///
/// Less than a second by some hurried questions: a promotion at that moment is noticed within a second.
const LONGEST_ROUND: Duration = Duration::from_millis(750);

/// Holds the current topology.
pub(crate) struct TopologyStore {
    current: RwLock<Arc<Topology>>,
    membership: Mutex<Membership>,
    /// The generation of the current topology, and what wakes those who wait for another.
    generation: Mutex<u64>,
    swapped: Condvar,
    pub(super) provider: Arc<dyn TopologyProvider>,
    manner: Manner,
    server_settings: ServerSettings,
    history: MasterHistory,
    announced: Announced,
    /// Zero: nothing is asked unless somebody calls.
    interval: Duration,
    /// Wakes the thread that asks the provider.
    pub(super) wakeup: Arc<Wakeup>,
    /// One refresh at a time.
    pub(super) turn: Turn,
    pub(super) mood: Mutex<Mood>,
    /// For the threads that are started later.
    pub(super) me: OnceLock<Weak<Self>>,
}

/// What is going on at the moment.
#[derive(Debug, Default)]
pub(super) struct Mood {
    /// Since when the master is out.
    out_since: Option<Instant>,
    /// When another master last took over.
    succeeded_at: Option<Instant>,
    /// When a fault of a call last had the set looked at.
    pub(super) suspected: Option<Instant>,
    /// Without a monitor: a thread is looking.
    pub(super) is_followed: bool,
    /// The thread that asks the provider was started.
    pub(super) asks_provider: bool,
    /// Why the set could not be described the last time.
    pub(super) failure: Option<Error>,
}

impl TopologyStore {
    /// Makes the store of a set of which `first` is known. Connects to nothing and starts nothing.
    pub(crate) fn new(
        provider: Arc<dyn TopologyProvider>,
        first: &Description,
        manner: Manner,
        server_settings: ServerSettings,
        interval: Duration,
    ) -> Result<Self> {
        let store = Self {
            current: RwLock::new(Arc::new(Topology::new(Vec::new(), 0, false))),
            membership: Mutex::default(),
            generation: Mutex::new(0),
            swapped: Condvar::new(),
            provider,
            manner,
            server_settings,
            history: MasterHistory::default(),
            announced: Announced::default(),
            interval,
            wakeup: Arc::default(),
            turn: Turn::default(),
            mood: Mutex::default(),
            me: OnceLock::new(),
        };
        let described = store.read(first)?;
        store.membership.lock().adopt(described, &store.server_settings)?;
        let Drawing { servers, .. } = store.membership.lock().draw(store.terms());
        let is_settled = !store.is_monitored() && !servers.is_empty();
        *store.current.write() = Arc::new(Topology::new(servers, 0, is_settled));
        Ok(store)
    }

    /// Starts the monitor: one thread for each node, and one that asks the provider where that is of any use.
    pub(crate) fn start(self: &Arc<Self>, asks_provider: bool) -> Result<()> {
        let _ = self.me.set(Arc::downgrade(self));
        self.watch_all()?;
        if asks_provider { self.ask_at_intervals() } else { Ok(()) }
    }

    /// Returns the present topology. A call takes it once and works with it until it has tried all of it.
    #[inline]
    pub(crate) fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.current.read())
    }

    /// Waits until there is another topology than this one, at most for this long; returns the present one.
    pub(crate) fn wait_for_change(&self, known: &Topology, limit: Duration) -> Arc<Topology> {
        let end = Instant::now() + limit;
        let mut generation = self.generation.lock();
        while *generation == known.generation() && !self.swapped.wait_until(&mut generation, end).timed_out() {}
        drop(generation);
        self.current()
    }

    /// Takes over a description, unless it says less than is known.
    pub(super) fn adopt(&self, description: &Description) -> Result<()> {
        if description.nodes.is_empty() {
            return Err(Error::topology("the provider names no node"));
        }
        let described = self.read(description)?;
        let mut membership = self.membership.lock();
        if membership.has_incumbent() && description.lacks_master() {
            return Err(Error::topology("the provider names no master"));
        }
        let removed = membership.adopt(described, &self.server_settings)?;
        drop(membership);
        for server in &removed {
            if server.node.role() == Role::Master {
                // Calls that still see it there write nothing to it any more.
                server.node.set_sync_state(SyncState::Diverged, Instant::now());
            }
            server.pool.end_generation();
            server.close();
        }
        let watched = self.watch_all();
        self.reconcile();
        if !self.follows(description) {
            // The node that is named has to confirm it first.
            self.request_check();
        }
        watched
    }

    /// Tells whether the master is the one that an authority names, if there is one.
    fn follows(&self, description: &Description) -> bool {
        let topology = self.current();
        let master = topology.master().map(|master| topology.servers()[master].node.addr());
        !description.is_decided || (topology.is_settled() && description.master_addr().as_ref() == master)
    }

    /// Starts to watch those that nobody watches yet.
    fn watch_all(&self) -> Result<()> {
        match self.me.get() {
            Some(me) if self.is_monitored() => self.servers().iter().try_for_each(|server| watcher::start(server, me)),
            _ => Ok(()),
        }
    }

    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        self.membership.lock().servers().cloned().collect()
    }

    /// Has all nodes asked now.
    pub(crate) fn request_check(&self) {
        self.servers().iter().for_each(|server| server.request_check());
    }

    fn read(&self, description: &Description) -> Result<Described> {
        let places = description.nodes.iter().map(|(role, node)| Ok((*role, node.found_place(&self.manner)?)));
        let places = places.collect::<Result<_>>()?;
        let absent = description.absent.iter().map(|node| node.found_place(&self.manner)).collect::<Result<_>>()?;
        Ok(Described { places, absent, is_decided: description.is_decided })
    }

    /// Draws the picture anew from all that is known, and swaps it in if it is another one.
    pub(crate) fn reconcile(&self) {
        let now = Instant::now();
        let mut membership = self.membership.lock();
        let Drawing { servers, is_settled, sync_states, succession, has_questions } = membership.draw(self.terms());
        let before = self.current();
        let next = (!before.consists_of(&servers, is_settled)).then(|| self.swap(&before, servers, is_settled));
        // Only now: calls that still have the picture before find their master in another sync state, and look again.
        let is_news = |(server, sync_state): &&(Arc<Server>, SyncState)| server.node.set_sync_state(*sync_state, now);
        let changed: Vec<_> = sync_states.iter().filter(is_news).collect();
        drop(membership);
        // From here on, nobody is kept waiting by logs, or by the connections of nodes that left.
        let diverged = changed.iter().filter(|(_, sync_state)| *sync_state == SyncState::Diverged);
        let mut ended: Vec<&Arc<Server>> = diverged.map(|(server, _)| server).collect();
        if let Some(Succession { from, .. }) = succession.as_ref()
            && !ended.iter().any(|server| Arc::ptr_eq(server, from))
        {
            ended.push(from);
        }
        ended.iter().for_each(|server| server.pool.end_generation());
        self.announced.sync_states(&sync_states, now, self.is_monitored());
        if let Some(next) = next {
            self.announced.topology_changed(&next);
        }
        if has_questions {
            self.request_check();
        }
        if let Some(Succession { from, to }) = succession {
            self.mood.lock().succeeded_at = Some(now);
            events::failover(from.node.addr(), to.node.addr());
            // It was seen to answer, as the master.
            to.node.come_back(now);
        }
    }

    /// What elections go by, beside what the nodes say.
    fn terms(&self) -> Terms<'_> {
        let round = if self.is_monitored() { self.interval.min(LONGEST_ROUND) } else { LONGEST_ROUND };
        let (timeline, lag_limit) = (&self.history.timeline, self.lag_limit());
        Terms { round, is_monitored: self.is_monitored(), timeline, lag_limit }
    }

    pub(crate) fn lag_limit(&self) -> Option<Duration> {
        self.server_settings.lag_limit
    }

    fn swap(&self, before: &Topology, servers: Vec<Assigned>, is_settled: bool) -> Arc<Topology> {
        let next = Arc::new(Topology::new(servers, before.generation() + 1, is_settled));
        *self.current.write() = Arc::clone(&next);
        *self.generation.lock() = next.generation();
        self.swapped.notify_all();
        next
    }

    /// Returns whether one of the nodes is not in sync with the master.
    pub(super) fn has_out_of_sync(&self) -> bool {
        self.membership.lock().has_out_of_sync()
    }

    /// Forgets that nodes are not in sync with the master: nobody would notice when they are again.
    pub(super) fn forgive_out_of_sync(&self) {
        self.membership.lock().forgive_out_of_sync(Instant::now());
    }

    pub(crate) fn provider(&self) -> &dyn TopologyProvider {
        &*self.provider
    }

    pub(crate) fn history(&self) -> &MasterHistory {
        &self.history
    }

    /// Tells whether every node was asked, or could not be asked, since then.
    pub(crate) fn has_asked_all_since(&self, moment: Instant) -> bool {
        self.servers().iter().all(|server| server.asked().last.is_some_and(|last| last >= moment))
    }

    /// Tells whether this is the master, as far as anybody can know.
    pub(super) fn is_master(&self, server: &Server) -> bool {
        let topology = self.current();
        let is_it = |master: usize| std::ptr::eq(&*topology.servers()[master].server, server);
        topology.is_settled() && topology.master().is_some_and(is_it)
    }

    /// Returns how long the thread that watches a node waits until it asks again.
    pub(super) fn next_round(&self, cools_down_for: Option<Duration>) -> Duration {
        if self.is_in_a_hurry() {
            return HURRY.min(self.interval).min(cools_down_for.unwrap_or(HURRY));
        }
        // Clients that were started together should not ask together.
        cools_down_for.unwrap_or_else(|| self.interval.mul_f64(0.9 + 0.2 * rand::random::<f64>()))
    }

    /// While the master is out, everybody is asked more often: the next one should be found soon.
    pub(super) fn is_in_a_hurry(&self) -> bool {
        self.out_for().is_some_and(|time| time < HURRIES_FOR)
    }

    /// Returns how long the master has been out; `None` if it is well.
    pub(super) fn out_for(&self) -> Option<Duration> {
        let topology = self.current();
        let serves = |server: &Assigned| server.node.role() == Role::Master && !server.node.is_ejected();
        let is_well =
            topology.is_settled() && topology.master().is_some_and(|master| serves(&topology.servers()[master]));
        let mut mood = self.mood.lock();
        if is_well {
            mood.out_since = None;
            return None;
        }
        Some(mood.out_since.get_or_insert_with(Instant::now).elapsed())
    }

    /// Returns whether another master took over a short while ago: replicas may be about to attach to it.
    pub(crate) fn has_new_master(&self) -> bool {
        self.mood.lock().succeeded_at.is_some_and(|at| at.elapsed() < ATTACHES_FOR)
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn is_monitored(&self) -> bool {
        !self.interval.is_zero()
    }
}

impl Drop for TopologyStore {
    fn drop(&mut self) {
        self.wakeup.close();
        self.membership.get_mut().servers().for_each(|server| server.close());
    }
}

impl fmt::Debug for TopologyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyStore")
            .field("provider", &self.provider)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
