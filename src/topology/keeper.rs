//! Holds the current topology, and replaces it when the set has changed.
//!
//! Everything that is learnt about the set ends here: descriptions of the provider, and what the nodes say of themselves.
//! The books are changed under a lock that is never held across I/O; calls only take the finished picture.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::bell::{Bell, Woken};
use super::description::{Description, RefreshTrigger, TopologyProvider};
use super::ledger::{Described, Ledger};
use super::peer::{Peer, Workshop};
use super::turn::Turn;
use super::watcher;
use super::{Member, Topology};
use crate::endpoint::Manner;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::node::Role;

/// How often nodes and provider are asked while the master is out.
const HURRY: Duration = Duration::from_millis(100);
/// After this time without a master, nobody hurries any more.
const HURRIES_FOR: Duration = Duration::from_secs(30);
/// How long the master must be silent before another may take its place: at most this.
///
/// Less than a second by some hurried questions: a promotion at that moment is noticed within a second.
const LONGEST_ROUND: Duration = Duration::from_millis(750);
/// However often somebody rings, the provider is asked at most once in this time.
const BREATH: Duration = Duration::from_millis(50);
/// Without a monitor, calls that met a fault have everybody asked, but not more often than this.
const LONGEST_BREATH: Duration = Duration::from_millis(100);
/// How long a description may take.
const DESCRIBES_FOR: Duration = Duration::from_secs(2);

/// Holds the current topology.
pub(crate) struct Keeper {
    current: RwLock<Arc<Topology>>,
    ledger: Mutex<Ledger>,
    /// Woken with each new topology.
    swapped: Condvar,
    generation: Mutex<u64>,
    provider: Arc<dyn TopologyProvider>,
    manner: Manner,
    workshop: Workshop,
    /// Zero: nothing is asked unless somebody calls.
    interval: Duration,
    /// Wakes the thread that asks the provider.
    bell: Arc<Bell>,
    /// One refresh at a time.
    turn: Turn,
    /// Without a monitor: when calls last had the set looked at, and whether that goes on.
    suspicion: Mutex<Suspicion>,
    /// The provider's last failure was told.
    told_failure: Mutex<bool>,
    out_since: Mutex<Option<Instant>>,
    /// For the threads that watch nodes that join later.
    me: OnceLock<Weak<Self>>,
}

#[derive(Debug, Default)]
struct Suspicion {
    is_followed: bool,
    last: Option<Instant>,
}

impl Keeper {
    /// Makes the keeper of a set of which `first` is known. Connects to nothing and starts nothing.
    pub(crate) fn new(
        provider: Arc<dyn TopologyProvider>,
        first: Description,
        manner: Manner,
        workshop: Workshop,
        interval: Duration,
    ) -> Result<Self> {
        let keeper = Self {
            current: RwLock::new(Arc::new(Topology::new(Vec::new(), 0, false))),
            ledger: Mutex::default(),
            swapped: Condvar::new(),
            generation: Mutex::new(0),
            provider,
            manner,
            workshop,
            interval,
            bell: Arc::default(),
            turn: Turn::default(),
            suspicion: Mutex::default(),
            told_failure: Mutex::new(false),
            out_since: Mutex::new(None),
            me: OnceLock::new(),
        };
        let described = keeper.read(&first)?;
        keeper.ledger.lock().adopt(described, &keeper.workshop)?;
        let (members, _) = keeper.ledger.lock().draw(LONGEST_ROUND, keeper.is_monitored());
        let is_settled = !keeper.is_monitored() && !members.is_empty();
        *keeper.current.write() = Arc::new(Topology::new(members, 0, is_settled));
        Ok(keeper)
    }

