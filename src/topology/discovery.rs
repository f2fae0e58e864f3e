//! Finds the nodes of a set by asking one of them, and those that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::description::{Description, TopologyProvider};
use super::thread::guarded;
use crate::addr::NodeAddr;
use crate::endpoint::{AddressMap, Endpoint, Manner, Place};
use crate::error::{Error, Result};
use crate::node::{Report, Role};
use crate::pool::{Limits, Line, Login};
use crate::strategy::MOST_NODES;

/// Masters name their replicas and replicas their master: nobody is more than two steps away, replicas of replicas aside.
const STEPS: usize = 4;

/// How long a node that does not answer, and that nobody names any more, belongs to the set.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// Asks the seeds, and whoever they name, who they are.
pub(crate) struct Discovery {
    seeds: Vec<Place>,
    manner: Manner,
    map: AddressMap,
    limits: Limits,
    state: Mutex<State>,
}

/// What is kept from one description to the next.
#[derive(Default)]
struct State {
    /// Nodes that belong to the set, and when they answered last.
    known: BTreeMap<NodeAddr, Instant>,
    /// The names of the replication histories of the set.
    histories: Vec<Box<str>>,
    lines: BTreeMap<NodeAddr, Line>,
}

/// An address, and what answered there.
struct Asked {
    addr: NodeAddr,
    line: Line,
    report: Option<Report>,
}

impl Discovery {
    pub(crate) fn new(seeds: &[Endpoint], manner: Manner, map: AddressMap, limits: Limits) -> Result<Self> {
        if seeds.is_empty() {
            return Err(Error::config("discover: no node is named"));
        }
        let seeds = seeds.iter().map(|seed| seed.found_place(&manner)).collect::<Result<Vec<_>>>()?;
        // Found nodes are reached as the first seed is, unless it is said otherwise.
        let manner = Manner { like: seeds.first().map(|seed| seed.info.clone()), ..manner };
        Ok(Self { seeds, manner, map, limits, state: Mutex::default() })
    }

    fn place(&self, addr: &NodeAddr) -> Result<Place> {
        match self.seeds.iter().find(|seed| seed.addr == *addr) {
            Some(seed) => Ok(seed.clone()),
            None => Endpoint::from(addr).found_place(&self.manner),
        }
    }

    fn line(&self, addr: &NodeAddr) -> Option<Line> {
        let kept = self.state.lock().lines.remove(addr);
        kept.or_else(|| {
            let login = Login { info: self.place(addr).ok()?.info, client_name: None };
            Line::new(login, self.limits.connect, self.limits.response).ok()
        })
    }

