//! The immutable picture of a set: its master, its replicas and their servers. It is swapped whole.

use std::ops::Deref;
use std::sync::Arc;

use super::server::Server;
use crate::addr::NodeAddr;
use crate::node::Node;
use crate::observe::Attempted;
use crate::replication::Role;
use crate::retry::Deadline;
use crate::selection::{Contender, Contenders};

/// A server with the role that this topology assigns to it.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) server: Arc<Server>,
    /// The assigned role: what the topology takes the node for. What the server says it is, is [`Node::role`].
    pub(crate) assigned_role: Role,
}

/// The master and the replicas that a call works with. Each topology has a generation.
#[derive(Clone, Debug, Default)]
// The count of an `Arc` of it is on another cache line than what calls read, and than the counts of other lanes.
#[repr(align(128))]
pub(crate) struct Topology {
    servers: Vec<Assigned>,
    generation: u64,
    has_replicas: bool,
    /// It is known which node is the master, as far as the client can know. Until then, no call goes to a master.
    is_settled: bool,
}

impl Assigned {
    /// Returns whether nothing speaks against the assigned role.
    #[inline]
    pub(crate) fn is_in_place(&self, proven: Option<Role>) -> bool {
        self.node.role() == self.assigned_role && proven.is_none_or(|role| role == self.assigned_role)
    }

    /// Returns the attempt on this server that began when the deadline's time was last set, as the last one of its call.
    pub(crate) fn attempted(&self, deadline: &Deadline) -> Attempted<'_> {
        Attempted {
            node: self.node.addr(),
            role: self.assigned_role,
            database: self.pool.database(),
            began: deadline.now(),
            timing: deadline.take_spent().timing(),
            is_fallback: false,
            is_last: true,
        }
    }

    /// Returns whether both are the same server in the same role.
    fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server) && self.assigned_role == other.assigned_role
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
    /// Makes a topology of at most 64 servers, at most one of them the master.
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

    pub(crate) fn find(&self, addr: &NodeAddr) -> Option<usize> {
        self.servers.iter().position(|server| server.node.addr() == addr)
    }

    pub(crate) fn master(&self) -> Option<usize> {
        self.servers.iter().position(|server| server.assigned_role == Role::Master)
    }

    /// Returns whether this server belongs to the set.
    pub(crate) fn has(&self, server: &Assigned) -> bool {
        self.servers.iter().any(|own| Arc::ptr_eq(&own.server, &server.server))
    }

    /// Returns whether this server belongs to the set in the same role.
    pub(crate) fn assigns(&self, server: &Assigned) -> bool {
        self.servers.iter().any(|own| own.is_same_as(server))
    }

    /// Returns whether this topology has these servers in these roles, and is settled or not as well.
    pub(super) fn consists_of(&self, servers: &[Assigned], is_settled: bool) -> bool {
        self.is_settled == is_settled
            && self.servers.len() == servers.len()
            && self.servers.iter().zip(servers).all(|(one, other)| one.is_same_as(other))
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
