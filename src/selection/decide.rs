//! Which servers may serve an attempt, and which of them the strategy picks.
//!
//! [`decide`] is pure: it reads nodes and changes nothing, so `explain` prints what it returns.

use std::time::Instant;

use arrayvec::ArrayVec;

use super::decision::Exclusion;
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

/// The order in which nodes are asked: all candidates of one attempt share the best rank that is left.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    Preferred,
    /// Allowed, but only where no preferred node is left.
    Fallback,
    /// A replica that lags far behind the master.
    Lagging,
    /// A replica that is syncing, or cut off from a master that lives.
    OutOfSync,
    /// Ejected: asked only before the call would fail otherwise.
    LastResort,
}

/// Ranks a node for a read or for anything else, or returns why it may never serve it.
#[inline]
fn rank(node: &Node, assigned_role: Role, is_read: bool, read_from: ReadFrom, now: Instant) -> Result<Rank, Exclusion> {
    let rank = rank_of_role(assigned_role, is_read, read_from)?;
    // One master: there is nobody to turn to if it is ejected.
    if !is_read || node.is_sound_as(assigned_role) { Ok(rank) } else { rank_of_unsound(node, assigned_role, rank, now) }
}

/// Ranks a role, whatever node has it.
#[inline]
fn rank_of_role(assigned_role: Role, is_read: bool, read_from: ReadFrom) -> Result<Rank, Exclusion> {
    let is_master = assigned_role == Role::Master;
    let (first, second) = match read_from {
        _ if !is_read => (is_master, false),
        ReadFrom::Master => (is_master, false),
        ReadFrom::Replica => (!is_master, false),
        ReadFrom::MasterPreferred => (is_master, true),
        ReadFrom::ReplicaPreferred => (!is_master, true),
        ReadFrom::Any => (true, false),
    };
    match (first, second) {
        (true, _) => Ok(Rank::Preferred),
        (false, true) => Ok(Rank::Fallback),
        (false, false) => Err(Exclusion::Role),
    }
}

/// Ranks a node that is ejected, in another role than the assigned one, or not in sync with the master.
#[cold]
fn rank_of_unsound(node: &Node, assigned_role: Role, rank: Rank, now: Instant) -> Result<Rank, Exclusion> {
    match node.sync_state() {
        SyncState::Diverged => Err(Exclusion::Diverged),
        _ if node.is_avoided(now) || node.role() != assigned_role => Ok(Rank::LastResort),
        SyncState::InSync => Ok(rank),
        SyncState::Lagging => Ok(Rank::Lagging),
        SyncState::Syncing | SyncState::LinkDown => Ok(Rank::OutOfSync),
    }
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
            is_slow_start |= node.is_eased_in();
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

/// Returns why each server that is not a candidate is not one.
pub(crate) fn exclusions<S: Contender>(
    set: &Contenders<'_, S>,
    need: Need,
    suits: impl Fn(&S) -> Suits,
    now: Instant,
    candidates: &[NodeAddr],
) -> Vec<(NodeAddr, Exclusion)> {
    let reason = |server: &S| match rank(server.node(), server.assigned_role(), need.is_read, need.read_from, now) {
        _ if suits(server) == Suits::Unable => Exclusion::Unproven,
        Err(exclusion) => exclusion,
        Ok(Rank::LastResort) => Exclusion::Ejected,
        Ok(Rank::OutOfSync) => Exclusion::OutOfSync,
        Ok(Rank::Lagging) => Exclusion::Lagging,
        Ok(Rank::Fallback) if !need.may_fall_back => Exclusion::Protected,
        Ok(_) if suits(server) == Suits::Unlikely => Exclusion::Unproven,
        Ok(_) => Exclusion::Fallback,
    };
    let others = set.servers.iter().filter(|server| !candidates.contains(server.node().addr()));
    others.map(|server| (server.node().addr().clone(), reason(server))).collect()
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

#[cfg(test)]
mod tests {
    use super::{Exclusion, Rank, ReadFrom, rank};
    use crate::node::{Node, Outcome, SyncState};
    use crate::replication::Role;
    use std::time::Instant;

    #[test]
    fn every_preference_ranks_roles_in_its_order() {
        let now = Instant::now();
        let node = Node::new("n:1".parse().unwrap());
        for (read_from, master, replica) in [
            (ReadFrom::Master, Ok(Rank::Preferred), Err(Exclusion::Role)),
            (ReadFrom::MasterPreferred, Ok(Rank::Preferred), Ok(Rank::Fallback)),
            (ReadFrom::Replica, Err(Exclusion::Role), Ok(Rank::Preferred)),
            (ReadFrom::ReplicaPreferred, Ok(Rank::Fallback), Ok(Rank::Preferred)),
            (ReadFrom::Any, Ok(Rank::Preferred), Ok(Rank::Preferred)),
        ] {
            node.observe_role(Role::Master);
            assert_eq!(rank(&node, Role::Master, true, read_from, now), master, "{read_from}");
            node.observe_role(Role::Replica);
            assert_eq!(rank(&node, Role::Replica, true, read_from, now), replica, "{read_from}");
            let demoted = rank(&node, Role::Master, true, read_from, now);
            assert!(demoted == Ok(Rank::LastResort) || demoted == master && master.is_err(), "{read_from}");
        }
        for (sync_state, expected) in [
            (SyncState::Syncing, Ok(Rank::OutOfSync)),
            (SyncState::LinkDown, Ok(Rank::OutOfSync)),
            (SyncState::Lagging, Ok(Rank::Lagging)),
            (SyncState::Diverged, Err(Exclusion::Diverged)),
            (SyncState::InSync, Ok(Rank::Preferred)),
        ] {
            node.set_sync_state(sync_state, now);
            assert_eq!(rank(&node, Role::Replica, true, ReadFrom::Any, now), expected);
        }
        node.record_failure(Outcome::Unreachable, now, 0.5);
        assert_eq!(rank(&node, Role::Replica, true, ReadFrom::Any, now), Ok(Rank::LastResort));
    }

    #[test]
    fn writes_go_to_the_master_whatever_the_preference() {
        let now = Instant::now();
        let node = Node::new("n:1".parse().unwrap());
        node.record_failure(Outcome::Unreachable, now, 0.5);
        for read_from in ReadFrom::ALL {
            assert_eq!(rank(&node, Role::Master, false, read_from, now), Ok(Rank::Preferred));
            assert_eq!(rank(&node, Role::Replica, false, read_from, now), Err(Exclusion::Role));
        }
    }
}
