//! Selection: which servers may serve an attempt, and which of them the strategy picks.
//!
//! [`decide`] only reads: `explain` prints what it returns. [`Selector::select`] lets the strategy pick one of these servers
//! and takes the permit of a fallback read. How a single node ranks is decided in [`rank`](super::rank).

use std::time::Instant;

use arrayvec::ArrayVec;

use super::permits::{Permit, Permits};
use super::rank::{Rank, rank};
use super::read_from::ReadFrom;
use crate::addr::NodeAddr;
use crate::node::{Node, SyncState};
use crate::replication::Role;
use crate::strategy::{Candidates, MOST_NODES, Strategy};

/// What selection needs to know of a server.
pub(crate) trait Contender {
    fn node(&self) -> &Node;
    /// Returns the role that the topology assigned to the server.
    fn assigned_role(&self) -> Role;
}

/// The servers of a topology, before any of them is left out.
#[derive(Debug)]
pub(crate) struct Contenders<'a, S> {
    pub(crate) servers: &'a [S],
    pub(crate) has_replicas: bool,
    /// The monitor has found the master. Until then no call goes to a master.
    pub(crate) is_settled: bool,
}

/// What a call demands of a server; the same for all attempts of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Criteria {
    pub(crate) is_read: bool,
    pub(crate) read_from: ReadFrom,
    /// The master may serve one more fallback read.
    pub(crate) may_fall_back: bool,
    /// The configured master counts as the master until the monitor has found one.
    pub(crate) presumes_master: bool,
    /// The call excludes a server for good: it would refuse the request again.
    pub(crate) excludes_for_good: bool,
}

/// What the strategy gets to know of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptContext<'a> {
    pub(crate) now: Instant,
    /// How many attempts this call has made before.
    pub(crate) attempt: u32,
    pub(crate) key: Option<&'a [u8]>,
}

/// How likely a server is to prove what the session, or the bound on staleness, requires of its reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Likelihood {
    Likely,
    /// It could not prove it a moment ago: it is asked after the others.
    Unlikely,
    /// It never can: it is not asked.
    Impossible,
}

/// A set of servers, one bit for each position in the topology.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct ServerMask(u64);

/// The servers that one call excludes: some in this round, until the call has waited; and one, or all replicas, for good, after
/// an answer that another server may improve on. The public [`Exclusion`](super::Exclusion) is the reason shown by `explain`.
#[derive(Debug, Default)]
pub(crate) struct CallExclusions {
    pub(crate) this_round: ServerMask,
    /// A server that is excluded for good, or all replicas.
    one: Option<NodeAddr>,
    all_replicas: bool,
}

/// The candidates of one attempt, before the strategy picks one.
#[derive(Debug)]
pub(crate) struct Eligible<'a> {
    pub(crate) candidates: Candidates<'a>,
    /// Another server is left if this attempt fails.
    pub(crate) has_more: bool,
    /// The master serves a read because no replica can: a permit is needed.
    pub(crate) is_fallback: bool,
    /// At least one candidate is in slow start.
    is_slow_start: bool,
}

/// Why there is no candidate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoSelection {
    /// All servers were tried in this round, or it is not known yet which may serve: the call waits.
    Later,
    /// Only the master could serve, and no permit is left: the call waits for one.
    NoPermit,
    /// No server of the set may ever serve this request.
    Never,
    /// The only server to which the call may go has left the set.
    NotInSet,
    /// The only server to which the call may go cannot prove the reply.
    CannotProve,
}

