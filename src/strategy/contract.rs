//! The contract of a strategy: the candidates that it gets, and the node that it returns.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;

use crate::node::Node;

/// The largest number of nodes in one set.
pub(crate) const MOST_NODES: usize = 64;

/// Chooses the node for one attempt of a read.
///
/// It runs on the caller's thread, for every read: no I/O, no blocking lock, no allocation. The feature `testing` checks
/// strategies of your own: `testing::strategy_conformance`.
///
/// ```
/// use redis_replicated::strategy::{Candidates, Random, Strategy};
/// use redis_replicated::Node;
///
/// /// Prefers one zone. Another strategy picks among its nodes.
/// #[derive(Debug)]
/// struct ZoneFirst(&'static str, Random);
///
/// impl Strategy for ZoneFirst {
///     fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
///         let local = candidates.narrow(|node| node.zone() == Some(self.0));
///         self.1.pick(local.as_ref().unwrap_or(candidates))
///     }
/// }
/// ```
pub trait Strategy: fmt::Debug + Send + Sync + 'static {
    /// Returns the node to try. If the attempt fails, the next call is made without that node.
    ///
    /// Not called where there is only one candidate. If the returned node is not a candidate, the first candidate is used.
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node;

    /// Returns whether the strategy uses [`Node::latency_at`]. Default: `true`.
    ///
    /// If so, one call in four is timed, and the first one after a millisecond without a measurement. Otherwise it is one call in
    /// eight. Where a strategy goes by latency, a recovered node has nothing to show at first, and would be picked at once: in slow
    /// start it is left out of more attempts.
    fn needs_latency(&self) -> bool {
        true
    }
}

impl<S: Strategy + ?Sized> Strategy for Box<S> {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        (**self).pick(candidates)
    }

    fn needs_latency(&self) -> bool {
        (**self).needs_latency()
    }
}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        (**self).pick(candidates)
    }

    fn needs_latency(&self) -> bool {
        (**self).needs_latency()
    }
}

/// The nodes that may serve one attempt. All of them are acceptable, and there is at least one.
///
/// A strategy can [`narrow`](Self::narrow) the candidates and have another strategy pick one.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    nodes: ArrayVec<&'a Node, MOST_NODES>,
    key: Option<&'a [u8]>,
    now: Option<Instant>,
    attempt: u32,
}

impl<'a> Candidates<'a> {
    /// Makes candidates of the first 64 of `nodes`. Returns `None` if there are none.
    #[must_use]
    pub fn new(nodes: &[&'a Node]) -> Option<Self> {
        Self::of(nodes.iter().copied().take(MOST_NODES).collect())
    }

    #[inline]
    pub(crate) fn of(nodes: ArrayVec<&'a Node, MOST_NODES>) -> Option<Self> {
        if nodes.is_empty() { None } else { Some(Self { nodes, key: None, now: None, attempt: 0 }) }
    }

    /// Sets the key that the command reads. Default: none.
    #[must_use]
    pub fn with_key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the time of the attempt. Default: the time at which [`now`](Self::now) is called.
    #[must_use]
    pub fn with_now(mut self, now: Instant) -> Self {
        self.now = Some(now);
        self
    }

    /// Sets how many attempts this call has made before. Default: 0.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Returns the number of candidates: 1 to 64.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the candidate at `index`, modulo the number of candidates.
    #[must_use]
    pub fn at(&self, index: usize) -> &'a Node {
        self.nodes[index % self.nodes.len()]
    }

    /// Returns the candidates in the order in which the client knows them: named nodes as they were named, the master first.
    pub fn iter(&self) -> impl Iterator<Item = &'a Node> + use<'_, 'a> {
        self.nodes.iter().copied()
    }

    /// Returns the first key of the command, if it has one and its position is known.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// Returns the time of the attempt.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now.unwrap_or_else(Instant::now)
    }

    /// Returns how many attempts this call has made before: 0 for the first attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the candidates that `keep` accepts, in the same order. Returns `None` if it accepts none.
    #[must_use]
    #[inline]
    pub fn narrow(&self, keep: impl Fn(&'a Node) -> bool) -> Option<Self> {
        let mut narrow = Self { nodes: ArrayVec::new(), key: self.key, now: self.now, attempt: self.attempt };
        // In place: moving the whole array takes longer than most strategies take to pick.
        for node in self.iter().filter(|node| keep(node)) {
            // It has room for all of them.
            let _ = narrow.nodes.try_push(node);
        }
        (!narrow.nodes.is_empty()).then_some(narrow)
    }

    #[inline]
    pub(crate) fn describe(&mut self, key: Option<&'a [u8]>, now: Instant, attempt: u32) {
        self.key = key;
        self.now = Some(now);
        self.attempt = attempt;
    }

    /// Keeps the nodes that `keep` accepts, or all nodes if it accepts none.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Node) -> bool) {
        let kept: ArrayVec<&'a Node, MOST_NODES> = self.iter().filter(|node| keep(node)).collect();
        if !kept.is_empty() {
            self.nodes = kept;
        }
    }

    pub(crate) fn as_slice(&self) -> &[&'a Node] {
        &self.nodes
    }

    pub(crate) fn contains(&self, node: &Node) -> bool {
        self.iter().any(|candidate| std::ptr::eq(candidate, node))
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidates, MOST_NODES};
    use crate::node::Node;

    fn nodes(count: usize) -> Vec<Node> {
        (0..count).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect()
    }

    #[test]
    fn there_are_never_none_and_at_most_64() {
        assert!(Candidates::new(&[]).is_none());
        let nodes = nodes(70);
        let all: Vec<&Node> = nodes.iter().collect();
        assert_eq!(Candidates::new(&all).unwrap().len(), MOST_NODES);
    }

    #[test]
    fn narrowing_keeps_order_key_time_and_attempt() {
        let nodes = nodes(4);
        let all: Vec<&Node> = nodes.iter().collect();
        let now = std::time::Instant::now();
        let candidates = Candidates::new(&all).unwrap().with_key(b"k").with_now(now).with_attempt(2);
        let odd = candidates.narrow(|node| node.addr().host() != Some("n2")).unwrap();
        assert_eq!(odd.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>(), ["n0:1", "n1:1", "n3:1"]);
        assert_eq!((odd.key(), odd.now(), odd.attempt()), (Some(&b"k"[..]), now, 2));
        assert!(std::ptr::eq(odd.at(4), &nodes[1]), "indexes wrap around");
        assert!(candidates.narrow(|_| false).is_none());
    }
}
