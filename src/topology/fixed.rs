//! The set that the builder names: its nodes are given, its roles are a first guess.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::ConnectionAddr;

use super::description::{Description, TopologyProvider};
use crate::addr::NodeAddr;
use crate::endpoint::{Endpoint, Place};
use crate::error::{Error, Result};
use crate::node::Role;

/// The nodes named in the builder, and those added since.
///
/// A name that stands for several addresses, as that of a headless service, is as many nodes.
#[derive(Debug)]
pub(crate) struct Fixed {
    nodes: Mutex<Vec<(Role, Endpoint)>>,
    /// What names of several addresses stood for when they were last looked up with success.
    found: Mutex<BTreeMap<NodeAddr, Vec<SocketAddr>>>,
}

impl Fixed {
    pub(crate) fn new(nodes: Vec<(Role, Endpoint)>) -> Self {
        Self { nodes: Mutex::new(nodes), found: Mutex::default() }
    }

    /// The nodes as they are named, without asking for the addresses of names.
    pub(crate) fn as_named(&self) -> Description {
        let nodes = self.nodes.lock();
        nodes.iter().fold(Description::guessed(), |described, (role, node)| described.guess(Some(*role), node.clone()))
    }

    /// Tells whether names may stand for other addresses from time to time.
    pub(crate) fn has_names(&self) -> bool {
        self.nodes.lock().iter().any(|(_, node)| node.place().is_ok_and(|place| name_of(&place).is_some()))
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

    /// Removes the node that was named so; returns what it was named.
    pub(crate) fn remove(&self, addr: &NodeAddr) -> Result<(Role, Endpoint)> {
        let mut nodes = self.nodes.lock();
        let found = nodes.iter().position(|(_, node)| node.place().is_ok_and(|place| place.addr == *addr));
        found
            .map(|index| nodes.remove(index))
            .ok_or_else(|| Error::topology("no node of this set was named so").on(addr))
    }

    /// The addresses that the name of a node stands for, in a fixed order; `None`: it is one node, as it is named.
    fn addresses_of(&self, place: &Place) -> Option<Vec<SocketAddr>> {
        let looked_up = name_of(place)?.to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        let mut found = self.found.lock();
        let before = found.get(&place.addr);
        // A name that cannot be looked up stands for what it stood for, and one of several nodes stays addresses.
        let now = several(looked_up, before.is_some()).or_else(|| before.cloned())?;
        found.insert(place.addr.clone(), now.clone());
        Some(now)
    }
}

impl TopologyProvider for Fixed {
    fn describe(&self, _: Instant) -> Result<Description> {
        let nodes = self.nodes.lock().clone();
        let mut described = Description::guessed();
        for (role, node) in nodes {
            let place = node.place()?;
            match self.addresses_of(&place) {
                Some(addresses) => {
                    // Only one of them can be the master: that is found out by asking.
                    let guess = (role == Role::Replica).then_some(role);
                    for address in addresses {
                        let addr = NodeAddr::tcp(&address.ip().to_string(), address.port());
                        described = described.guess(guess, Endpoint::of_place(place.at(addr)));
                    }
                }
                None => described = described.guess(Some(role), node),
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

/// One server often has an address of each family: only several of one family are several servers. `None`: there is but
/// one, and it was never more.
fn several(mut all: Vec<SocketAddr>, was_several: bool) -> Option<Vec<SocketAddr>> {
    all.sort();
    all.dedup();
    let fewest = if was_several { 1 } else { 2 };
    let (v4, v6): (Vec<_>, Vec<_>) = all.into_iter().partition(SocketAddr::is_ipv4);
    [v4, v6].into_iter().find(|family| family.len() >= fewest)
}

#[cfg(test)]
mod tests {
    use super::{Fixed, several};
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
        assert_eq!(several(one, false), Some(other.clone()));
        assert_eq!(several(other.clone(), false), Some(other));
        assert_eq!(
            several(addresses(&["127.0.0.1:1", "[::1]:1", "127.0.0.1:1"]), false),
            None,
            "localhost is one node"
        );
        assert_eq!(
            several(addresses(&["10.0.0.1:1", "[::2]:1", "[::1]:1"]), false),
            Some(addresses(&["[::1]:1", "[::2]:1"]))
        );
        assert_eq!(several(vec![], true), None, "not known");
        assert_eq!(several(addresses(&["10.0.0.1:1"]), true), Some(addresses(&["10.0.0.1:1"])), "scaled down");
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