    /// Starts the monitor: one thread for each node, and one that asks the provider where that is of any use.
    pub(crate) fn start(self: &Arc<Self>, asks_provider: bool) -> Result<()> {
        let _ = self.me.set(Arc::downgrade(self));
        if !self.is_monitored() {
            return Ok(());
        }
        self.watch(&self.peers())?;
        if asks_provider {
            self.provider.watch(RefreshTrigger::new(&self.bell));
            let (keeper, bell, interval) = (Arc::downgrade(self), Arc::clone(&self.bell), self.provider.interval());
            let ask = move || {
                let mut wait = Duration::ZERO;
                while bell.wait(wait) != Woken::Closed {
                    let Some(keeper) = keeper.upgrade() else { return };
                    let asked = keeper.ask_provider(Instant::now() + DESCRIBES_FOR);
                    keeper.tell_failure(asked.err());
                    wait = if keeper.is_in_a_hurry() { HURRY } else { interval };
                    drop(keeper);
                    // However often somebody rings.
                    thread::sleep(BREATH);
                }
            };
            spawn("redis-topology", ask)?;
        }
        Ok(())
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

    /// Somebody met a fault that the set may have changed by: it is looked at now rather than later, on another thread.
    pub(crate) fn suspect(&self) {
        if self.is_monitored() {
            self.peers().iter().for_each(|peer| peer.ring());
            self.bell.ring();
            return;
        }
        let Some(me) = self.me.get().cloned() else { return };
        let mut suspicion = self.suspicion.lock();
        if suspicion.is_followed || suspicion.last.is_some_and(|last| last.elapsed() < LONGEST_BREATH) {
            return;
        }
        let follow = move || {
            let Some(keeper) = me.upgrade() else { return };
            let asked = keeper.refresh(Instant::now() + DESCRIBES_FOR);
            keeper.tell_failure(asked.err());
            *keeper.suspicion.lock() = Suspicion { is_followed: false, last: Some(Instant::now()) };
        };
        suspicion.is_followed = spawn("redis-refresh", follow).is_ok();
    }

    /// Asks the provider and every node now, and waits for their answers.
    pub(crate) fn refresh(&self, deadline: Instant) -> Result<()> {
        let asked = self.ask_provider(deadline);
        self.ask_all();
        asked
    }

    /// Asks every node at once; each is waited for as long as its limits say.
    fn ask_all(&self) {
        let peers = self.peers();
        thread::scope(|scope| {
            for peer in &peers {
                let ask = || {
                    peer.ask_once();
                    self.reconcile();
                };
                // A thread that cannot be started asks nobody: the others do.
                let _ = thread::Builder::new().spawn_scoped(scope, ask);
            }
        });
    }

    /// Asks the provider now; the nodes are asked by those who watch them.
    pub(crate) fn ask_provider(&self, deadline: Instant) -> Result<()> {
        let _mine = self.turn.take();
        let description = self.provider.describe(deadline)?;
        self.adopt(&description).map_err(Error::about_topology)
    }

    /// Takes over a description, unless it says less than is known.
    fn adopt(&self, description: &Description) -> Result<()> {
        if description.nodes.is_empty() {
            return Err(Error::new(ErrorKind::Topology, "the provider names no node"));
        }
        let described = self.read(description)?;
        let mut ledger = self.ledger.lock();
        if ledger.has_incumbent() && description.lacks_master() {
            return Err(Error::new(ErrorKind::Topology, "the provider names no master"));
        }
        let change = ledger.adopt(described, &self.workshop)?;
        drop(ledger);
        change.removed.iter().for_each(|peer| peer.close());
        let watched = self.watch(&change.added);
        self.reconcile();
        if description.is_decided && !self.follows(description) {
            // The node that is named has to confirm it first.
            self.peers().iter().for_each(|peer| peer.ring());
        }
        watched
    }

    /// Tells whether the master is the one that is named.
    fn follows(&self, description: &Description) -> bool {
        let topology = self.current();
        let master = topology.master().map(|master| topology.members()[master].node.addr());
        topology.is_settled() && description.master_addr().as_ref() == master
    }

    fn watch(&self, peers: &[Arc<Peer>]) -> Result<()> {
        let Some(me) = self.me.get() else { return Ok(()) };
        peers.iter().try_for_each(|peer| watcher::start(peer, me))
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.ledger.lock().peers().cloned().collect()
    }

    fn read(&self, description: &Description) -> Result<Described> {
        let places = description.nodes.iter().map(|(role, node)| Ok((*role, node.found_place(&self.manner)?)));
        Ok(Described { places: places.collect::<Result<_>>()?, is_decided: description.is_decided })
    }

    /// Draws the picture anew from all that is known, and swaps it in if it is another one.
    pub(crate) fn reconcile(&self) {
        let round = if self.is_monitored() { self.interval.min(LONGEST_ROUND) } else { LONGEST_ROUND };
        let mut ledger = self.ledger.lock();
        let (members, is_settled) = ledger.draw(round, self.is_monitored());
        let before = self.current();
        if !before.consists_of(&members, is_settled) {
            self.swap(&before, members, is_settled);
        }
        drop(ledger);
        // `before` is dropped here, and with it the connections of nodes that left: after the lock.
    }

    fn swap(&self, before: &Topology, members: Vec<Member>, is_settled: bool) {
        let next = Arc::new(Topology::new(members, before.generation() + 1, is_settled));
        let addr = |member: &'_ Member| member.node.addr().clone();
        let master = next.master().map(|master| addr(&next.members()[master]));
        let replicas: Vec<_> = next.members().iter().filter(|member| member.place == Role::Replica).collect();
        let replicas: Vec<_> = replicas.iter().map(|member| member.node.addr()).collect();
        events::topology_changed(next.generation(), master.as_ref(), &replicas);
        *self.current.write() = Arc::clone(&next);
        *self.generation.lock() = next.generation();
        self.swapped.notify_all();
    }

    fn tell_failure(&self, failure: Option<Error>) {
        let mut told = self.told_failure.lock();
        if let Some(error) = failure.as_ref().filter(|_| !*told) {
            events::provider_failed(error);
        }
        *told = failure.is_some();
    }

    /// Returns how long the thread that watches a healthy node waits until it asks again.
    pub(super) fn next_round(&self) -> Duration {
        if self.is_in_a_hurry() {
            return HURRY.min(self.interval);
        }
        // Clients that were started together should not ask together.
        self.interval.mul_f64(0.9 + 0.2 * rand::random::<f64>())
    }

    /// While the master is out, everybody is asked more often: the next one should be found soon.
    fn is_in_a_hurry(&self) -> bool {
        let topology = self.current();
        let serves = |member: &Member| member.node.role() == Role::Master && !member.node.is_ejected();
        let is_well =
            topology.is_settled() && topology.master().is_some_and(|master| serves(&topology.members()[master]));
        let mut out_since = self.out_since.lock();
        if is_well {
            *out_since = None;
            return false;
        }
        out_since.get_or_insert_with(Instant::now).elapsed() < HURRIES_FOR
    }

    pub(crate) fn is_monitored(&self) -> bool {
        !self.interval.is_zero()
    }
}

/// Starts a thread of the monitor.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(work);
    started.map(drop).map_err(|error| Error::config("no thread can be started").because(error.into()))
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.bell.close();
        self.ledger.get_mut().peers().for_each(|peer| peer.close());
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("provider", &self.provider)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
