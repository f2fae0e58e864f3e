//! What the set is now: the nodes, their places and their pools. A topology is immutable once made, and swapped whole.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;

use crate::addr::NodeAddr;
use crate::node::{Node, SyncState};
use crate::replication::Role;
use crate::selection::{Exclusion, Rank, ReadFrom, rank};
use crate::strategy::{Candidates, MOST_NODES};

mod announced;
mod chain;
mod description;
mod discovery;
mod election;
#[cfg(test)]
mod fake;
mod fixed;
mod history;
mod membership;
mod names;
mod progress;
mod refresher;
mod refused;
mod sentinel;
mod server;
mod snapshot;
mod store;
mod thread;
mod turn;
mod wakeup;
mod watcher;

pub use self::description::{Description, RefreshTrigger, TopologyProvider};
pub(crate) use self::discovery::Discovery;
pub(crate) use self::fixed::Fixed;
pub(crate) use self::progress::Hint;
pub(crate) use self::sentinel::SentinelGroup;
pub(crate) use self::server::{Server, ServerSettings};
pub use self::snapshot::{NodeSnapshot, ReplicationSnapshot, Snapshot};
pub(crate) use self::store::TopologyStore;
pub(crate) use self::thread::cannot_start;

/// A node with its pool, and its place in this topology.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) server: Arc<Server>,
    /// What the topology takes the node for; [`Node::role`] is what it was last seen as.
    pub(crate) assigned_role: Role,
}

/// The picture of master and replicas that a call works with.
#[derive(Debug)]
pub(crate) struct Topology {
    servers: Vec<Assigned>,
    generation: u64,
    has_replicas: bool,
    /// It is known which node is the master, as far as anybody can know. Until then no call goes to one.
    is_settled: bool,
}

/// The members that a call has tried in this round, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct LeftOut(u64);

/// What a call needs of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) is_read: bool,
    pub(crate) read_from: ReadFrom,
    /// There is room for one more fallback read on the master.
    pub(crate) may_fall_back: bool,
    /// What the node should contain: those that are known to lag behind come last.
    pub(crate) hint: Hint,
    /// The named master is taken for the master before anybody has said who it is.
    pub(crate) presumes: bool,
    /// The nodes that are left out would refuse it again.
    pub(crate) left_for_good: bool,
}

/// The candidates of one attempt.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) candidates: Candidates<'a>,
    /// There is another node to turn to if this attempt fails.
    pub(crate) has_more: bool,
    /// This is a fallback read, of which there may be only so many.
    pub(crate) is_fallback: bool,
    is_eased_in: bool,
}

/// Why there is no candidate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoChoice {
    /// All were tried in this round, or nobody knows yet who may serve: later there may be one.
    Later,
    /// Only the master could serve, and has enough of such reads.
    Protected,
    /// No node of the set may ever serve this.
    Nobody,
}

impl Assigned {
    /// Tells whether anything speaks against the role that the topology gives the node.
    #[inline]
    pub(crate) fn is_in_place(&self, proven: Option<Role>) -> bool {
        self.node.role() == self.assigned_role && proven.is_none_or(|role| role == self.assigned_role)
    }
}

impl Deref for Assigned {
    type Target = Server;

    #[inline]
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Topology {
    /// `members` are at most 64, at most one of them the master.
    pub(crate) fn new(servers: Vec<Assigned>, generation: u64, is_settled: bool) -> Self {
        let has_replicas = servers.iter().any(|server| server.assigned_role == Role::Replica);
        Self { servers, generation, has_replicas, is_settled }
    }

    /// Collects the best-ranked nodes that may serve a read, or anything else, and are not left out.
    #[inline]
    pub(crate) fn choose(&self, need: Need, now: Instant, left_out: LeftOut) -> Result<Choice<'_>, NoChoice> {
        let mut best = (Rank::LastResort, true, true);
        let mut eligible = 0;
        let mut is_eased_in = false;
        let mut is_protected = false;
        let hides_master = !self.is_settled && !need.presumes;
        let mut nodes = ArrayVec::<&Node, MOST_NODES>::new();
        for (index, server) in self.servers.iter().enumerate() {
            if left_out.contains(index) || (hides_master && server.assigned_role == Role::Master) {
                continue;
            }
            let Ok(rank) = rank(&server.node, server.assigned_role, need.is_read, need.read_from, now) else {
                continue;
            };
            if rank == Rank::Fallback && !need.may_fall_back && self.falls_back(need) {
                is_protected = true;
                continue;
            }
            eligible += 1;
            let rank = (rank, server.node.is_unreached(now), !server.progress.may_have(need.hint, now));
            if rank < best {
                best = rank;
                nodes.clear();
                is_eased_in = false;
            }
            if rank == best {
                is_eased_in |= server.node.is_eased_in();
                // There are no more members than places.
                let _ = nodes.try_push(&server.node);
            }
        }
        let (best, ..) = best;
        if is_protected && best > Rank::Lagging {
            let is_for_now = !need.left_for_good && self.may_still_serve(need, now, left_out);
            return Err(if is_for_now { NoChoice::Later } else { NoChoice::Protected });
        }
        let is_fallback = best == Rank::Fallback && self.falls_back(need);
        match Candidates::of(nodes) {
            Some(candidates) => Ok(Choice { candidates, has_more: eligible > 1, is_fallback, is_eased_in }),
            // Whatever only a master can do waits for one.
            None if !left_out.is_empty() || !self.is_settled || !need.is_read || self.is_outdated() => {
                Err(NoChoice::Later)
            }
            None => Err(NoChoice::Nobody),
        }
    }

