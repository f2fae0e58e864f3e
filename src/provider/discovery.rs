//! Finds the nodes of a set by asking one of them, and those that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::RedisConnectionInfo;

use super::names::Names;
use crate::addr::NodeAddr;
use crate::endpoint::{AddressMap, Endpoint, Manner, Place};
use crate::error::{Error, Result};
use crate::monitor::{at_once, guarded};
use crate::pool::{Limits, Login, Network, StatusConnection};
use crate::replication::{ReplicationId, Report, Role};
use crate::strategy::MOST_NODES;
use crate::topology::{Description, TopologyProvider};

/// Masters name their replicas, and replicas their master: no node is more than two steps away, but for replicas of replicas.
const STEPS: usize = 4;

/// How long a node that neither answers nor is named any more belongs to the set.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// Asks the seeds, and the nodes that they name, for their roles.
pub(crate) struct Discovery {
    /// As they were named. A name that stands for several addresses is as many seeds.
    named: Vec<Place>,
    manner: Manner,
    map: AddressMap,
    names: Names,
    limits: Limits,
    network: Network,
    state: Mutex<State>,
}

/// What is kept from one description to the next.
#[derive(Default)]
struct State {
    /// The seeds, at the addresses that their names stand for now.
    seeds: Vec<Place>,
    /// Nodes that belong to the set, and when they answered last.
    known: BTreeMap<NodeAddr, Instant>,
    /// The replication ids of the set.
    histories: Vec<ReplicationId>,
    connections: BTreeMap<NodeAddr, StatusConnection>,
}

/// An address, and what answered there.
struct Asked {
    addr: NodeAddr,
    connection: StatusConnection,
    report: Option<Report>,
}

impl Discovery {
    pub(crate) fn new(
        seeds: &[Endpoint],
        manner: Manner,
        map: AddressMap,
        network: Network,
        limits: Limits,
    ) -> Result<Self> {
        let named = seeds.iter().map(|seed| seed.found_place(&manner)).collect::<Result<Vec<_>>>()?;
        for seed in &named {
            network.tls.check(&seed.info).map_err(|error| error.on(&seed.addr))?;
        }
        let Some(first) = named.first() else { return Err(Error::config("discover: no node is named")) };
        // Found nodes are reached as the first seed is, unless it is said otherwise.
        let found = manner.login.as_ref().map_or(first.database(), RedisConnectionInfo::db);
        if let Some(other) = named.iter().find(|seed| seed.database() != found) {
            let text = "discover: this seed is to use another database than the nodes that are found";
            return Err(Error::config(text).on(&other.addr));
        }
        let manner = Manner { like: Some(first.info.clone()), ..manner };
        let names = Names::new(network.resolver.clone(), limits.connect);
        Ok(Self { named, manner, map, names, limits, network, state: Mutex::default() })
    }

    fn is_seed(&self, addr: &NodeAddr) -> bool {
        self.state.lock().seeds.iter().any(|seed| seed.addr == *addr)
    }

    fn place(&self, addr: &NodeAddr) -> Result<Place> {
        let seed = self.state.lock().seeds.iter().find(|seed| seed.addr == *addr).cloned();
        seed.map_or_else(|| Endpoint::from(addr).found_place(&self.manner), Ok)
    }

    /// Finds out which seeds there are now; returns them and the nodes that are known, each once.
    fn start(&self, deadline: Instant) -> Vec<NodeAddr> {
        self.names.look_up(&self.named, deadline);
        let seeds: Vec<Place> = self.named.iter().flat_map(|place| self.names.nodes(place)).collect();
        let mut state = self.state.lock();
        let mut all: Vec<NodeAddr> = Vec::new();
        for addr in seeds.iter().map(|seed| &seed.addr).chain(state.known.keys()) {
            if !all.contains(addr) {
                all.push(addr.clone());
            }
        }
        state.seeds = seeds;
        all
    }

    fn connection(&self, addr: &NodeAddr) -> Option<StatusConnection> {
        let kept = self.state.lock().connections.remove(addr);
        kept.or_else(|| {
            let login = Login { info: self.place(addr).ok()?.info, client_name: None };
            StatusConnection::without_pool(login, &self.limits, &self.network).ok()
        })
    }

    /// Asks these addresses at once.
    fn ask(&self, addrs: &[NodeAddr], deadline: Instant) -> Vec<Asked> {
        let connections = addrs.iter().filter_map(|addr| Some((addr.clone(), self.connection(addr)?)));
        at_once(connections, |(addr, mut connection)| {
            connection.set_end(deadline);
            let report = guarded(Some(&addr), || connection.ask().ok()).unwrap_or_else(|| {
                connection.close();
                None
            });
            Asked { addr, connection, report }
        })
    }

    /// Returns the nodes that this one says belong to the set.
    fn named_by(&self, report: &Report) -> Vec<NodeAddr> {
        let master = report.link.as_ref().and_then(|link| link.master.as_ref());
        report.followers.iter().chain(master).map(|addr| self.map.reachable(addr)).collect()
    }
}

