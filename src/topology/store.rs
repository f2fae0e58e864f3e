//! Holds the current topology, and replaces it when the set has changed.
//!
//! This is the one door for everything that is learnt about the set: descriptions of the provider, and what the nodes say of
//! themselves. Each observation is recorded at its node, then the topology follows, then the history of the master. The
//! membership changes under a lock that is never held across I/O, logging or the end of a connection; calls only take the
//! finished picture. Only the role that a call sees is recorded at its server directly ([`Server::observe_role`]): the topology
//! follows with the answer to the monitor's next question. The store asks no node itself: the monitor does.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::announced::Announced;
use super::description::Description;
use super::gauges::gauges;
use super::history::MasterHistory;
use super::membership::{Described, Drawing, Membership, Succession, Terms};
use super::picture::{Assigned, Topology};
use super::server::{Reported, Server, ServerSettings};
use crate::endpoint::Manner;
use crate::error::{Error, Result};
use crate::lanes::Lanes;
use crate::node::SyncState;
use crate::observe::{Interest, Observers};
use crate::pool::Silence;
use crate::replication::{Report, Role};

/// How long after a failover replicas may still be attaching to the new master: until then, a write that it refuses with
/// `NOREPLICAS` is sent again within its deadline (see `judge_write` in [`retry`](crate::retry)).
const REPLICAS_ATTACH_WITHIN: Duration = Duration::from_secs(30);
/// How long the master must be silent before another may replace it: at most this.
///
/// Less than a second by some questions of the monitor: a promotion at that moment is noticed within a second.
const LONGEST_ROUND: Duration = Duration::from_millis(750);

/// Holds the current topology.
pub(crate) struct TopologyStore {
    /// The same for all lanes. A call counts its use of the topology in its own lane only.
    current: Lanes<RwLock<Arc<Topology>>>,
    membership: Mutex<Membership>,
    /// The generation of the current topology. A change wakes those who wait for another topology.
    generation: Mutex<u64>,
    swapped: Condvar,
    manner: Manner,
    server_settings: ServerSettings,
    history: MasterHistory,
    announced: Announced,
    /// How often the monitor asks the nodes. Zero: only when calls meet faults.
    interval: Duration,
    /// Since when no available node is known as the master.
    out_since: Mutex<Option<Instant>>,
    /// When the last failover was.
    failover_at: Mutex<Option<Instant>>,
}

impl TopologyStore {
    /// Makes the store of a set of which `first` is known. Connects to nothing.
    pub(crate) fn new(
        first: &Description,
        manner: Manner,
        server_settings: ServerSettings,
        interval: Duration,
    ) -> Result<Self> {
        let store = Self {
            current: Lanes::new(|_| RwLock::default()),
            membership: Mutex::default(),
            generation: Mutex::new(0),
            swapped: Condvar::new(),
            manner,
            server_settings,
            history: MasterHistory::default(),
            announced: Announced::default(),
            interval,
            out_since: Mutex::default(),
            failover_at: Mutex::default(),
        };
        let described = store.read(first)?;
        store.membership.lock().adopt(described, &store.server_settings)?;
        let Drawing { servers, .. } = store.membership.lock().draw(store.terms());
        let is_settled = !store.is_monitored() && !servers.is_empty();
        store.publish(&Topology::new(servers, 0, is_settled));
        Ok(store)
    }