    /// Tells whether another topology is about to take the place of this one, or has.
    #[cold]
    fn is_outdated(&self) -> bool {
        self.master().is_some_and(|master| self.servers[master].node.sync_state() == SyncState::Diverged)
    }

    /// Tells whether a read that the master serves is a fallback read, for want of replicas.
    fn falls_back(&self, need: Need) -> bool {
        need.is_read && need.read_from == ReadFrom::ReplicaPreferred && self.has_replicas
    }

    /// Tells whether one of the nodes that were tried in this round is not known to be out.
    #[cold]
    fn may_still_serve(&self, need: Need, now: Instant, left_out: LeftOut) -> bool {
        let serves = |server: &Assigned| {
            rank(&server.node, server.assigned_role, need.is_read, need.read_from, now) == Ok(Rank::Preferred)
        };
        self.servers.iter().enumerate().any(|(index, server)| left_out.contains(index) && serves(server))
    }

    /// Returns why each node that is not a candidate is not.
    pub(crate) fn exclusions(&self, need: Need, now: Instant, candidates: &[NodeAddr]) -> Vec<(NodeAddr, Exclusion)> {
        let others = self.servers.iter().filter(|server| !candidates.contains(server.node.addr()));
        let reason =
            |server: &Assigned| match rank(&server.node, server.assigned_role, need.is_read, need.read_from, now) {
                Err(exclusion) => exclusion,
                Ok(Rank::LastResort) => Exclusion::Ejected,
                Ok(Rank::OutOfSync) => Exclusion::OutOfSync,
                Ok(Rank::Lagging) => Exclusion::Lagging,
                Ok(Rank::Fallback) if !need.may_fall_back => Exclusion::Protected,
                Ok(_) => Exclusion::Fallback,
            };
        others.map(|server| (server.node.addr().clone(), reason(server))).collect()
    }

    pub(crate) fn servers(&self) -> &[Assigned] {
        &self.servers
    }

    /// Returns the place in the list of the member whose node this is.
    #[inline]
    pub(crate) fn position(&self, node: &Node) -> Option<usize> {
        self.servers.iter().position(|server| std::ptr::eq(&server.node, node))
    }

    /// Returns all replicas, to be left out.
    pub(crate) fn replicas(&self) -> LeftOut {
        let mut all = LeftOut::default();
        let replicas = self.servers.iter().enumerate().filter(|(_, server)| server.assigned_role == Role::Replica);
        replicas.for_each(|(index, _)| all.insert(index));
        all
    }

    /// Returns the member at this address, to be left out.
    pub(crate) fn only(&self, addr: &NodeAddr) -> LeftOut {
        let mut only = LeftOut::default();
        if let Some(position) = self.find(addr) {
            only.insert(position);
        }
        only
    }

    pub(crate) fn find(&self, addr: &NodeAddr) -> Option<usize> {
        self.servers.iter().position(|server| server.node.addr() == addr)
    }

    pub(crate) fn master(&self) -> Option<usize> {
        self.servers.iter().position(|server| server.assigned_role == Role::Master)
    }

    /// Tells whether this node belongs to the set.
    pub(crate) fn has(&self, server: &Assigned) -> bool {
        self.servers.iter().any(|own| Arc::ptr_eq(&own.server, &server.server))
    }

    /// Tells whether the same node has the same place here.
    pub(crate) fn places(&self, server: &Assigned) -> bool {
        self.servers
            .iter()
            .any(|own| Arc::ptr_eq(&own.server, &server.server) && own.assigned_role == server.assigned_role)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Counts the answers of all nodes that belong to the set now.
    pub(crate) fn answered(&self) -> u64 {
        self.servers.iter().map(|server| server.node.answered()).sum()
    }
}

impl Choice<'_> {
    /// Leaves nodes that came back a short while ago out of some attempts, so that their load returns gradually.
    /// `favours_idle`: the strategy takes such a node whenever it may, for it has nothing to do.
    #[inline]
    pub(crate) fn ease_in(&mut self, now: Instant, favours_idle: bool, chance: impl FnMut() -> f64) {
        if self.is_eased_in {
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

impl LeftOut {
    pub(crate) fn insert(&mut self, index: usize) {
        self.0 |= 1 << (index % 64);
    }

    pub(crate) fn contains(self, index: usize) -> bool {
        self.0 & (1 << (index % 64)) != 0
    }

    pub(crate) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
