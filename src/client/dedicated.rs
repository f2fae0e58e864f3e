//! Dedicated connections: outside the pools, for one user alone.

use redis::Connection;

use super::ReplicatedClient;
use crate::addr::NodeAddr;
use crate::call::{CallOptions, Obtained, Stop, connect};
use crate::classification::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::replication::Role;
use crate::retry::{DEADLINE, Deadline, Fault, Stage, Waited};
use crate::selection::{Affinity, ReadFrom};
use crate::topology::Assigned;

/// The node to which a dedicated connection leads.
///
/// ```no_run
/// use redis_replicated::Target;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let mut replica = client.dedicated(Target::Replica)?;
/// let mut node = client.dedicated(Target::Node("127.0.0.1:6380".parse()?))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The master.
    Master,
    /// A replica, chosen by the strategy.
    Replica,
    /// The node at this address, whatever its role.
    Node(NodeAddr),
}

impl From<NodeAddr> for Target {
    fn from(addr: NodeAddr) -> Self {
        Self::Node(addr)
    }
}

/// Connections outside the pools.
impl ReplicatedClient {
    /// Opens a connection outside the pools: for pub/sub, `MONITOR`, `SELECT`, and the administration of one node.
    ///
    /// It logs in as the pooled connections do, has no time limits, stays with its node, and is closed on drop. Until the
    /// deadline of this handle, unreachable nodes are tried again.
    ///
    /// ```no_run
    /// use redis_replicated::Target;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let mut connection = client.dedicated(Target::Master)?;
    /// let mut subscription = connection.as_pubsub();
    /// subscription.subscribe("news")?;
    /// let text: String = subscription.get_message()?.get_payload()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the set has no such node, or the node does not have the requested role;
    /// [`ErrorKind::Checkout`] if no connection could be made; [`ErrorKind::Server`] if the login was refused.
    pub fn dedicated(&self, target: Target) -> Result<Connection> {
        let is_replica = target == Target::Replica;
        let read_from = if is_replica { ReadFrom::Replica } else { ReadFrom::Master };
        let affinity = if let Target::Node(addr) = &target { Affinity::Only(addr) } else { Affinity::Any };
        let open = |server: &Assigned, deadline: &Deadline, _| {
            open(&target, server, deadline).inspect_err(|_| {
                if server.assigned_role == Role::Master {
                    self.router().monitor.suspect();
                }
            })
        };
        let request = Request::for_connection(is_replica);
        let options = CallOptions { read_from, ..self.call_options() };
        let opened = connect(self.router(), &request, options, affinity, open);
        opened.map(|(connection, ..)| connection).map_err(Stop::into_error)
    }
}

impl Obtained for Connection {}

/// Opens a connection to a server, and checks its role.
fn open(target: &Target, server: &Assigned, deadline: &Deadline) -> Result<Connection, Fault> {
    let end = deadline.attempt_end(false);
    // Health does not count its faults: they say nothing about the connections of the pool.
    let uncounted = |fault| Fault { is_uncounted: true, ..fault };
    let (connection, role) = server.pool.connect_unpooled(end).map_err(|fault| {
        let limit = Waited { setting: "connect_timeout", time: server.pool.limits().connect };
        uncounted(fault.after_waiting(limit, deadline.now(), end.map(|end| (end, DEADLINE))))
    })?;
    match role {
        Some(role) if role != server.assigned_role && !matches!(target, Target::Node(_)) => {
            let error = Error::new(ErrorKind::Unavailable, format!("is a {role} now")).about(server.node.addr());
            Err(uncounted(Fault::answered(Stage::WrongRole, error)))
        }
        _ => Ok(connection),
    }
}
