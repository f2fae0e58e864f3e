//! Where topologies come from: a provider describes which nodes belong to a set, and in which roles.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::wakeup::Wakeup;
use crate::addr::NodeAddr;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::replication::Role;

/// Where topologies come from: says which nodes belong to the set, and in which roles.
///
/// Addresses and roles only, never pools: those are made, kept and dropped by the client, which also asks every node for
/// its role before it believes anything. A node that stays takes over at once what is new in its description: connections
/// opened from then on use the new login, while those that are open stay; a new weight replaces the present one; a new zone,
/// database or TLS mode makes it another node. Runs on a thread of the client, or in
/// [`refresh`](crate::ReplicatedClient::refresh), never twice at a time.
///
/// ```
/// use std::time::Instant;
/// use redis_replicated::{Description, Error, Result, TopologyProvider};
///
/// /// Reads the set from a file that something else keeps up to date: the master in the first line, replicas below.
/// #[derive(Debug)]
/// struct FromFile(std::path::PathBuf);
///
/// impl TopologyProvider for FromFile {
///     fn describe(&self, _: Instant) -> Result<Description> {
///         let text = std::fs::read_to_string(&self.0).map_err(|error| Error::topology(error.to_string()))?;
///         let mut lines = text.lines();
///         let described = lines.next().map_or_else(Description::new, |master| Description::new().master(master));
///         Ok(lines.fold(described, |described, replica| described.replica(replica)))
///     }
/// }
/// ```
pub trait TopologyProvider: fmt::Debug + Send + Sync + 'static {
    /// Describes the set, by `deadline` at the latest.
    ///
    /// A description without any node, and one without a master after one with a master, changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::topology`](crate::Error::topology) if it cannot: then the last good topology stays, as after a panic.
    fn describe(&self, deadline: Instant) -> Result<Description>;

    /// Returns how long after one description the next is asked for. Default: 10 s. Faults of calls ask for one at once;
    /// with the monitor switched off, only they do.
    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Called once, when the client is built with a monitor: a provider that hears of changes can ask for a refresh.
    /// Default: does nothing.
    ///
    /// Threads that it starts should end when [`RefreshTrigger::is_alive`] turns `false`.
    fn watch(&self, trigger: RefreshTrigger) {
        let _ = trigger;
    }
}

/// The nodes of a set and their roles, as a provider sees them.
///
/// ```
/// use redis_replicated::Description;
///
/// let description = Description::new().master("redis://10.0.0.1:6379").replica("redis://10.0.0.2:6379");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub(crate) nodes: Vec<(Option<Role>, Endpoint)>,
    /// The named master is the decision of an authority such as Sentinel, not a first guess.
    pub(crate) is_decided: bool,
    /// All roles are first guesses.
    is_guessed: bool,
    /// Replicas that an authority knows and does not reach.
    pub(crate) absent: Vec<Endpoint>,
}

/// Asks a client to describe its set anew: given to [`TopologyProvider::watch`].
///
/// ```
/// use std::time::Duration;
/// use redis_replicated::RefreshTrigger;
///
/// /// Called by [`TopologyProvider::watch`](redis_replicated::TopologyProvider::watch).
/// fn watch(trigger: RefreshTrigger) {
///     std::thread::spawn(move || {
///         while trigger.is_alive() {
///             std::thread::sleep(Duration::from_secs(1));
///             trigger.fire();
///         }
///     });
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RefreshTrigger(Weak<Wakeup>);

impl Description {
    /// Makes a description without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the master. It gets writes once it has said itself that it is a master; of several, the first counts.
    #[must_use]
    pub fn master(mut self, node: impl Into<Endpoint>) -> Self {
        self.nodes.push((Some(Role::Master), node.into()));
        self.is_decided = true;
        self
    }

    /// Adds a replica.
    #[must_use]
    pub fn replica(mut self, node: impl Into<Endpoint>) -> Self {
        self.nodes.push((Some(Role::Replica), node.into()));
        self
    }

    /// Adds a node whose role is to be found out by asking it.
    #[must_use]
    pub fn node(mut self, node: impl Into<Endpoint>) -> Self {
        self.nodes.push((None, node.into()));
        self
    }

    /// Makes a description whose roles are first guesses, to be corrected by the nodes.
    pub(crate) fn guessed() -> Self {
        Self { is_guessed: true, ..Self::default() }
    }

    /// Adds a node whose role is a first guess.
    pub(crate) fn guess(mut self, role: Option<Role>, node: Endpoint) -> Self {
        self.nodes.push((role, node));
        self
    }

    /// Adds a replica that an authority does not reach: it belongs to the set as long as this client does.
    pub(crate) fn absent(mut self, node: Endpoint) -> Self {
        self.absent.push(node);
        self
    }

    pub(crate) fn master_addr(&self) -> Option<NodeAddr> {
        let named = self.nodes.iter().find(|(role, _)| *role == Some(Role::Master))?;
        named.1.place().ok().map(|place| place.addr)
    }

    /// Returns whether the roles of all nodes are known, and none of them is the master.
    pub(crate) fn lacks_master(&self) -> bool {
        !self.is_guessed && self.nodes.iter().all(|(role, _)| *role == Some(Role::Replica))
    }
}

impl RefreshTrigger {
    pub(crate) fn new(wakeup: &Arc<Wakeup>) -> Self {
        Self(Arc::downgrade(wakeup))
    }

    /// Asks for a refresh, which runs soon on another thread; several requests at once are one.
    pub fn fire(&self) {
        if let Some(wakeup) = self.0.upgrade() {
            wakeup.wake();
        }
    }

    /// Returns whether the client still lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.upgrade().is_some_and(|wakeup| !wakeup.is_closed())
    }
}