/// Collects the best-ranked servers that may serve an attempt and are not excluded.
#[inline]
pub(crate) fn decide<'a, S: Contender>(
    set: &Contenders<'a, S>,
    criteria: Criteria,
    excluded: ServerMask,
    likelihood: impl Fn(&S) -> Likelihood,
    now: Instant,
) -> Result<Eligible<'a>, NoSelection> {
    let mut best = (Rank::LastResort, true, true);
    let (mut count, mut is_slow_start, mut lacks_permit, mut may_serve_later) = (0, false, false, !excluded.is_empty());
    let hides_master = !set.is_settled && !criteria.presumes_master;
    let mut nodes = ArrayVec::<&Node, MOST_NODES>::new();
    for (index, server) in set.servers.iter().enumerate() {
        let (node, assigned_role) = (server.node(), server.assigned_role());
        if excluded.contains(index) || (hides_master && assigned_role == Role::Master) {
            continue;
        }
        let likelihood = likelihood(server);
        if likelihood == Likelihood::Impossible {
            may_serve_later = true;
            continue;
        }
        let Ok(rank) = rank(node, assigned_role, criteria.is_read, criteria.read_from, now) else { continue };
        if rank == Rank::Fallback && !criteria.may_fall_back && set.falls_back(criteria) {
            lacks_permit = true;
            continue;
        }
        count += 1;
        let order = (rank, node.is_unreached(now), likelihood == Likelihood::Unlikely);
        if order < best {
            best = order;
            nodes.clear();
            is_slow_start = false;
        }
        if order == best {
            is_slow_start |= node.is_slow_start();
            // It never fails: a set has at most `MOST_NODES` servers.
            let _ = nodes.try_push(node);
        }
    }
    let (best, ..) = best;
    if lacks_permit && best > Rank::Lagging {
        let is_for_now = !criteria.excludes_for_good && set.may_still_serve(criteria, excluded, &likelihood, now);
        return Err(if is_for_now { NoSelection::Later } else { NoSelection::NoPermit });
    }
    let is_fallback = best == Rank::Fallback && set.falls_back(criteria);
    match Candidates::of(nodes) {
        Some(candidates) => Ok(Eligible { candidates, has_more: count > 1, is_fallback, is_slow_start }),
        // What only a master may serve waits for the next master.
        None if may_serve_later || !set.is_settled || !criteria.is_read || set.is_outdated() => Err(NoSelection::Later),
        None => Err(NoSelection::Never),
    }
}

/// Lets the strategy pick one of the candidates. Returns the position of its server.
#[inline]
pub(crate) fn pick<'a, S: Contender>(
    set: &Contenders<'a, S>,
    eligible: &mut Eligible<'a>,
    strategy: &dyn Strategy,
    context: AttemptContext<'a>,
) -> Option<usize> {
    let candidates = &mut eligible.candidates;
    if let [only] = *candidates.as_slice() {
        // The strategy is not asked: a write must not use up a turn of its round robin.
        return set.position(only);
    }
    candidates.describe(context.key, context.now, context.attempt);
    let mut node = strategy.pick(candidates);
    if !candidates.contains(node) {
        tracing::error!(?strategy, picked = %node.addr(), "strategy picked a node that is not a candidate");
        node = candidates.at(0);
    }
    set.position(node)
}

impl<S: Contender> Contenders<'_, S> {
    /// Returns whether a read that the master serves is a fallback read.
    fn falls_back(&self, criteria: Criteria) -> bool {
        criteria.is_read && self.has_replicas && criteria.read_from.limits_fallback_reads()
    }

    /// Returns whether another topology has replaced this one, or is about to.
    #[cold]
    fn is_outdated(&self) -> bool {
        let is_deposed =
            |server: &S| server.assigned_role() == Role::Master && server.node().sync_state() == SyncState::Diverged;
        self.servers.iter().any(is_deposed)
    }

    /// Returns whether a server that is left out of this round may serve in the next one.
    #[cold]
    fn may_still_serve(
        &self,
        criteria: Criteria,
        excluded: ServerMask,
        likelihood: &impl Fn(&S) -> Likelihood,
        now: Instant,
    ) -> bool {
        let is_preferred = |server: &S| {
            rank(server.node(), server.assigned_role(), criteria.is_read, criteria.read_from, now)
                == Ok(Rank::Preferred)
        };
        self.servers.iter().enumerate().any(|(index, server)| {
            (excluded.contains(index) || likelihood(server) == Likelihood::Impossible) && is_preferred(server)
        })
    }

    /// Returns the position of a node's server.
    #[inline]
    fn position(&self, node: &Node) -> Option<usize> {
        self.servers.iter().position(|server| std::ptr::eq(server.node(), node))
    }
}

impl Eligible<'_> {
    /// Leaves nodes in slow start out of some attempts, so that their load returns gradually. `favours_idle`: the strategy
    /// prefers nodes with little in flight, so they are left out more often.
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
            // The node with the largest share always stays.
            share >= most || chance() * most * times < share
        });
    }
}

impl ServerMask {
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

/// What all calls of a client share for selection: the strategy and the permits.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) strategy: Box<dyn Strategy>,
    pub(crate) permits: Permits,
}

