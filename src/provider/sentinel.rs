//! Asks a group of Sentinels for the master, and listens to their events.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::answer::{Answer, combine};
use self::single::{COUNTS_FOR, Sentinel};
use super::names::Names;
use crate::addr::NodeAddr;
use crate::endpoint::{AddressMap, Endpoint, Place};
use crate::error::{Error, Result};
use crate::monitor::{guarded, spawn};
use crate::pool::Network;
use crate::replication::{MOST_FOLLOWERS, Role};
use crate::strategy::MOST_NODES;
use crate::topology::{Description, RefreshTrigger, TopologyProvider};

mod answer;
mod listener;
mod single;

/// How long further answers are waited for after the first one: a Sentinel that hangs does not delay the others.
const GRACE: Duration = Duration::from_millis(30);
/// How long known Sentinels have to answer before names are waited for that are not known yet.
const HEAD_START: Duration = Duration::from_millis(100);
/// How long a replica that no Sentinel names any more belongs to the set.
const NAMED_FOR: Duration = Duration::from_secs(30);

/// A group of Sentinels that monitor one master.
pub(crate) struct SentinelGroup {
    service: Arc<str>,
    /// As they were named. A name that stands for several addresses is as many Sentinels.
    named: Vec<Place>,
    names: Names,
    network: Network,
    sentinels: Mutex<Vec<Arc<Sentinel>>>,
    map: AddressMap,
    limit: Duration,
    trigger: Arc<OnceLock<RefreshTrigger>>,
    memory: Mutex<Memory>,
}

/// What earlier answers reported.
#[derive(Default)]
struct Memory {
    epoch: u64,
    /// Since when all answers are of an earlier epoch.
    outdated_since: Option<Instant>,
    /// Nodes that were named, when for the last time, and whether they were down then.
    named: Vec<(NodeAddr, Instant, bool)>,
}

impl SentinelGroup {
    /// `limit` bounds each step of talking to one Sentinel.
    pub(crate) fn new(
        service: String,
        sentinels: &[Endpoint],
        map: AddressMap,
        network: Network,
        limit: Duration,
    ) -> Result<Self> {
        if service.is_empty() {
            return Err(Error::config("sentinel: the name of the service is empty"));
        }
        if sentinels.is_empty() {
            return Err(Error::config("sentinel: no Sentinel is named"));
        }
        let named = sentinels.iter().map(place_of).collect::<Result<Vec<_>>>()?;
        for Place { addr, info, .. } in &named {
            network.tls.check(info).map_err(|error| error.on(addr))?;
        }
        Ok(Self {
            service: service.into(),
            named,
            names: Names::new(network.resolver.clone(), limit),
            network,
            sentinels: Mutex::default(),
            map,
            limit,
            trigger: Arc::default(),
            memory: Mutex::default(),
        })
    }

    /// Asks all Sentinels, and waits until they have answered or until the deadline. None of them, and no look-up of a
    /// name, delays those that answer.
    fn ask_all(&self, deadline: Instant) {
        let (done, answered) = channel();
        // Where one cannot be asked, its name may lead elsewhere by now.
        let has_failed = self.sentinels.lock().iter().any(|sentinel| sentinel.failure().is_some());
        if has_failed {
            self.names.look_up_again(&self.named);
        } else {
            self.names.keep_fresh(&self.named);
        }
        self.ask(&done);
        if self.names.lacks_any(&self.named) {
            self.wait_for(&answered, deadline.min(Instant::now() + HEAD_START));
            if !self.has_answer() {
                self.names.look_up(&self.named, deadline);
                self.ask(&done);
            }
        }
        drop(done);
        self.wait_for(&answered, deadline);
    }

    /// Finds out which Sentinels there are, as far as their names are known; listens to new ones.
    fn present(&self) -> Vec<Arc<Sentinel>> {
        let mut sentinels = self.sentinels.lock();
        let mut present = Vec::<Arc<Sentinel>>::new();
        for Place { addr, info, .. } in self.named.iter().flat_map(|place| self.names.addresses(place)).flatten() {
            if present.iter().any(|other| other.addr == addr) {
                continue;
            }
            let known = sentinels.iter().find(|known| known.addr == addr).cloned();
            present.push(known.unwrap_or_else(|| {
                let sentinel = Arc::new(Sentinel::new(addr, info, self.network.clone()));
                if let Some(trigger) = self.trigger.get() {
                    listener::start(&sentinel, &self.service, trigger.clone(), self.limit);
                }
                sentinel
            }));
        }
        present.clone_into(&mut sentinels);
        present
    }

    /// Asks all Sentinels that are not being asked already, each on a thread of its own.
    fn ask(&self, done: &Sender<()>) {
        for sentinel in self.present() {
            if !sentinel.begin() {
                continue;
            }
            let (asked, service, limit) = (Arc::clone(&sentinel), Arc::clone(&self.service), self.limit);
            let (done, trigger) = (done.clone(), Arc::clone(&self.trigger));
            let ask = move || {
                let is_news = guarded(Some(&asked.addr), || asked.ask(&service, limit));
                let is_news = is_news.unwrap_or_else(|| asked.panicked());
                // The caller may have stopped waiting.
                if done.send(()).is_err()
                    && is_news
                    && let Some(trigger) = trigger.get()
                {
                    trigger.fire();
                }
            };
            if spawn("redis-sentinel", ask).is_err() {
                sentinel.end();
            }
        }
    }