    /// Returns the present topology. A call takes it once and works with it until it has tried all of it.
    #[inline]
    pub(crate) fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.current.own().read())
    }

    /// Waits until there is another topology than this one, at most for this long. Returns the present one.
    pub(crate) fn wait_for_change(&self, known: &Topology, limit: Duration) -> Arc<Topology> {
        let end = Instant::now() + limit;
        let mut generation = self.generation.lock();
        while *generation == known.generation() && !self.swapped.wait_until(&mut generation, end).timed_out() {}
        drop(generation);
        self.current()
    }

    /// Takes in a description of the provider, unless it says less than is known.
    pub(crate) fn observe_description(&self, description: &Description) -> Result<()> {
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
        // Calls that still see a removed master as the master write nothing to it any more.
        let masters = removed.iter().filter(|server| server.node.role() == Role::Master);
        let states: Vec<_> = masters.map(|server| (Arc::clone(server), SyncState::Diverged)).collect();
        set_sync_states(&states, Instant::now());
        for server in &removed {
            server.pool.end_generation();
            server.close();
        }
        self.reconcile();
        if !self.follows(description) {
            // The node that is named has to confirm it first.
            self.request_check();
        }
        Ok(())
    }

    /// Takes in what the monitor got for the question that it began to ask at `asked`.
    pub(crate) fn observe_answer(&self, server: &Server, answer: Result<Report, Silence>, asked: Instant) {
        let (was_silent, answers) = (server.is_silent(), answer.is_ok());
        let reported = match answer {
            Ok(report) => server.record_report(report, asked),
            Err(silence) => {
                server.record_silence(silence, asked);
                None
            }
        };
        self.reconcile();
        // Without a monitor the questions are too rare: old offsets would pass for bounds.
        if let Some(Reported { before, now }) = reported.filter(|_| self.is_monitored()) {
            self.history.record(before.as_deref(), &now, asked, self.is_master(server));
        }
        if was_silent && answers {
            // Those that fell silent with it may answer again as well.
            self.servers().iter().filter(|other| other.is_silent()).for_each(|other| other.request_check());
        }
    }

    /// As [`observe_answer`](Self::observe_answer), for a question that finds out whether an ejected node is back.
    pub(crate) fn observe_probe(&self, server: &Server, answer: Result<Report, Silence>, asked: Instant) {
        let answers = answer.is_ok();
        self.observe_answer(server, answer, asked);
        server.end_probe(answers);
    }

    /// Tells the observers the gauges of a node.
    pub(crate) fn tell_gauges(&self, server: &Server) {
        let observers = &self.server_settings.observers;
        if observers.want(Interest::NODES) {
            observers.gauges(server.node.addr(), gauges(server, &self.current(), &self.history.timeline));
        }
    }

    pub(crate) fn observers(&self) -> &Observers {
        &self.server_settings.observers
    }

    /// Takes in the role that a node gave when a connection was opened, before it was asked for more. It may be all that is
    /// needed to know who the master is. `None`: it gave no role.
    pub(crate) fn observe_greeting(&self, server: &Server, role: Option<Role>) {
        server.record_greeting(role);
        self.reconcile();
    }

    /// Takes in that several processes answer at the address of a node.
    pub(crate) fn observe_shared_endpoint(&self, server: &Server) {
        if !server.node.is_shared() {
            server.node.share_endpoint();
            // It counted as a second name of the node whose run id it gave.
            self.reconcile();
        }
    }

    /// Returns whether the master is the one that an authority names, if there is one.
    fn follows(&self, description: &Description) -> bool {
        let topology = self.current();
        let master = topology.master().map(|master| topology.servers()[master].node.addr());
        !description.is_decided || (topology.is_settled() && description.master_addr().as_ref() == master)
    }

    /// Returns all servers, also those that are second names of one node.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        self.membership.lock().servers().cloned().collect()
    }

    /// Requests that the monitor asks all nodes now.
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
    fn reconcile(&self) {
        let now = Instant::now();
        let mut membership = self.membership.lock();
        let Drawing { servers, is_settled, sync_states, succession, has_questions } = membership.draw(self.terms());
        let before = self.current();
        if let Some(Succession { from, to }) = &succession {
            // Before the swap: the first write to the new master may be refused at once, or answered.
            *self.failover_at.lock() = Some(now);
            from.first_write.forget();
            to.first_write.expect(from.out_since().unwrap_or(now));
        }
        let next = (!before.consists_of(&servers, is_settled)).then(|| self.swap(&before, servers, is_settled));
        // Only now: calls that still have the picture before find their master in another sync state, and look again.
        let changed = set_sync_states(&sync_states, now);
        drop(membership);
        // From here on, no other thread waits for logs, or for the connections of nodes that left.
        let mut ended = changed;
        ended.retain(|(_, sync_state)| *sync_state == SyncState::Diverged);
        let deposed = succession.as_ref().map(|succession| &succession.from);
        let deposed = deposed.filter(|from| !ended.iter().any(|(server, _)| Arc::ptr_eq(server, from)));
        ended.iter().map(|(server, _)| server).chain(deposed).for_each(|server| server.pool.end_generation());
        self.announced.sync_states(&sync_states, now, self.is_monitored());
        if let Some(next) = next {
            self.announced.topology_changed(&next, &self.server_settings.observers);
        }
        if has_questions {
            self.request_check();
        }
        if let Some(succession) = succession {
            Announced::failover(&succession, &self.server_settings.observers);
            // It was seen to answer, as the master.
            succession.to.come_back(now);
        }
    }

    /// Returns what elections go by, beside what the nodes say.
    fn terms(&self) -> Terms<'_> {
        let round = if self.is_monitored() { self.interval.min(LONGEST_ROUND) } else { LONGEST_ROUND };
        let (timeline, lag_limit) = (&self.history.timeline, self.lag_limit());
        Terms { round, is_monitored: self.is_monitored(), timeline, lag_limit }
    }

    pub(crate) fn lag_limit(&self) -> Option<Duration> {
        self.server_settings.lag_limit
    }

    fn swap(&self, before: &Topology, servers: Vec<Assigned>, is_settled: bool) -> Topology {
        let next = Topology::new(servers, before.generation() + 1, is_settled);
        self.publish(&next);
        *self.generation.lock() = next.generation();
        self.swapped.notify_all();
        next
    }

    /// Replaces the topology in all lanes at once: no thread sees the old one after another thread has seen the new one.
    fn publish(&self, next: &Topology) {
        let mut topologies: Vec<_> = self.current.iter().map(|_| Arc::new(next.clone())).collect();
        let mut lanes: Vec<_> = self.current.iter().map(RwLock::write).collect();
        lanes.iter_mut().zip(&mut topologies).for_each(|(lane, next)| mem::swap(&mut **lane, next));
        // The old topologies are dropped after the locks.
        drop(lanes);
    }

    /// Returns whether the data of a node is not in sync with the master's.
    pub(crate) fn has_out_of_sync(&self) -> bool {
        self.servers().iter().any(|server| server.node.sync_state() != SyncState::InSync)
    }

    /// Takes all nodes for in sync: where no further question follows, it would not be noticed when they are again.
    pub(crate) fn forgive_out_of_sync(&self) {
        let membership = self.membership.lock();
        let states: Vec<_> = membership.servers().map(|server| (Arc::clone(server), SyncState::InSync)).collect();
        set_sync_states(&states, Instant::now());
    }

    pub(crate) fn history(&self) -> &MasterHistory {
        &self.history
    }

    /// Returns whether every node answered, or failed to answer, a question that was begun since then.
    pub(crate) fn has_asked_all_since(&self, moment: Instant) -> bool {
        self.servers().iter().all(|server| server.asked().last.is_some_and(|last| last >= moment))
    }

    /// Returns whether this is the master, as far as the client can know.
    pub(crate) fn is_master(&self, server: &Server) -> bool {
        let topology = self.current();
        let is_it = |master: usize| std::ptr::eq(&*topology.servers()[master].server, server);
        topology.is_settled() && topology.master().is_some_and(is_it)
    }

    /// Returns whether this server belongs to the set in the same role, now.
    pub(crate) fn assigns(&self, server: &Assigned) -> bool {
        self.current.own().read().assigns(server)
    }

    /// Returns whether the monitor waits for an answer of the master.
    pub(crate) fn awaits_master(&self) -> bool {
        let topology = self.current();
        topology.master().is_some_and(|master| topology.servers()[master].is_awaited())
    }

    /// Returns for how long no available node has been known as the master; `None` if one is.
    pub(crate) fn out_for(&self) -> Option<Duration> {
        let topology = self.current();
        let serves = |server: &Assigned| server.node.role() == Role::Master && !server.node.is_ejected();
        let is_well =
            topology.is_settled() && topology.master().is_some_and(|master| serves(&topology.servers()[master]));
        let mut out_since = self.out_since.lock();
        if is_well {
            *out_since = None;
            return None;
        }
        Some(out_since.get_or_insert_with(Instant::now).elapsed())
    }

    /// Returns whether replicas may still be attaching to the master of the last failover.
    pub(crate) fn has_recent_failover(&self, now: Instant) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.failover_at.lock().is_some_and(|at| since(at) < REPLICAS_ATTACH_WITHIN)
    }

    /// Returns how often the monitor asks the nodes. Zero: only when calls meet faults.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns whether the monitor asks at intervals.
    pub(crate) fn is_monitored(&self) -> bool {
        !self.interval.is_zero()
    }
}

/// Sets what the data of these servers is worth: the only place where sync states change. Returns those that changed.
fn set_sync_states(states: &[(Arc<Server>, SyncState)], now: Instant) -> Vec<&(Arc<Server>, SyncState)> {
    states.iter().filter(|(server, sync_state)| server.node.set_sync_state(*sync_state, now)).collect()
}

impl Drop for TopologyStore {
    fn drop(&mut self) {
        self.membership.get_mut().servers().for_each(|server| server.close());
    }
}

impl fmt::Debug for TopologyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyStore").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
