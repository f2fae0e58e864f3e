//! The nodes that may serve one attempt.

use std::time::Instant;

use arrayvec::ArrayVec;

use crate::node::Node;

/// The most nodes of one set.
pub(crate) const MOST_NODES: usize = 64;

/// The nodes that may serve this very attempt, all of them acceptable; never empty.
///
/// Owns its references, so that a strategy can [`narrow`](Self::narrow) it and ask another strategy.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    nodes: ArrayVec<&'a Node, MOST_NODES>,
    key: Option<&'a [u8]>,
    now: Option<Instant>,
    attempt: u32,
}

impl<'a> Candidates<'a> {
    /// Makes candidates of the first 64 of `nodes`; `None` if there are none.
    #[must_use]
    pub fn new(nodes: &[&'a Node]) -> Option<Self> {
        Self::of(nodes.iter().copied().take(MOST_NODES).collect())
    }

    #[inline]
    pub(crate) fn of(nodes: ArrayVec<&'a Node, MOST_NODES>) -> Option<Self> {
        if nodes.is_empty() { None } else { Some(Self { nodes, key: None, now: None, attempt: 0 }) }
    }

    /// Sets the key that is read. Default: none.
    #[must_use]
    pub fn with_key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the time of the attempt. Default: whatever the clock says when asked.
    #[must_use]
    pub fn with_now(mut self, now: Instant) -> Self {
        self.now = Some(now);
        self
    }

    /// Sets the number of attempts that this call has made before. Default: 0.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Returns how many candidates there are: 1 to 64.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the candidate at `index`; an index past the end wraps around.
    #[must_use]
    pub fn at(&self, index: usize) -> &'a Node {
        self.nodes[index % self.nodes.len()]
    }

    /// Returns the candidates in the order in which they were configured.
    pub fn iter(&self) -> impl Iterator<Item = &'a Node> + use<'_, 'a> {
        self.nodes.iter().copied()
    }

    /// Returns the first key of the command, if it has one and its place is known.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// Returns the time of the attempt.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now.unwrap_or_else(Instant::now)
    }

    /// Returns how many attempts this call has made before: 0 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the candidates that `keep` accepts, in the same order; `None` if it accepts none.
    #[must_use]
    #[inline]
    pub fn narrow(&self, keep: impl Fn(&'a Node) -> bool) -> Option<Self> {
        let mut narrow = Self { nodes: ArrayVec::new(), key: self.key, now: self.now, attempt: self.attempt };
        // In place: a whole array of places takes longer to move than most strategies take to pick.
        for node in self.iter().filter(|node| keep(node)) {
            // There are no more than places.
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

    /// Keeps the nodes that `keep` accepts; all of them, if it accepts none.
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
