//! Which servers may serve an attempt, which of them the strategy picks, and what the attempt takes for that.
//!
//! [`decide`] is pure: it reads nodes and changes nothing, so `explain` prints what it returns.

use std::time::Instant;

use arrayvec::ArrayVec;

use super::permits::{Permit, Permits};
use super::rank::{Rank, rank};
use super::read_from::ReadFrom;
use crate::addr::NodeAddr;
use crate::node::{Node, SyncState};
use crate::replication::Role;
use crate::strategy::{Candidates, MOST_NODES, Strategy};

/// A server, as far as selection looks at it.
pub(crate) trait Contender {
    fn node(&self) -> &Node;
    /// What the topology takes the server for.
    fn assigned_role(&self) -> Role;
}

/// All servers of a set.
#[derive(Debug)]
pub(crate) struct Contenders<'a, S> {
    pub(crate) servers: &'a [S],
    pub(crate) has_replicas: bool,
    /// It is known which server is the master. Until then no call goes to one.
    pub(crate) is_settled: bool,
}

/// What a call needs of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) is_read: bool,
    pub(crate) read_from: ReadFrom,
    /// There is a permit for one more fallback read.
    pub(crate) may_fall_back: bool,
    /// The named master counts as the master before that is known.
    pub(crate) presumes_master: bool,
    /// The excluded servers would refuse it again.
    pub(crate) excludes_for_good: bool,
}

/// What the strategy is told of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Instant,
    /// How many attempts this call has made before.
    pub(crate) attempt: u32,
    pub(crate) key: Option<&'a [u8]>,
}

/// Whether a server can prove what a call asks for beside the reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Suits {
    Likely,
    /// It lacked that a moment ago: it is asked after the others.
    Unlikely,
    /// It cannot.
    Unable,
}

/// Servers that are not asked in this round of a call, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Excluded(u64);

/// What a call excludes: in this round, until it has waited; and for good, after a server gave an answer that another may
/// better.
#[derive(Debug, Default)]
pub(crate) struct Exclusions {
    pub(crate) now: Excluded,
    for_good: ForGood,
}

#[derive(Debug, Default)]
enum ForGood {
    #[default]
    Nobody,
    One(NodeAddr),
    Replicas,
}

/// The candidates of one attempt.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) candidates: Candidates<'a>,
    /// Another server is left if this attempt fails.
    pub(crate) has_more: bool,
    /// The master serves it for want of replicas: a permit is needed.
    pub(crate) is_fallback: bool,
    is_slow_start: bool,
}

/// Why there is no candidate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoSelection {
    /// All were tried in this round, or it is not known yet who may serve.
    Later,
    /// Only the master could serve, and no permit is left.
    NoPermit,
    /// No server of the set may ever serve this.
    Nobody,
    /// The server that the call must have left the set.
    Gone,
    /// The server that the call must have cannot prove the reply.
    Unable,
}

/// Collects the best-ranked servers that may serve an attempt and are not excluded.
#[inline]
pub(crate) fn decide<'a, S: Contender>(
    set: &Contenders<'a, S>,
    need: Need,
    excluded: Excluded,
    suits: impl Fn(&S) -> Suits,
    now: Instant,
) -> Result<Selection<'a>, NoSelection> {
    let mut best = (Rank::LastResort, true, true);
    let (mut eligible, mut is_slow_start, mut lacks_permit, mut is_partial) = (0, false, false, !excluded.is_empty());
    let hides_master = !set.is_settled && !need.presumes_master;
    let mut nodes = ArrayVec::<&Node, MOST_NODES>::new();
    for (index, server) in set.servers.iter().enumerate() {
        let (node, assigned_role) = (server.node(), server.assigned_role());
        if excluded.contains(index) || (hides_master && assigned_role == Role::Master) {
            continue;
        }
        let Ok(rank) = rank(node, assigned_role, need.is_read, need.read_from, now) else { continue };
        let suits = suits(server);
        if suits == Suits::Unable {
            is_partial = true;
            continue;
        }
        if rank == Rank::Fallback && !need.may_fall_back && set.falls_back(need) {
            lacks_permit = true;
            continue;
        }
        eligible += 1;
        let order = (rank, node.is_unreached(now), suits == Suits::Unlikely);
        if order < best {
            best = order;
            nodes.clear();
            is_slow_start = false;
        }
        if order == best {
            is_slow_start |= node.is_slow_start();
            // There are no more servers than places.
            let _ = nodes.try_push(node);
        }
    }
    let (best, ..) = best;
    if lacks_permit && best > Rank::Lagging {
        let is_for_now = !need.excludes_for_good && set.may_still_serve(need, excluded, &suits, now);
        return Err(if is_for_now { NoSelection::Later } else { NoSelection::NoPermit });
    }
    let is_fallback = best == Rank::Fallback && set.falls_back(need);
    match Candidates::of(nodes) {
        Some(candidates) => Ok(Selection { candidates, has_more: eligible > 1, is_fallback, is_slow_start }),
        // What only a master can do waits for one.
        None if is_partial || !set.is_settled || !need.is_read || set.is_outdated() => Err(NoSelection::Later),
        None => Err(NoSelection::Nobody),
    }
}

