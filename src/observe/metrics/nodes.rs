//! The series of the nodes, as many as a set may have.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::groups::MetricsGroups;
use super::labels::Labels;
use super::node_series::NodeSeries;
use crate::addr::NodeAddr;

/// The most nodes whose series are kept, which is the most nodes of a set.
const MOST: usize = 64;

/// The series of the nodes that are known.
#[derive(Debug)]
pub(super) struct Nodes {
    common: Labels,
    known: ArcSwap<Vec<Arc<NodeSeries>>>,
    /// The calls that reached no node, and those of nodes that are too many.
    nowhere: NodeSeries,
}

impl Nodes {
    pub(super) fn new(common: Labels) -> Self {
        Self { known: ArcSwap::default(), nowhere: NodeSeries::new(None, &common), common }
    }

    /// Uses the series of a node. Whoever uses one that is known only reads: no lock, no allocation.
    #[inline]
    pub(super) fn with<T>(&self, node: Option<&NodeAddr>, record: impl FnOnce(&NodeSeries) -> T) -> T {
        let Some(node) = node else { return record(&self.nowhere) };
        if let Some(series) = find(&self.known.load(), node) {
            return record(series);
        }
        match self.add(node) {
            Some(series) => record(&series),
            None => record(&self.nowhere),
        }
    }

    #[cold]
    fn add(&self, node: &NodeAddr) -> Option<Arc<NodeSeries>> {
        let new = Arc::new(NodeSeries::new(Some(node.clone()), &self.common));
        self.known.rcu(|known| {
            let mut known = Vec::clone(known);
            if known.len() < MOST && find(&known, node).is_none() {
                known.push(Arc::clone(&new));
            }
            known
        });
        find(&self.known.load(), node).cloned()
    }

    /// Sets the gauges of all nodes to 0: the client ends.
    pub(super) fn leave(&self, groups: MetricsGroups) {
        self.known.load().iter().for_each(|series| series.leave(groups));
    }

    /// Forgets all nodes but these, and returns those that it forgot.
    pub(super) fn keep(&self, nodes: &[&NodeAddr]) -> Vec<Arc<NodeSeries>> {
        let stays = |series: &NodeSeries| series.node.as_ref().is_some_and(|node| nodes.contains(&node));
        let before = self.known.rcu(|known| {
            let staying = known.iter().filter(|series| stays(series));
            staying.cloned().collect::<Vec<_>>()
        });
        before.iter().filter(|series| !stays(series)).cloned().collect()
    }
}

fn find<'a>(known: &'a [Arc<NodeSeries>], node: &NodeAddr) -> Option<&'a Arc<NodeSeries>> {
    known.iter().find(|series| series.node.as_ref() == Some(node))
}

#[cfg(test)]
mod tests {
    use super::{Labels, MOST, Nodes};
    use crate::addr::NodeAddr;

    #[test]
    fn series_are_kept_for_so_many_nodes_and_for_those_that_stay() {
        let nodes = Nodes::new(Labels::common(&[]));
        let addrs: Vec<_> = (1..=200).map(|port| NodeAddr::tcp("cache", port)).collect();
        let of = |addr: &NodeAddr| nodes.with(Some(addr), |series| series.node.clone());
        for addr in &addrs[..MOST] {
            assert_eq!(of(addr).as_ref(), Some(addr));
            assert_eq!(of(addr).as_ref(), Some(addr), "the same again");
        }
        for addr in &addrs[MOST..] {
            assert_eq!(of(addr), None);
        }
        assert_eq!(nodes.known.load().len(), MOST);
        let left = nodes.keep(&[&addrs[1], &addrs[70]]);
        assert_eq!((left.len(), nodes.known.load().len()), (MOST - 1, 1));
        assert!(left.iter().all(|series| series.node.as_ref() != Some(&addrs[1])));
        assert_eq!(of(&addrs[70]).as_ref(), Some(&addrs[70]), "there is room again");
        assert_eq!(nodes.with(None, |series| series.node.clone()), None);
    }
}
