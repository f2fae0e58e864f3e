//! Which addresses a host name stands for: the one place where the names of nodes, seeds and Sentinels become addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::ConnectionAddr;

use crate::addr::NodeAddr;
use crate::endpoint::Place;
use crate::pool::Resolver;

/// The names of a set, and what they stand for.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) resolver: Resolver,
    /// How long a look-up is waited for at most: as long as for a connection.
    limit: Duration,
    /// The addresses of names of several servers, from their last successful look-up.
    several: Mutex<BTreeMap<NodeAddr, Vec<SocketAddr>>>,
}

impl Names {
    pub(super) fn new(resolver: Resolver, limit: Duration) -> Self {
        Self { resolver, limit, several: Mutex::default() }
    }

    /// Begins to look the names among these up again.
    pub(super) fn look_up_again(&self, places: &[Place]) {
        hosts(places).for_each(|host| self.resolver.look_up_again(host));
    }

    /// Begins to look up those of the names among these again of which the last look-up is 5 s ago.
    pub(super) fn keep_fresh(&self, places: &[Place]) {
        hosts(places).for_each(|host| self.resolver.keep_fresh(host));
    }

    /// Looks the names among these up again and waits for that, for the smaller part of the time until `end`: a resolver
    /// that hangs leaves the rest to the servers.
    pub(super) fn look_up(&self, places: &[Place], end: Instant) {
        let now = Instant::now();
        let wait = self.limit.min(end.saturating_duration_since(now) / 2);
        self.resolver.look_up_all(hosts(places), now + wait);
    }

    /// Returns the nodes that a place stands for, as far as is known, in a fixed order: those at the addresses of a name
    /// of several servers, otherwise the place itself.
    pub(super) fn nodes(&self, place: &Place) -> Vec<Place> {
        let Some((host, port)) = name_of(place) else { return vec![place.clone()] };
        let known = self.resolver.known(host, port).unwrap_or_default();
        let mut memory = self.several.lock();
        let before = memory.get(&place.addr);
        // A name that cannot be looked up stands for what it stood for, and one of several nodes stays addresses.
        match several(known, before.is_some()).or_else(|| before.cloned()) {
            Some(now) => {
                memory.insert(place.addr.clone(), now.clone());
                at_each(place, now)
            }
            None => vec![place.clone()],
        }
    }

    /// Returns the place at each address that it stands for, as far as is known: whether two of them lead to one server
    /// does not matter. A place without a name is itself.
    ///
    /// # Errors
    ///
    /// Why no address is known.
    pub(super) fn addresses(&self, place: &Place) -> io::Result<Vec<Place>> {
        match name_of(place) {
            Some((host, port)) => Ok(at_each(place, self.resolver.known(host, port)?)),
            None => Ok(vec![place.clone()]),
        }
    }

    /// Returns whether no address is known of one of these.
    pub(super) fn lacks_any(&self, places: &[Place]) -> bool {
        hosts(places).any(|host| !self.resolver.knows(host, 0))
    }
}

/// Returns whether the place has a name that may stand for other servers from time to time.
pub(super) fn is_name(place: &Place) -> bool {
    name_of(place).is_some()
}

fn hosts(places: &[Place]) -> impl Iterator<Item = &str> + Clone {
    places.iter().filter_map(name_of).map(|(host, _)| host)
}

/// The name and port to look up, if the address has a name rather than a number.
fn name_of(place: &Place) -> Option<(&str, u16)> {
    match place.info.addr() {
        // With TLS, the name is what the certificate is checked against: it stays one node.
        ConnectionAddr::Tcp(host, port) if host.trim_matches(['[', ']']).parse::<IpAddr>().is_err() => {
            Some((host, *port))
        }
        _ => None,
    }
}

fn at_each(place: &Place, addresses: Vec<SocketAddr>) -> Vec<Place> {
    let at = |addr: SocketAddr| place.at(NodeAddr::tcp(&addr.ip().to_string(), addr.port()));
    addresses.into_iter().map(at).collect()
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
mod tests;