/// Lets the strategy pick one of the candidates. Returns its place among the servers.
#[inline]
pub(crate) fn pick<'a, S: Contender>(
    set: &Contenders<'a, S>,
    selection: &mut Selection<'a>,
    strategy: &dyn Strategy,
    moment: Moment<'a>,
) -> Option<usize> {
    let candidates = &mut selection.candidates;
    if let [only] = *candidates.as_slice() {
        // No choice: writes must not use up the turns of reads.
        return set.position(only);
    }
    candidates.describe(moment.key, moment.now, moment.attempt);
    let mut node = strategy.pick(candidates);
    if !candidates.contains(node) {
        tracing::error!(?strategy, picked = %node.addr(), "strategy picked a node that is not a candidate");
        node = candidates.at(0);
    }
    set.position(node)
}

impl<S: Contender> Contenders<'_, S> {
    /// Returns whether a read that the master serves is a fallback read, for want of replicas.
    fn falls_back(&self, need: Need) -> bool {
        need.is_read && need.read_from == ReadFrom::ReplicaPreferred && self.has_replicas
    }

    /// Returns whether another topology is about to replace this one, or has.
    #[cold]
    fn is_outdated(&self) -> bool {
        let is_deposed =
            |server: &S| server.assigned_role() == Role::Master && server.node().sync_state() == SyncState::Diverged;
        self.servers.iter().any(is_deposed)
    }

    /// Returns whether one of the servers that are left out of this round is not known to be out.
    #[cold]
    fn may_still_serve(&self, need: Need, excluded: Excluded, suits: &impl Fn(&S) -> Suits, now: Instant) -> bool {
        let is_preferred = |server: &S| {
            rank(server.node(), server.assigned_role(), need.is_read, need.read_from, now) == Ok(Rank::Preferred)
        };
        self.servers
            .iter()
            .enumerate()
            .any(|(index, server)| (excluded.contains(index) || suits(server) == Suits::Unable) && is_preferred(server))
    }

    /// Returns the place of a node among the servers.
    #[inline]
    fn position(&self, node: &Node) -> Option<usize> {
        self.servers.iter().position(|server| std::ptr::eq(server.node(), node))
    }
}

impl Selection<'_> {
    /// Leaves nodes in slow start out of some attempts, so that their load returns gradually. `favours_idle`: the strategy
    /// takes such a node whenever it may, because it has nothing in flight.
    #[inline]
    pub(crate) fn slow_start(&mut self, now: Instant, favours_idle: bool, chance: impl FnMut() -> f64) {
        if self.is_slow_start {
            self.thin_out(now, favours_idle, chance);
        }
    }

    #[cold]
    fn thin_out(&mut self, now: Instant, favours_idle: bool, mut chance: impl FnMut() -> f64) {
        self.candidates.iter().for_each(|node| node.end_slow_start(now));
        let most = self.candidates.iter().map(|node| node.share_at(now)).fold(0.0, f64::max);
        let times = if favours_idle { self.candidates.len() as f64 } else { 1.0 };
        self.candidates.retain(|node| {
            let share = node.share_at(now);
            // The one with the largest share always stays.
            share >= most || chance() * most * times < share
        });
    }
}

impl Excluded {
    pub(crate) fn insert(&mut self, index: usize) {
        self.0 |= 1 << (index % 64);
    }

