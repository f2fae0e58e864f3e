//! When the provider and the nodes are asked: at intervals, when somebody rings, and when a call met a fault.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::description::{Description, RefreshTrigger};
use super::store::{HURRY, TopologyStore};
use super::thread::{guarded, spawn};
use super::wakeup::Woken;
use crate::error::{Error, Result};
use crate::events;

/// However often somebody rings, the provider is asked at most once in this time.
const BREATH: Duration = Duration::from_millis(50);
/// However many calls meet faults, the set is looked at for that at most once in this time.
const SUSPICION: Duration = Duration::from_millis(100);
/// The same, after the master was out for long.
const LONGEST_SUSPICION: Duration = Duration::from_millis(250);
/// How often it is looked whether nodes are in sync again, where no monitor does it.
const LAG: Duration = Duration::from_millis(500);
/// How long the set is looked at for the faults of calls, where no monitor does it.
const FOLLOWS_FOR: Duration = Duration::from_secs(30);
/// How often a provider is asked that does not say.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a description may take.
const DESCRIBES_FOR: Duration = Duration::from_secs(2);

impl TopologyStore {
    /// Starts the thread that asks the provider, unless it runs already or nothing is monitored.
    pub(crate) fn ask_at_intervals(&self) -> Result<()> {
        let Some(me) = self.me.get().filter(|_| self.is_monitored()).cloned() else { return Ok(()) };
        if std::mem::replace(&mut self.mood.lock().asks_provider, true) {
            return Ok(());
        }
        guarded(None, || self.provider.watch(RefreshTrigger::new(&self.wakeup)));
        let interval = guarded(None, || self.provider.interval()).unwrap_or(INTERVAL);
        let wakeup = Arc::clone(&self.wakeup);
        spawn("redis-topology", move || {
            let mut wait = Duration::ZERO;
            while wakeup.wait(wait) != Woken::Closed {
                let Some(store) = me.upgrade() else { return };
                guarded(None, || store.tell(&store.ask_provider(Instant::now() + DESCRIBES_FOR)));
                wait = if store.is_in_a_hurry() { HURRY } else { interval };
                drop(store);
                thread::sleep(BREATH);
            }
        })
    }

    /// Somebody met a fault that the set may have changed by: it is looked at now rather than later, on other threads.
    pub(crate) fn suspect(&self) {
        // For want of a master for long, haste does not help.
        let pause = if self.out_for().is_some_and(|time| time > FOLLOWS_FOR) {
            self.interval().clamp(SUSPICION, LONGEST_SUSPICION)
        } else {
            SUSPICION
        };
        let mut mood = self.mood.lock();
        if mood.is_followed {
            // That thread looks again.
            self.wakeup.wake();
            return;
        }
        if mood.suspected.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        mood.suspected = Some(Instant::now());
        if self.is_monitored() {
            drop(mood);
            self.current().servers().iter().for_each(|server| server.server.request_check());
            self.wakeup.wake();
            return;
        }
        let Some(me) = self.me.get().cloned() else { return };
        let follow = move || {
            let start = Instant::now();
            while let Some(store) = me.upgrade() {
                let refreshed = guarded(None, || store.tell(&store.refresh(Instant::now() + DESCRIBES_FOR)));
                // Nobody else would notice when they are in sync again.
                let goes_on = refreshed.is_some() && store.has_out_of_sync() && start.elapsed() < FOLLOWS_FOR;
                if !goes_on {
                    store.forgive_out_of_sync();
                    store.mood.lock().is_followed = false;
                    return;
                }
                let wakeup = Arc::clone(&store.wakeup);
                drop(store);
                if wakeup.wait(LAG) == Woken::Closed {
                    return;
                }
                thread::sleep(BREATH);
            }
        };
        mood.is_followed = spawn("redis-refresh", follow).is_ok();
    }

    /// Asks the provider and every node now, and waits for their answers until the deadline.
    pub(crate) fn refresh(&self, deadline: Instant) -> Result<()> {
        let asked = self.ask_provider(deadline);
        self.ask_all(deadline);
        asked.map_err(Error::about_topology)
    }

    /// Asks every node at once.
    fn ask_all(&self, deadline: Instant) {
        let servers = self.servers();
        thread::scope(|scope| {
            for server in &servers {
                let ask = || {
                    guarded(Some(server.node.addr()), || {
                        server.ask_once(deadline);
                        self.reconcile();
                    })
                };
                // A thread that cannot be started asks nobody: the others do.
                let _ = thread::Builder::new().spawn_scoped(scope, ask);
            }
        });
    }

    /// Asks the provider now; the nodes are asked by those who watch them.
    pub(crate) fn ask_provider(&self, deadline: Instant) -> Result<()> {
        let busy = || Error::topology("other refreshes took until the deadline");
        let _mine = self.turn.take(deadline).ok_or_else(busy)?;
        let described = guarded(None, || self.provider.describe(deadline));
        let description: Description = described.unwrap_or_else(|| Err(panicked()))?;
        self.adopt(&description)
    }

    /// Keeps why the set could not be described, and says so once.
    fn tell(&self, asked: &Result<()>) {
        let before = std::mem::replace(&mut self.mood.lock().failure, asked.as_ref().err().cloned());
        if let (Err(error), None) = (asked, before) {
            events::provider_failed(error);
        }
    }

    /// Returns why the set could not be described the last time, if it could not.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.mood.lock().failure.clone()
    }
}

fn panicked() -> Error {
    Error::topology("the provider panicked")
}
