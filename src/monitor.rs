//! The monitor: asks the nodes and the provider, and hands what it learns to the topology store.
//!
//! All threads of a client start here, but those of the pools. At intervals, one worker for each node asks that node, and one
//! worker asks the provider. With an interval of zero there are no workers for nodes: a fault of a call starts the other
//! worker, whose rounds then ask provider and nodes, until nothing is left to find out.

use std::fmt;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::pace::{BREATH, DESCRIBES_FOR, FOLLOWS_FOR, HURRY, INTERVAL, LAG, is_in_a_hurry, pause_of_suspicion};
use self::turn::Turn;
use crate::error::{Error, Result};
use crate::topology::{Description, RefreshTrigger, TopologyProvider, TopologyStore, Wakeup, Woken};

mod node_worker;
mod pace;
mod thread;
mod turn;

pub(crate) use self::thread::{at_once, cannot_start, guarded, spawn};

/// Asks the nodes and the provider of one client. The workers end when it is dropped.
pub(crate) struct Monitor {
    store: Arc<TopologyStore>,
    provider: Arc<dyn TopologyProvider>,
    /// Wakes the worker that asks the provider.
    wakeup: Arc<Wakeup>,
    /// One description at a time.
    turn: Turn,
    state: Mutex<State>,
}

/// What the monitor does at the moment.
#[derive(Debug, Default)]
struct State {
    /// When a fault of a call last led to questions.
    suspected: Option<Instant>,
    /// Since when the worker runs that asks the provider; `None`: it does not run.
    runs_since: Option<Instant>,
    /// Why the set could not be described the last time.
    failure: Option<Error>,
}

impl Monitor {
    /// Makes a monitor that does not ask yet.
    pub(crate) fn new(store: Arc<TopologyStore>, provider: Arc<dyn TopologyProvider>) -> Arc<Self> {
        let (wakeup, turn, state) = (Arc::default(), Turn::default(), Mutex::default());
        Arc::new(Self { store, provider, wakeup, turn, state })
    }

    /// Starts to ask at intervals: the nodes, and the provider where its descriptions may change. Does nothing with an
    /// interval of zero.
    pub(crate) fn start(self: &Arc<Self>, asks_provider: bool) -> Result<()> {
        self.start_node_workers()?;
        if asks_provider { self.ask_provider_at_intervals() } else { Ok(()) }
    }

    /// Starts the worker that asks the provider at intervals, unless it runs already. Does nothing with an interval of zero.
    pub(crate) fn ask_provider_at_intervals(self: &Arc<Self>) -> Result<()> {
        if self.store.is_monitored() { self.start_provider_worker() } else { Ok(()) }
    }

    /// Requests questions to provider and nodes now rather than later, on other threads: a call met a fault that may come
    /// from a change of the set. However many calls do, this has an effect at most once in 100 ms.
    pub(crate) fn suspect(self: &Arc<Self>) {
        let pause = pause_of_suspicion(&self.store);
        let mut state = self.state.lock();
        if state.suspected.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        state.suspected = Some(Instant::now());
        drop(state);
        self.store.request_check();
        self.wakeup.wake();
        if !self.store.is_monitored() {
            // Where no thread can be started, the next fault tries again.
            let _ = self.start_provider_worker();
        }
    }

    /// Asks the provider and every node now, and waits for their answers until the deadline.
    pub(crate) fn refresh(&self, deadline: Instant) -> Result<()> {
        let described = self.describe(deadline);
        self.ask_nodes(deadline);
        described.map_err(Error::about_topology)
    }

    /// Asks the provider now, and hands its description to the store.
    pub(crate) fn describe(&self, deadline: Instant) -> Result<()> {
        let busy = || Error::topology("other refreshes took until the deadline");
        let _mine = self.turn.take(deadline).ok_or_else(busy)?;
        let panicked = || Err(Error::topology("the provider panicked"));
        let description: Description = guarded(None, || self.provider.describe(deadline)).unwrap_or_else(panicked)?;
        self.store.observe_description(&description)?;
        self.start_node_workers()
    }

    /// Returns why the set could not be described the last time, if it could not.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.clone()
    }

    pub(crate) fn provider(&self) -> &dyn TopologyProvider {
        &*self.provider
    }

    /// Asks every node now.
    fn ask_nodes(&self, deadline: Instant) {
        at_once(self.store.servers(), |server| {
            guarded(Some(server.node.addr()), || node_worker::ask_once(&server, &self.store, deadline));
        });
    }

    /// Starts a worker for each node that has none.
    fn start_node_workers(&self) -> Result<()> {
        if !self.store.is_monitored() {
            return Ok(());
        }
        self.store.servers().iter().try_for_each(|server| node_worker::start(server, &self.store))
    }

    /// Starts the worker that asks the provider, unless it runs already.
    fn start_provider_worker(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state.lock();
        if state.runs_since.is_some() {
            return Ok(());
        }
        state.runs_since = Some(Instant::now());
        drop(state);
        let mut interval = INTERVAL;
        if self.store.is_monitored() {
            guarded(None, || self.provider.watch(RefreshTrigger::new(&self.wakeup)));
            interval = guarded(None, || self.provider.interval()).unwrap_or(INTERVAL);
        }
        // Weak: the client ends with its last handle, not with this worker.
        let me = Arc::downgrade(self);
        let wakeup = Arc::clone(&self.wakeup);
        let started = spawn("redis-topology", move || {
            let mut wait = Duration::ZERO;
            while wakeup.wait(wait) != Woken::Closed {
                let Some(next) = me.upgrade().and_then(|monitor| monitor.round(interval)) else { return };
                wait = next;
                sleep(BREATH);
            }
        });
        started.inspect_err(|_| self.state.lock().runs_since = None)
    }

    /// Asks the provider, and the nodes as well if they have no workers. Returns after which time to ask again; `None`: once
    /// a call meets a fault.
    fn round(&self, interval: Duration) -> Option<Duration> {
        let (is_monitored, deadline) = (self.store.is_monitored(), Instant::now() + DESCRIBES_FOR);
        let ask = || if is_monitored { self.describe(deadline) } else { self.refresh(deadline) };
        let is_done = guarded(None, || self.keep_failure(&ask())).is_some();
        if is_monitored {
            return Some(if is_in_a_hurry(&self.store) { HURRY } else { interval });
        }
        // Only these rounds notice when the nodes are in sync again.
        let goes_on = is_done && self.store.has_out_of_sync() && self.runs_for() < FOLLOWS_FOR;
        if goes_on {
            return Some(LAG);
        }
        self.store.forgive_out_of_sync();
        self.state.lock().runs_since = None;
        None
    }

    fn runs_for(&self) -> Duration {
        self.state.lock().runs_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Keeps why the set could not be described. The first failure in a row is an event.
    fn keep_failure(&self, asked: &Result<()>) {
        let before = std::mem::replace(&mut self.state.lock().failure, asked.as_ref().err().cloned());
        if let (Err(error), None) = (asked, before) {
            self.store.observers().provider_failed(error);
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.wakeup.close();
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
