//! What the set is now: the nodes, their places and their pools. A topology is immutable once made, and swapped whole.

use std::ops::Deref;
use std::sync::Arc;

use crate::addr::NodeAddr;
use crate::node::Node;
use crate::replication::Role;
use crate::selection::{Contender, Contenders};

mod announced;
mod chain;
mod checkout;
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

pub(crate) use self::checkout::Purpose;
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

impl Assigned {
    /// Tells whether anything speaks against the role that the topology gives the node.
    #[inline]
    pub(crate) fn is_in_place(&self, proven: Option<Role>) -> bool {
        self.node.role() == self.assigned_role && proven.is_none_or(|role| role == self.assigned_role)
    }
}

impl Contender for Assigned {
    #[inline]
    fn node(&self) -> &Node {
        &self.server.node
    }

    #[inline]
    fn assigned_role(&self) -> Role {
        self.assigned_role
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

    /// Returns the servers as selection looks at them.
    #[inline]
    pub(crate) fn contenders(&self) -> Contenders<'_, Assigned> {
        Contenders { servers: &self.servers, has_replicas: self.has_replicas, is_settled: self.is_settled }
    }

    pub(crate) fn servers(&self) -> &[Assigned] {
        &self.servers
    }

    /// Returns the place in the list of the member whose node this is.
    #[inline]
    pub(crate) fn position(&self, node: &Node) -> Option<usize> {
        self.servers.iter().position(|server| std::ptr::eq(&server.node, node))
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
