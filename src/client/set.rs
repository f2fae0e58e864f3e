//! Changing the set of nodes at run time.

use std::time::{Duration, Instant};

use super::ReplicatedClient;
use crate::addr::NodeAddr;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Fixed;
use crate::replication::Role;

/// How often the requests in flight on a removed node are counted, until there are none.
const DRAIN_POLL: Duration = Duration::from_millis(1);

/// Changing the set of nodes at run time.
impl ReplicatedClient {
    /// Adds a replica to a set whose nodes were named. Does not connect yet.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.add_replica("redis://127.0.0.1:6382")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Topology`] if a provider describes the set; [`ErrorKind::Config`] if the address cannot be parsed, the node
    /// is in the set already, its database differs from that of the others, or the set has 64 nodes.
    pub fn add_replica(&self, node: impl Into<Endpoint>) -> Result<()> {
        let fixed = self.fixed()?;
        let node = node.into();
        let addr = node.place()?.addr;
        fixed.add(Role::Replica, node)?;
        self.describe_again(fixed).inspect_err(|_| drop(fixed.remove(&addr)))
    }

    /// Removes a node from a set whose nodes were named. Waits until its requests in flight have ended, at most until the
    /// deadline of this handle; new calls go to other nodes at once. A host name with several addresses is removed as a whole.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.remove_replica(&"127.0.0.1:6382".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Topology`] if a provider describes the set, if no node has this name, or if the node is the master now.
    pub fn remove_replica(&self, addr: &NodeAddr) -> Result<()> {
        let fixed = self.fixed()?;
        let topology = self.router().store.current();
        let position = topology.find(addr);
        if position.is_some() && position == topology.master() {
            return Err(Error::new(
                ErrorKind::Topology,
                "is the master: it can be removed after another node became the master",
            )
            .about(addr));
        }
        let (role, node) = fixed.remove(addr)?;
        // After an error, the set is as it was before.
        self.describe_again(fixed).inspect_err(|_| drop(fixed.add(role, node)))?;
        let now = self.router().store.current();
        let left = || topology.servers().iter().filter(|server| !now.has(server));
        let runs = || left().any(|server| server.node.in_flight() > 0);
        let end = self.end();
        while runs() && Instant::now() < end {
            std::thread::sleep(DRAIN_POLL);
        }
        Ok(())
    }

    /// Sets the share of the load that a node should get, compared with the other nodes. Only strategies with weights use it.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.set_weight(&"127.0.0.1:6380".parse()?, 3)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for zero; [`ErrorKind::Topology`] if the set has no such node.
    pub fn set_weight(&self, addr: &NodeAddr, weight: u32) -> Result<()> {
        if weight == 0 {
            return Err(Error::config("cannot have the weight 0: remove the node instead").about(addr));
        }
        let topology = self.router().store.current();
        let unknown = || Error::new(ErrorKind::Topology, "is not a node of the set").about(addr);
        let position = topology.find(addr).ok_or_else(unknown)?;
        topology.servers()[position].node.set_weight(weight);
        Ok(())
    }

    /// Asks the provider for the set and every node for its state, and returns when all have answered or failed.
    ///
    /// Not needed in normal operation: the monitor asks at intervals, and after errors of calls.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.refresh()?;
    /// println!("{}", client.snapshot());
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
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
        now.checked_add(self.call_options().deadline).unwrap_or(now + Duration::from_secs(3600))
    }

    /// Returns the named nodes.
    fn fixed(&self) -> Result<&Fixed> {
        let described =
            || Error::new(ErrorKind::Topology, "a provider describes this set: nodes cannot be added or removed");
        self.shared.fixed.as_deref().ok_or_else(described)
    }

    /// Makes a topology of the nodes that are named now.
    fn describe_again(&self, fixed: &Fixed) -> Result<()> {
        self.router().monitor.describe(self.end())?;
        // Host names are looked up again at intervals.
        if fixed.has_names() { self.router().monitor.ask_provider_at_intervals() } else { Ok(()) }
    }
}