impl TopologyProvider for Discovery {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        let mut next = self.start(deadline);
        let known = self.state.lock().known.clone();
        let mut all: Vec<Asked> = Vec::new();
        for _ in 0..STEPS {
            if next.is_empty() || Instant::now() >= deadline {
                break;
            }
            all.extend(self.ask(&next, deadline));
            let mut named = self.named(&all);
            named.retain(|addr| !all.iter().any(|asked| asked.addr == *addr));
            named.truncate(MOST_NODES);
            next = named;
        }
        self.describe_these(all, &known)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl Discovery {
    /// Returns the nodes that those of our set name, each once.
    fn named(&self, all: &[Asked]) -> Vec<NodeAddr> {
        let ours = self.histories(all);
        let reports = all.iter().filter_map(|asked| asked.report.as_ref()).filter(|report| is_ours(report, &ours));
        let mut named: Vec<NodeAddr> = reports.flat_map(|report| self.named_by(report)).collect();
        named.sort();
        named.dedup();
        named
    }

    /// Returns the replication ids of the set: those of the histories that continue the ones known before; where there is
    /// none, those of the seeds and of the nodes that belonged to the set.
    fn histories(&self, all: &[Asked]) -> Vec<ReplicationId> {
        let state = self.state.lock();
        let known = state.histories.clone();
        let told = || all.iter().filter_map(|asked| Some((&asked.addr, asked.report.as_ref()?.history?)));
        let continued = told().filter(|(_, history)| known.iter().any(|id| history.continues(*id)));
        let mut ours: Vec<ReplicationId> = continued.map(|(_, history)| history.id).collect();
        if ours.is_empty() {
            // At first, and when no server says that it has our history: not all servers name the one that they continue.
            let belongs =
                |addr: &NodeAddr| state.known.contains_key(addr) || state.seeds.iter().any(|seed| seed.addr == *addr);
            ours = told().filter(|(addr, _)| belongs(addr)).map(|(_, history)| history.id).collect();
        }
        ours.sort();
        ours.dedup();
        if ours.is_empty() { known } else { ours }
    }

    fn describe_these(&self, all: Vec<Asked>, known: &BTreeMap<NodeAddr, Instant>) -> Result<Description> {
        let reports = || all.iter().filter_map(|asked| asked.report.as_ref());
        if reports().next().is_none() {
            return Err(no_answer(all));
        }
        let has_master = reports().any(|report| report.role == Some(Role::Master));
        let (named, ours) = (self.named(&all), self.histories(&all));
        let mut described = Description::new();
        let mut run_ids: Vec<Box<str>> = Vec::new();
        let mut kept = BTreeMap::new();
        let now = Instant::now();
        for Asked { addr, connection, report } in all {
            let is_seed = self.is_seed(&addr);
            match report {
                Some(report) => {
                    // A node that went over to another set is left out, and so is one whose address another process has.
                    if !is_seed && !named.contains(&addr) && !is_ours(&report, &ours) {
                        continue;
                    }
                    self.state.lock().connections.insert(addr.clone(), connection);
                    // Two names of one process are one node: seeds come first.
                    if report.run_id.as_ref().is_some_and(|id| run_ids.contains(id)) {
                        continue;
                    }
                    run_ids.extend(report.run_id.clone());
                    described = described.guess(report.role, Endpoint::of_place(self.place(&addr)?));
                }
                // A node that answered a short while ago, or that others still name, is only out for a while. One that
                // never answered may have no address that can be reached from here.
                None => {
                    let Some(at) = known.get(&addr).copied() else { continue };
                    let is_recent = now.saturating_duration_since(at) < REMEMBERED_FOR;
                    if has_master && !is_recent && !named.contains(&addr) {
                        continue;
                    }
                    described = described.guess(None, Endpoint::of_place(self.place(&addr)?));
                    kept.insert(addr, at);
                    continue;
                }
            }
            kept.insert(addr, now);
        }
        let mut state = self.state.lock();
        let State { seeds, connections, .. } = &mut *state;
        connections.retain(|addr, _| kept.contains_key(addr) || seeds.iter().any(|seed| seed.addr == *addr));
        state.known = kept;
        state.histories = ours;
        Ok(described)
    }
}

/// Returns the error if no node answers, with the most telling cause: what a server says, rather than what the system says.
fn no_answer(all: Vec<Asked>) -> Error {
    let mut causes: Vec<_> =
        all.into_iter().filter_map(|asked| Some((asked.addr, asked.connection.into_failure()?))).collect();
    causes.sort_by_key(|(_, cause)| cause.code().is_none());
    let error = Error::topology("none of the nodes that were named or found answers");
    match causes.into_iter().next() {
        Some((addr, cause)) => error.on(&addr).because(cause),
        None => error,
    }
}

/// Returns whether a node has our history or continues it, or does not say which history it has.
fn is_ours(report: &Report, ours: &[ReplicationId]) -> bool {
    report.history.is_none_or(|history| ours.iter().any(|id| history.continues(*id)))
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<_> = self.named.iter().map(|seed| &seed.addr).collect();
        f.debug_struct("Discovery").field("seeds", &seeds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
