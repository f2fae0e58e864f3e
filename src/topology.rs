//! What the set is now: the nodes, their places and their pools. Immutable once made.

use std::time::Instant;

use arrayvec::ArrayVec;

use crate::addr::NodeAddr;
use crate::node::{Node, Role};
use crate::pool::Pool;
use crate::routing::{Exclusion, Rank, ReadFrom, rank};
use crate::strategy::{Candidates, MOST_NODES};

mod snapshot;

pub use self::snapshot::{NodeSnapshot, Snapshot};

/// A node, its place in the set, and its pool.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) pool: Pool,
    /// What the topology takes the node for; [`Node::role`] is what it was last seen as.
    pub(crate) place: Role,
}

/// The picture of master and replicas that a call works with.
#[derive(Debug)]
pub(crate) struct Topology {
    members: Vec<Member>,
}

/// The members that a call has tried in this round, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct LeftOut(u64);

/// The candidates of one attempt.
#[derive(Debug)]
pub(crate) struct Choice<'a> {
    pub(crate) candidates: Candidates<'a>,
    /// There is another node to turn to if this attempt fails.
    pub(crate) has_more: bool,
}

impl Member {
    /// Tells whether anything speaks against the role that the topology gives the node.
    pub(crate) fn is_in_place(&self, proven: Option<Role>) -> bool {
        self.node.role() == self.place && proven.is_none_or(|role| role == self.place)
    }
}

impl Topology {
    /// `members` are at most 64, one of them the master.
    pub(crate) fn new(members: Vec<Member>) -> Self {
        Self { members }
    }

    /// Collects the best-ranked nodes that may serve a read, or anything else, and are not left out.
    #[inline]
    pub(crate) fn choose(
        &self,
        is_read: bool,
        read_from: ReadFrom,
        now: Instant,
        left_out: LeftOut,
    ) -> Option<Choice<'_>> {
        let mut best = Rank::LastResort;
        let mut eligible = 0;
        let mut nodes = ArrayVec::<&Node, MOST_NODES>::new();
        for (index, member) in self.members.iter().enumerate() {
            if left_out.contains(index) {
                continue;
            }
            let Ok(rank) = rank(&member.node, member.place, is_read, read_from, now) else { continue };
            eligible += 1;
            if rank < best {
                best = rank;
                nodes.clear();
            }
            if rank == best {
                // There are no more members than places.
                let _ = nodes.try_push(&member.node);
            }
        }
        let candidates = Candidates::of(nodes)?;
        Some(Choice { candidates, has_more: eligible > 1 })
    }

    /// Returns why each node that is not a candidate is not.
    pub(crate) fn exclusions(
        &self,
        is_read: bool,
        read_from: ReadFrom,
        now: Instant,
        candidates: &[NodeAddr],
    ) -> Vec<(NodeAddr, Exclusion)> {
        let others = self.members.iter().filter(|member| !candidates.contains(member.node.addr()));
        let reason = |member: &Member| match rank(&member.node, member.place, is_read, read_from, now) {
            Err(exclusion) => exclusion,
            Ok(Rank::LastResort) => Exclusion::Ejected,
            Ok(_) => Exclusion::Fallback,
        };
        others.map(|member| (member.node.addr().clone(), reason(member))).collect()
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the place in the list of the member whose node this is.
    pub(crate) fn position(&self, node: &Node) -> Option<usize> {
        self.members.iter().position(|member| std::ptr::eq(&member.node, node))
    }

    pub(crate) fn find(&self, addr: &NodeAddr) -> Option<usize> {
        self.members.iter().position(|member| member.node.addr() == addr)
    }

    pub(crate) fn master(&self) -> Option<usize> {
        self.members.iter().position(|member| member.place == Role::Master)
    }
}

impl LeftOut {
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