/// The server picked for one attempt.
#[derive(Debug)]
pub(crate) struct Selected<'p> {
    /// Its position in the topology.
    pub(crate) position: usize,
    /// Another server is left if this attempt fails.
    pub(crate) has_more: bool,
    /// Held as long as a fallback read runs.
    pub(crate) permit: Option<Permit<'p>>,
}

impl Selector {
    /// Selects the server of an attempt, and takes a permit if it is a fallback read.
    #[inline]
    pub(crate) fn select<'a, S: Contender>(
        &self,
        set: &Contenders<'a, S>,
        criteria: Criteria,
        affinity: Affinity<'_>,
        excluded: ServerMask,
        likelihood: impl Fn(&S) -> Likelihood,
        context: AttemptContext<'a>,
    ) -> Result<Selected<'_>, NoSelection> {
        let at = |addr: &NodeAddr| set.servers.iter().position(|server| server.node().addr() == addr);
        let cannot_prove = |position: usize| likelihood(&set.servers[position]) == Likelihood::Impossible;
        let may_be = |position: &usize| !excluded.contains(*position) && !cannot_prove(*position);
        let (wanted, is_optional) = match affinity {
            Affinity::Any => (None, true),
            Affinity::First(addr) if context.attempt == 0 => (at(addr).filter(may_be), true),
            Affinity::First(_) => (None, true),
            Affinity::Only(addr) => (Some(at(addr).ok_or(NoSelection::NotInSet)?), false),
        };
        match wanted {
            None => self.select_any(set, criteria, excluded, likelihood, context),
            Some(position) if !is_optional && cannot_prove(position) => Err(NoSelection::CannotProve),
            Some(position) if excluded.contains(position) => Err(NoSelection::Later),
            Some(position) => Ok(Selected { position, has_more: is_optional && set.servers.len() > 1, permit: None }),
        }
    }

    #[inline]
    fn select_any<'a, S: Contender>(
        &self,
        set: &Contenders<'a, S>,
        mut criteria: Criteria,
        excluded: ServerMask,
        likelihood: impl Fn(&S) -> Likelihood,
        context: AttemptContext<'a>,
    ) -> Result<Selected<'_>, NoSelection> {
        loop {
            let mut eligible = decide(set, criteria, excluded, &likelihood, context.now)?;
            let permit = if eligible.is_fallback { self.permits.take(context.now) } else { None };
            if eligible.is_fallback && permit.is_none() {
                if !criteria.may_fall_back {
                    return Err(NoSelection::NoPermit);
                }
                // Without a permit, lagging replicas may still serve.
                criteria.may_fall_back = false;
                continue;
            }
            eligible.slow_start(context.now, self.strategy.needs_latency(), rand::random);
            let position = pick(set, &mut eligible, &*self.strategy, context);
            let selected = |position| Selected { position, has_more: eligible.has_more, permit };
            return position.map(selected).ok_or(NoSelection::Later);
        }
    }
}

impl CallExclusions {
    /// Begins a new round: only what is excluded for good stays excluded.
    pub(crate) fn begin_round<S: Contender>(&mut self, servers: &[S]) {
        self.this_round = ServerMask::default();
        self.apply(servers);
    }

    fn apply<S: Contender>(&mut self, servers: &[S]) {
        let one = self.one.clone();
        self.exclude(servers, |server| one.as_ref() == Some(server.node().addr()));
        if self.all_replicas {
            self.exclude_replicas(servers);
        }
    }

    /// Excludes servers from this round.
    pub(crate) fn exclude<S: Contender>(&mut self, servers: &[S], is_excluded: impl Fn(&S) -> bool) {
        let excluded = servers.iter().enumerate().filter(|(_, server)| is_excluded(server));
        excluded.for_each(|(index, _)| self.this_round.insert(index));
    }

    /// Excludes all replicas from this round.
    pub(crate) fn exclude_replicas<S: Contender>(&mut self, servers: &[S]) {
        self.exclude(servers, |server| server.assigned_role() == Role::Replica);
    }

    /// Excludes one server, or all replicas of any topology, from this round and all that follow.
    pub(crate) fn exclude_for_good<S: Contender>(&mut self, servers: &[S], one: Option<NodeAddr>) {
        (self.all_replicas, self.one) = (one.is_none(), one);
        self.apply(servers);
    }

    /// Returns whether the call excludes a server for good.
    pub(crate) fn are_for_good(&self) -> bool {
        self.all_replicas || self.one.is_some()
    }
}