    /// Waits until all have answered, or a moment longer than the first needed, or until the deadline.
    fn wait_for(&self, answers: &Receiver<()>, deadline: Instant) {
        let mut end = deadline;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match answers.recv_timeout(left) {
                Ok(()) if self.has_answer() => end = end.min(Instant::now() + GRACE),
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Compares an answer with earlier ones; returns the other nodes of the set, and whether each is down.
    ///
    /// In a failover one Sentinel knows of the new epoch at first. If it falls silent, the others must not lead back.
    fn remember(&self, answer: &Answer, now: Instant) -> Result<Vec<(NodeAddr, bool)>> {
        let mut memory = self.memory.lock();
        if answer.epoch < memory.epoch {
            let since = *memory.outdated_since.get_or_insert(now);
            if now.saturating_duration_since(since) < COUNTS_FOR {
                return Err(Error::topology("only Sentinels answer that missed the last failover"));
            }
        }
        memory.epoch = answer.epoch;
        memory.outdated_since = None;
        // A Sentinel that was reset knows no replicas for some seconds.
        memory.named.retain(|(addr, at, _)| {
            let is_recent = now.saturating_duration_since(*at) < NAMED_FOR || !answer.is_whole;
            is_recent && !answer.others.contains(addr) && *addr != answer.master
        });
        let missing: Vec<_> = memory.named.iter().map(|(addr, _, is_down)| (addr.clone(), *is_down)).collect();
        let named = answer.others.iter().map(|addr| (addr.clone(), answer.down.contains(addr)));
        let all = named.clone().chain([(answer.master.clone(), false)]);
        memory.named.extend(all.map(|(addr, is_down)| (addr, now, is_down)));
        // Those that were named last stand last.
        let excess = memory.named.len().saturating_sub(MOST_FOLLOWERS);
        memory.named.drain(..excess);
        let mut others: Vec<_> = named.chain(missing).collect();
        others.sort_by_key(|(_, is_down)| *is_down);
        others.truncate(MOST_NODES - 1);
        Ok(others)
    }

    #[cold]
    fn no_answer(&self) -> Error {
        let service = self.service.escape_debug();
        let failure = |sentinel: &Arc<Sentinel>| Some((sentinel.addr.clone(), sentinel.failure()?));
        let sentinels = self.sentinels.lock();
        let mut failures: Vec<_> = sentinels.iter().filter_map(failure).collect();
        if failures.len() < sentinels.len() {
            return Error::topology(format!("no Sentinel that answers knows the service \"{service}\""));
        }
        drop(sentinels);
        let unknown = |place: &Place| Some((place.addr.clone(), self.names.addresses(place).err()?.into()));
        failures.extend(self.named.iter().filter_map(unknown));
        // What a Sentinel says tells more than what the system says.
        failures.sort_by_key(|(_, cause)| cause.code().is_none());
        let error = Error::topology(format!("no Sentinel can be asked for the service \"{service}\""));
        match failures.into_iter().next() {
            Some((addr, cause)) => error.on(&addr).because(cause),
            None => error,
        }
    }

    fn has_answer(&self) -> bool {
        self.sentinels.lock().iter().any(|sentinel| sentinel.answer().is_some())
    }
}

/// How to reach the Sentinel that was named so.
fn place_of(sentinel: &Endpoint) -> Result<Place> {
    let place = sentinel.place()?;
    if place.database() != 0 {
        return Err(Error::config("sentinel: a Sentinel has no databases, leave the database out").on(&place.addr));
    }
    let settings = place.info.redis_settings().clone().set_skip_set_lib_name();
    Ok(Place { info: place.info.set_redis_settings(settings), ..place })
}

impl TopologyProvider for SentinelGroup {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        self.ask_all(deadline);
        let answers: Vec<Answer> = self.sentinels.lock().iter().filter_map(|sentinel| sentinel.answer()).collect();
        let answer = combine(answers).ok_or_else(|| self.no_answer())?;
        let others = self.remember(&answer, Instant::now())?;
        let found = |addr: &NodeAddr| Endpoint::from(self.map.reachable(addr));
        let described = Description::new().master(found(&answer.master));
        let add = |described: Description, (addr, is_down): &(NodeAddr, bool)| {
            let node = found(addr);
            if *is_down { described.absent(node) } else { described.guess(Some(Role::Replica), node) }
        };
        Ok(others.iter().fold(described, add))
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn watch(&self, trigger: RefreshTrigger) {
        // The group listens to the Sentinels as soon as it knows them.
        let _ = self.trigger.set(trigger);
    }
}

impl fmt::Debug for SentinelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentinels: Vec<_> = self.named.iter().map(|place| &place.addr).collect();
        f.debug_struct("SentinelGroup")
            .field("service", &self.service)
            .field("sentinels", &sentinels)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
