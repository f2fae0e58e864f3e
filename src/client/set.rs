//! Changing the set while it is used.

use std::time::{Duration, Instant};

use super::ReplicatedClient;
use crate::addr::NodeAddr;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Fixed;
use crate::replication::Role;

/// How often a node that leaves is looked at until nothing runs there.
const GLANCE: Duration = Duration::from_millis(1);

impl ReplicatedClient {
    /// Adds a replica to a set whose nodes were named. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Topology`] if a provider describes the set; [`ErrorKind::Config`] for an address that cannot be read,
    /// a node that belongs to the set already, another database than that of the others, and a node beyond the 64th.
    pub fn add_replica(&self, node: impl Into<Endpoint>) -> Result<()> {
        let fixed = self.fixed()?;
        let node = node.into();
        let addr = node.place()?.addr;
        fixed.add(Role::Replica, node)?;
        self.describe_anew(fixed).inspect_err(|_| drop(fixed.remove(&addr)))
    }

    /// Removes a node from a set whose nodes were named, and waits until the calls that run there have ended, at most until
    /// the deadline of this handle. New calls go elsewhere at once. A name of several addresses is removed as a whole.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Topology`] if a provider describes the set, if no node was named so, or if it is the master now.
    pub fn remove_replica(&self, addr: &NodeAddr) -> Result<()> {
        let fixed = self.fixed()?;
        let topology = self.router().store.current();
        let position = topology.find(addr);
        if position.is_some() && position == topology.master() {
            return Err(
                Error::new(ErrorKind::Topology, "this is the master: it can be removed once another one is").on(addr)
            );
        }
        let (role, node) = fixed.remove(addr)?;
        // Nothing changed: the set is as it was named before.
        self.describe_anew(fixed).inspect_err(|_| drop(fixed.add(role, node)))?;
        let now = self.router().store.current();
        let left = || topology.servers().iter().filter(|server| !now.has(server));
        let runs = || left().any(|server| server.node.in_flight() > 0);
        let end = self.end();
        while runs() && Instant::now() < end {
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Sets the share of the load that a node should get, compared with the others. Strategies that know weights use it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for zero; [`ErrorKind::Topology`] if the set has no such node.
    pub fn set_weight(&self, addr: &NodeAddr, weight: u32) -> Result<()> {
        if weight == 0 {
            return Err(Error::config("a node has the weight 0: remove it instead").on(addr));
        }
        let topology = self.router().store.current();
        let unknown = || Error::new(ErrorKind::Topology, "this is no node of the set").on(addr);
        let position = topology.find(addr).ok_or_else(unknown)?;
        topology.servers()[position].node.set_weight(weight);
        Ok(())
    }

    /// Asks the provider for the set, and every node for its state, now; returns when all have answered or failed.
    ///
    /// Not needed in normal operation: the monitor does it at intervals, and errors of calls at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Topology`] if the provider could not describe the set by the deadline of this handle; the last good
    /// topology stays.
    pub fn refresh(&self) -> Result<()> {
        self.router().monitor.refresh(self.end())
    }

    /// Returns when a call that begins now has to end.
    fn end(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.options.call.deadline).unwrap_or(now + Duration::from_secs(3600))
    }

    fn fixed(&self) -> Result<&Fixed> {
        let described = || Error::new(ErrorKind::Topology, "the nodes of this set come from its provider, not by hand");
        self.shared.fixed.as_deref().ok_or_else(described)
    }

    /// Takes over what the nodes are now.
    fn describe_anew(&self, fixed: &Fixed) -> Result<()> {
        self.router().monitor.describe(self.end())?;
        // A name is to be looked up again from time to time.
        if fixed.has_names() { self.router().monitor.ask_provider_at_intervals() } else { Ok(()) }
    }
}
