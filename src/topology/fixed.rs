//! The set that the builder names: its nodes are given, its roles are a first guess.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::ConnectionAddr;

use super::description::{Description, TopologyProvider};
use crate::addr::NodeAddr;
use crate::endpoint::{Endpoint, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Role;

/// The nodes named in the builder, and those added since.
///
/// A name that stands for several addresses, as that of a headless service, is as many nodes.
#[derive(Debug)]
pub(crate) struct Fixed {
    nodes: Mutex<Vec<(Role, Endpoint)>>,
    /// The addresses of names that stood for several when they were looked up last.
    resolved: Mutex<BTreeMap<NodeAddr, Vec<SocketAddr>>>,
}

impl Fixed {
    pub(crate) fn new(nodes: Vec<(Role, Endpoint)>) -> Self {
        Self { nodes: Mutex::new(nodes), resolved: Mutex::default() }
    }

    /// The nodes as they are named, without asking for the addresses of names.
    pub(crate) fn as_named(&self) -> Description {
        let nodes = self.nodes.lock();
        nodes.iter().fold(Description::new(), |described, (role, node)| described.guess(Some(*role), node.clone()))
    }

    /// Tells whether names may stand for other addresses from time to time.
    pub(crate) fn has_names(&self) -> bool {
        self.nodes.lock().iter().any(|(_, node)| node.place().is_ok_and(|place| name_of(&place).is_some()))
    }

    pub(crate) fn add(&self, node: Endpoint) -> Result<()> {
        let place = node.place()?;
        let mut nodes = self.nodes.lock();
        if nodes.iter().any(|(_, known)| known.place().is_ok_and(|known| known.addr == place.addr)) {
            return Err(Error::config("this node belongs to the set already").on(&place.addr));
        }
        nodes.push((Role::Replica, node));
        Ok(())
    }

    /// Removes a node.
    pub(crate) fn remove(&self, addr: &NodeAddr) -> Result<()> {
        let mut nodes = self.nodes.lock();
        let found = nodes.iter().position(|(_, node)| node.place().is_ok_and(|place| place.addr == *addr));
        match found {
            Some(index) => {
                nodes.remove(index);
                Ok(())
            }
            None => Err(Error::new(ErrorKind::Topology, "no node of this set was named so").on(addr)),
        }
    }

    /// The addresses that a name stands for, in a fixed order, if it stands for several, or has done so: as long as it cannot
    /// be looked up, the last ones stay.
    fn addresses(&self, name: &NodeAddr, found: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        let mut resolved = self.resolved.lock();
        let before = resolved.get(name);
        let least = if before.is_some() { 1 } else { 2 };
        let now = of_one_family(found, least).or_else(|| before.cloned())?;
        resolved.insert(name.clone(), now.clone());
        Some(now)
    }
}

impl TopologyProvider for Fixed {
    fn describe(&self, _: Instant) -> Result<Description> {
        let nodes = self.nodes.lock().clone();
        let is_master_named = nodes.iter().any(|(role, _)| *role == Role::Master);
        let mut described = Description::new();
        for (role, node) in nodes {
            let place = node.place()?;
            let found = name_of(&place).map(|name| name.to_socket_addrs().map(Iterator::collect).unwrap_or_default());
            match found.and_then(|found| self.addresses(&place.addr, found)) {
                Some(addresses) => {
                    // Only one of them can be the master: that is found out by asking.
                    let guess = (role == Role::Replica && is_master_named).then_some(role);
                    for address in addresses {
                        let addr = NodeAddr::tcp(&address.ip().to_string(), address.port());
                        described = described.guess(guess, Endpoint::of_place(place.at(addr)));
                    }
                }
                // One that was named as the master, and removed when it no longer was, leaves no guess behind.
                None => described = described.guess(is_master_named.then_some(role), node),
            }
        }
        Ok(described)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// The name and port to look up, if the address has a name rather than a number.
fn name_of(place: &Place) -> Option<(&str, u16)> {
    match place.info.addr() {
        // With TLS, the name is what the certificate is checked against: it stays one node.
        ConnectionAddr::Tcp(host, port) if host.parse::<IpAddr>().is_err() => Some((host, *port)),
        _ => None,
    }
}

/// One server often has an address of each family: only several of one family are several servers.
fn of_one_family(mut all: Vec<SocketAddr>, least: usize) -> Option<Vec<SocketAddr>> {
    all.sort();
    all.dedup();
    let (v4, v6): (Vec<_>, Vec<_>) = all.into_iter().partition(SocketAddr::is_ipv4);
    let families = [v4, v6];
    let several = families.iter().position(|family| family.len() > 1);
    let chosen = several.or_else(|| families.iter().position(|family| family.len() >= least.max(1)))?;
    families.into_iter().nth(chosen)
}

#[cfg(test)]
mod tests {
    use super::{Fixed, of_one_family};
    use crate::addr::NodeAddr;
    use crate::endpoint::Endpoint;
    use crate::node::Role;
    use crate::topology::TopologyProvider;
    use std::net::SocketAddr;
    use std::time::Instant;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn several_addresses_of_one_family_are_several_nodes_in_a_fixed_order() {
        let (one, other) = (addresses(&["10.0.0.2:1", "10.0.0.1:1"]), addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
        assert_eq!(of_one_family(one, 2), Some(other.clone()));
        assert_eq!(of_one_family(other.clone(), 2), Some(other));
        assert_eq!(
            of_one_family(addresses(&["127.0.0.1:1", "[::1]:1", "127.0.0.1:1"]), 2),
            None,
            "localhost is one node"
        );
        assert_eq!(
            of_one_family(addresses(&["10.0.0.1:1", "[::2]:1", "[::1]:1"]), 2),
            Some(addresses(&["[::1]:1", "[::2]:1"]))
        );
        assert_eq!(of_one_family(vec![], 2), None);
    }

    #[test]
    fn a_name_that_cannot_be_looked_up_keeps_its_addresses() {
        let (fixed, name) = (Fixed::new(vec![]), "cache:1".parse::<NodeAddr>().unwrap());
        assert_eq!(fixed.addresses(&name, addresses(&["10.0.0.1:1"])), None, "one server stays a name");
        let both = addresses(&["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(fixed.addresses(&name, both.clone()), Some(both.clone()));
        assert_eq!(fixed.addresses(&name, vec![]), Some(both));
        let one = addresses(&["10.0.0.2:1"]);
        assert_eq!(fixed.addresses(&name, one.clone()), Some(one.clone()), "the last one keeps its connections");
        assert_eq!(fixed.addresses(&name, vec![]), Some(one));
    }

    #[test]
    fn without_the_named_master_nobody_is_taken_for_a_replica() {
        let nodes = [(Role::Master, "10.0.0.1:1"), (Role::Replica, "10.0.0.2:1")];
        let fixed = Fixed::new(nodes.map(|(role, node)| (role, Endpoint::from(node))).to_vec());
        fixed.remove(&"10.0.0.1:1".parse().unwrap()).unwrap();
        assert!(!fixed.describe(Instant::now()).unwrap().lacks_master());
    }

    #[test]
    fn a_name_of_one_server_stays_a_name() {
        let fixed = Fixed::new(vec![(Role::Master, Endpoint::from("localhost:7000"))]);
        assert!(fixed.has_names());
        let described = fixed.describe(Instant::now()).unwrap();
        assert_eq!(described.nodes.len(), 1);
        assert_eq!(described.nodes[0].1.place().unwrap().addr.to_string(), "localhost:7000");
    }
}