    pub(crate) fn contains(self, index: usize) -> bool {
        self.0 & (1 << (index % 64)) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The server that a call prefers or must have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Affinity<'a> {
    /// Any candidate.
    Any,
    /// This server, and any candidate if it fails.
    First(&'a NodeAddr),
    /// This server and no other.
    Only(&'a NodeAddr),
}

/// What all calls of a client share to select by.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) strategy: Box<dyn Strategy>,
    pub(crate) permits: Permits,
}

/// The server of one attempt.
#[derive(Debug)]
pub(crate) struct Selected<'p> {
    /// Its place among the servers of the topology.
    pub(crate) position: usize,
    /// Another server is left if this attempt fails.
    pub(crate) has_more: bool,
    /// Held as long as a fallback read runs.
    permit: Option<Permit<'p>>,
}

impl Selected<'_> {
    /// Returns how many fallback reads there were since the last event about them, if another one is due.
    #[inline]
    pub(crate) fn fallback_reads_due(&self) -> Option<u64> {
        self.permit.as_ref()?.due
    }
}

impl Selector {
    /// Selects the server of an attempt. A fallback read takes a permit; the others only count as in flight once they run.
    #[inline]
    pub(crate) fn select<'a, S: Contender>(
        &self,
        set: &Contenders<'a, S>,
        need: Need,
        affinity: Affinity<'_>,
        excluded: Excluded,
        suits: impl Fn(&S) -> Suits,
        moment: Moment<'a>,
    ) -> Result<Selected<'_>, NoSelection> {
        let at = |addr: &NodeAddr| set.servers.iter().position(|server| server.node().addr() == addr);
        let (wanted, is_free) = match affinity {
            Affinity::Any => (None, true),
            Affinity::First(addr) if moment.attempt == 0 => (at(addr).filter(|at| !excluded.contains(*at)), true),
            Affinity::First(_) => (None, true),
            Affinity::Only(addr) => (Some(at(addr).ok_or(NoSelection::Gone)?), false),
        };
        match wanted {
            None => self.select_any(set, need, excluded, suits, moment),
            Some(position) if !is_free && suits(&set.servers[position]) == Suits::Unable => Err(NoSelection::Unable),
            Some(position) if excluded.contains(position) => Err(NoSelection::Later),
            Some(position) => Ok(Selected { position, has_more: is_free && set.servers.len() > 1, permit: None }),
        }
    }

    #[inline]
    fn select_any<'a, S: Contender>(
        &self,
        set: &Contenders<'a, S>,
        mut need: Need,
        excluded: Excluded,
        suits: impl Fn(&S) -> Suits,
        moment: Moment<'a>,
    ) -> Result<Selected<'_>, NoSelection> {
        loop {
            let mut selection = decide(set, need, excluded, &suits, moment.now)?;
            let permit = if selection.is_fallback { self.permits.take(moment.now) } else { None };
            if selection.is_fallback && permit.is_none() {
                if !need.may_fall_back {
                    return Err(NoSelection::NoPermit);
                }
                // Without a permit, replicas that lag may still serve.
                need.may_fall_back = false;
                continue;
            }
            selection.slow_start(moment.now, self.strategy.needs_latency(), rand::random);
            let position = pick(set, &mut selection, &*self.strategy, moment);
            let selected = |position| Selected { position, has_more: selection.has_more, permit };
            return position.map(selected).ok_or(NoSelection::Later);
        }
    }
}

impl Exclusions {
    /// Begins a new round.
    pub(crate) fn begin_round<S: Contender>(&mut self, servers: &[S]) {
        self.now = Excluded::default();
        self.apply(servers);
    }

    /// Excludes a server, or all replicas, for good.
    pub(crate) fn turn_from<S: Contender>(&mut self, servers: &[S], position: usize, all_replicas: bool) {
        let one = || ForGood::One(servers[position].node().addr().clone());
        self.for_good = if all_replicas { ForGood::Replicas } else { one() };
        self.apply(servers);
    }

    /// Excludes all replicas from this round.
    pub(crate) fn exclude_replicas<S: Contender>(&mut self, servers: &[S]) {
        self.exclude(servers, |server| server.assigned_role() == Role::Replica);
    }

    pub(crate) fn exclude<S: Contender>(&mut self, servers: &[S], is_excluded: impl Fn(&S) -> bool) {
        let places = servers.iter().enumerate().filter(|(_, server)| is_excluded(server));
        places.for_each(|(index, _)| self.now.insert(index));
    }

    pub(crate) fn are_for_good(&self) -> bool {
        !matches!(self.for_good, ForGood::Nobody)
    }

    fn apply<S: Contender>(&mut self, servers: &[S]) {
        match &self.for_good {
            ForGood::Nobody => {}
            ForGood::Replicas => self.exclude_replicas(servers),
            ForGood::One(addr) => {
                let addr = addr.clone();
                self.exclude(servers, |server| *server.node().addr() == addr);
            }
        }
    }
}
