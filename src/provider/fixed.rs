//! The set that is named in the builder: its nodes are given, its roles are a first guess.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::names::{Names, is_name};
use crate::addr::NodeAddr;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::pool::Resolver;
use crate::replication::Role;
use crate::topology::{Description, TopologyProvider};

/// The nodes named in the builder, and those added since.
///
/// A name that stands for several addresses, as that of a headless service, is as many nodes.
#[derive(Debug)]
pub(crate) struct Fixed {
    nodes: Mutex<Vec<(Role, Endpoint)>>,
    names: Names,
}

impl Fixed {
    /// `limit` bounds how long a look-up is waited for.
    pub(crate) fn new(nodes: Vec<(Role, Endpoint)>, resolver: Resolver, limit: Duration) -> Self {
        Self { nodes: Mutex::new(nodes), names: Names::new(resolver, limit) }
    }

    /// Returns the nodes as they are named, without looking names up.
    pub(crate) fn as_named(&self) -> Description {
        let nodes = self.nodes.lock();
        nodes.iter().fold(Description::guessed(), |described, (role, node)| described.guess(Some(*role), node.clone()))
    }

    /// Returns whether there are names, which may stand for other addresses from time to time.
    pub(crate) fn has_names(&self) -> bool {
        self.nodes.lock().iter().any(|(_, node)| node.place().is_ok_and(|place| is_name(&place)))
    }

    pub(crate) fn add(&self, role: Role, node: Endpoint) -> Result<()> {
        let place = node.place()?;
        let mut nodes = self.nodes.lock();
        if nodes.iter().any(|(_, known)| known.place().is_ok_and(|known| known.addr == place.addr)) {
            return Err(Error::config("this node belongs to the set already").on(&place.addr));
        }
        nodes.push((role, node));
        Ok(())
    }

    /// Removes the node that was named so. Returns its role and how it was named.
    pub(crate) fn remove(&self, addr: &NodeAddr) -> Result<(Role, Endpoint)> {
        let mut nodes = self.nodes.lock();
        let found = nodes.iter().position(|(_, node)| node.place().is_ok_and(|place| place.addr == *addr));
        found
            .map(|index| nodes.remove(index))
            .ok_or_else(|| Error::topology("no node of this set was named so").on(addr))
    }
}

impl TopologyProvider for Fixed {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        let nodes = self.nodes.lock().clone();
        let places = nodes.iter().map(|(_, node)| node.place()).collect::<Result<Vec<_>>>()?;
        self.names.look_up(&places, deadline);
        let mut described = Description::guessed();
        for ((role, _), place) in nodes.iter().zip(&places) {
            let found = self.names.nodes(place);
            // Only one of several can be the master: that is found out by asking.
            let is_it = *role == Role::Replica || matches!(&found[..], [only] if only.addr == place.addr);
            let guess = is_it.then_some(*role);
            described = found.into_iter().fold(described, |all, node| all.guess(guess, Endpoint::of_place(node)));
        }
        Ok(described)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::Fixed;
    use crate::endpoint::Endpoint;
    use crate::pool::Resolver;
    use crate::replication::Role;
    use crate::topology::TopologyProvider;
    use std::time::{Duration, Instant};

    #[test]
    fn a_name_of_one_server_stays_a_name() {
        let fixed = Fixed::new(
            vec![(Role::Master, Endpoint::from("localhost:7000"))],
            Resolver::new(),
            Duration::from_secs(60),
        );
        assert!(fixed.has_names());
        let described = fixed.describe(Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(described.nodes.len(), 1);
        assert_eq!(described.nodes[0].1.place().unwrap().addr.to_string(), "localhost:7000");
    }
}