    /// Asks these addresses at once.
    fn ask(&self, addrs: &[NodeAddr], deadline: Instant) -> Vec<Asked> {
        thread::scope(|scope| {
            let ask = |addr: &NodeAddr| {
                let (addr, mut line) = (addr.clone(), self.line(addr)?);
                line.answer_by(deadline);
                let ask = move || {
                    let report = guarded(Some(&addr), || line.ask().ok()).unwrap_or_else(|| {
                        line.hang_up();
                        None
                    });
                    Asked { addr, line, report }
                };
                thread::Builder::new().spawn_scoped(scope, ask).ok()
            };
            let asked: Vec<_> = addrs.iter().filter_map(ask).collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    }

    /// Who this node says belongs to the set.
    fn named_by(&self, report: &Report) -> Vec<NodeAddr> {
        let master = report.link.as_ref().and_then(|link| link.master.as_ref());
        report.followers.iter().chain(master).map(|addr| self.map.reachable(addr)).collect()
    }
}

impl TopologyProvider for Discovery {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        let mut next: Vec<NodeAddr> = self.seeds.iter().map(|seed| seed.addr.clone()).collect();
        let known = self.state.lock().known.clone();
        next.extend(known.keys().filter(|known| !self.seeds.iter().any(|seed| seed.addr == **known)).cloned());
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
    /// The nodes that those of our set name, each once.
    fn named(&self, all: &[Asked]) -> Vec<NodeAddr> {
        let ours = self.histories(all);
        let reports = all.iter().filter_map(|asked| asked.report.as_ref()).filter(|report| is_ours(report, &ours));
        let mut named: Vec<NodeAddr> = reports.flat_map(|report| self.named_by(report)).collect();
        named.sort();
        named.dedup();
        named
    }

    /// The names of our histories: those known before, and those that continue them; at first, those of the seeds.
    fn histories(&self, all: &[Asked]) -> Vec<Box<str>> {
        let known = self.state.lock().histories.clone();
        let told = || all.iter().filter_map(|asked| Some((&asked.addr, asked.report.as_ref()?.history.as_ref()?)));
        let continued = told().filter(|(_, history)| known.iter().any(|id| history.contains(id)));
        let mut ours: Vec<Box<str>> = continued.map(|(_, history)| history.id.clone()).collect();
        if ours.is_empty() {
            // At first, and when nobody has our history any more, the set is where the seeds are.
            let seeds = told().filter(|(addr, _)| self.seeds.iter().any(|seed| seed.addr == **addr));
            ours = seeds.map(|(_, history)| history.id.clone()).collect();
        }
        ours.sort();
        ours.dedup();
        if ours.is_empty() { known } else { ours }
    }

    fn describe_these(&self, all: Vec<Asked>, known: &BTreeMap<NodeAddr, Instant>) -> Result<Description> {
        let reports = || all.iter().filter_map(|asked| asked.report.as_ref());
        if reports().next().is_none() {
            return Err(nobody_answers(all));
        }
        let has_master = reports().any(|report| report.role == Some(Role::Master));
        let (named, ours) = (self.named(&all), self.histories(&all));
        let mut described = Description::new();
        let mut run_ids: Vec<Box<str>> = Vec::new();
        let mut kept = BTreeMap::new();
        let now = Instant::now();
        for Asked { addr, line, report } in all {
            let is_seed = self.seeds.iter().any(|seed| seed.addr == addr);
            match report {
                Some(report) => {
                    // One that went over to another set, or whose address somebody else has now, is left behind.
                    if !is_seed && !named.contains(&addr) && !is_ours(&report, &ours) {
                        continue;
                    }
                    self.state.lock().lines.insert(addr.clone(), line);
                    // Two names of one process are one node: seeds come first.
                    if report.run_id.as_ref().is_some_and(|id| run_ids.contains(id)) {
                        continue;
                    }
                    run_ids.extend(report.run_id.clone());
                    described = described.guess(report.role, Endpoint::of_place(self.place(&addr)?));
                }
                // One that answered before, a short while ago or named by others still, is only out for a while. One
                // that never answered may be no address at all, seen from here.
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
        state.lines.retain(|addr, _| kept.contains_key(addr) || self.seeds.iter().any(|seed| seed.addr == *addr));
        state.known = kept;
        state.histories = ours;
        Ok(described)
    }
}

/// The error if nobody answers, with the cause that tells most: what a server says, rather than what the system says.
fn nobody_answers(all: Vec<Asked>) -> Error {
    let mut causes: Vec<_> =
        all.into_iter().filter_map(|asked| Some((asked.addr, asked.line.into_failure()?))).collect();
    causes.sort_by_key(|(_, cause)| cause.code().is_none());
    let error = Error::topology("none of the nodes that were named or found answers");
    match causes.into_iter().next() {
        Some((addr, cause)) => error.on(&addr).because(cause),
        None => error,
    }
}

/// Tells whether a node has our history, or continues it, or came empty to follow it; as far as it says.
fn is_ours(report: &Report, ours: &[Box<str>]) -> bool {
    report.history.as_ref().is_none_or(|history| ours.iter().any(|id| history.contains(id)))
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<_> = self.seeds.iter().map(|seed| &seed.addr).collect();
        f.debug_struct("Discovery").field("seeds", &seeds).finish_non_exhaustive()
    }
}
