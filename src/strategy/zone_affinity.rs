//! The client's zone first.

use super::contract::{Candidates, Strategy};
use crate::node::Node;

/// Has another strategy pick among the candidates of one zone, usually that of the client. If there are none, or all of them are
/// saturated, the other strategy picks among all candidates.
///
/// Reads across zones cost time and money. A candidate is saturated when [`saturated_at`](Self::saturated_at) requests of this
/// process are in flight to it: further requests would only wait for a connection. Requests of other processes do not count.
///
/// ```
/// use redis_replicated::strategy::{LeastOutstanding, ZoneAffinity};
///
/// let strategy = ZoneAffinity::new("eu-1a", LeastOutstanding::new()).saturated_at(16);
/// ```
#[derive(Debug)]
pub struct ZoneAffinity<S> {
    zone: Box<str>,
    inner: S,
    limit: u32,
}

impl<S> ZoneAffinity<S> {
    /// Makes a strategy for this zone. Names of zones are equal if their texts are. `inner` picks among the candidates.
    #[must_use]
    pub fn new(zone: impl Into<String>, inner: S) -> Self {
        // The default size of a pool.
        Self { zone: zone.into().into_boxed_str(), inner, limit: 10 }
    }

    /// Sets how many requests in flight saturate a candidate. Default: 10, which is the default of
    /// [`pool_size`](crate::Builder::pool_size). With 0, every candidate is saturated.
    #[must_use]
    pub fn saturated_at(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

impl<S: Strategy> Strategy for ZoneAffinity<S> {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let is_near = |node: &Node| node.zone().is_some_and(|zone| same(zone.as_bytes(), self.zone.as_bytes()));
        let can_take = |node: &Node| node.in_flight() < self.limit && is_near(node);
        let near = candidates.narrow(can_take);
        self.inner.pick(near.as_ref().unwrap_or(candidates))
    }

    fn needs_latency(&self) -> bool {
        self.inner.needs_latency()
    }
}

/// Compares names of zones. Most have 4 to 16 bytes: then two words of each are compared, without a call.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && match a.len() {
            // Both ends together contain the whole name.
            8..=16 => ends::<8>(a) == ends::<8>(b),
            4..=7 => ends::<4>(a) == ends::<4>(b),
            _ => a == b,
        }
}

#[inline]
fn ends<const SIZE: usize>(name: &[u8]) -> Option<(&[u8; SIZE], &[u8; SIZE])> {
    Some((name.first_chunk()?, name.last_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::{ZoneAffinity, same};
    use crate::node::Node;
    use crate::strategy::{Candidates, RoundRobin, Strategy};
    use std::collections::BTreeSet;

    fn nodes() -> [Node; 5] {
        [("a:1", "x"), ("b:1", "y"), ("c:1", "x"), ("d:1", "y"), ("e:1", "")].map(|(addr, zone)| {
            let node = Node::new(addr.parse().unwrap());
            if zone.is_empty() { node } else { node.with_zone(zone) }
        })
    }

    fn picked<S: Strategy>(strategy: &ZoneAffinity<S>, candidates: &Candidates<'_>) -> String {
        let hosts: BTreeSet<_> = (0..100).filter_map(|_| strategy.pick(candidates).addr().host()).collect();
        hosts.into_iter().collect()
    }

    #[test]
    fn other_zones_serve_only_where_the_own_is_missing() {
        let nodes = nodes();
        let candidates = Candidates::new(&nodes.each_ref()).unwrap();
        let strategy = ZoneAffinity::new("x", RoundRobin::new());
        assert_eq!(picked(&strategy, &candidates), "ac");
        let one_left = candidates.narrow(|node| node.addr().host() != Some("a")).unwrap();
        assert_eq!(picked(&strategy, &one_left), "c");
        let none_left = candidates.narrow(|node| node.zone() != Some("x")).unwrap();
        assert_eq!(picked(&strategy, &none_left), "bde");
        assert_eq!(picked(&ZoneAffinity::new("nowhere", RoundRobin::new()), &candidates), "abcde");
    }

    #[test]
    fn zones_are_compared_as_they_are_written() {
        let names = ["", "a", "abcd", "abce", "bbcd", "abcdefg", "abcdefgh", "eu-west-1a", "eu-west-1b", "us-west-1a"];
        let long = ["eu-west-1a-and-more", "eu-west-1b-and-more", "sixteen-letters-", "Sixteen-letters-"];
        let all: Vec<&str> = names.into_iter().chain(long).collect();
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            assert_eq!(same(a.as_bytes(), b.as_bytes()), a == b, "{a} {b}");
        }
    }

    #[test]
    fn other_zones_help_when_the_whole_own_zone_is_saturated() {
        let nodes = nodes();
        let candidates = Candidates::new(&nodes.each_ref()).unwrap();
        let strategy = ZoneAffinity::new("x", RoundRobin::new()).saturated_at(2);
        let mut running = vec![nodes[0].begin(), nodes[0].begin(), nodes[2].begin()];
        assert_eq!(picked(&strategy, &candidates), "c", "one of the zone has room");
        running.push(nodes[2].begin());
        assert_eq!(picked(&strategy, &candidates), "abcde");
        running.pop();
        assert_eq!(picked(&strategy, &candidates), "c");
        assert_eq!(picked(&strategy.saturated_at(0), &candidates), "abcde");
        assert_eq!(picked(&ZoneAffinity::new("x", RoundRobin::new()), &candidates), "ac", "10 by default");
    }
}
