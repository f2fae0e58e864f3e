//! Near nodes first, by the round-trip time of the monitor's questions.

use std::time::Duration;

use super::contract::{Candidates, Strategy};
use crate::node::Node;

/// The default window.
const WINDOW: Duration = Duration::from_millis(1);

/// Has another strategy pick among the near candidates: those whose [`Node::heartbeat`] exceeds the shortest one by at most a
/// window.
///
/// The distance is measured by the monitor's questions only, never by calls. By its calls, a busy near node would look far, and
/// all clients would move to the same other node. An overloaded server answers the monitor late as well, and then counts as far.
/// Candidates with an unknown distance count as near.
///
/// ```
/// use std::time::Duration;
/// use redis_replicated::strategy::{LatencyWindow, PeakEwma};
///
/// let near_first = LatencyWindow::new(PeakEwma::new()).within(Duration::from_millis(15));
/// ```
#[derive(Debug)]
pub struct LatencyWindow<S> {
    inner: S,
    /// In nanoseconds, as heartbeats are: nothing has to be converted for each candidate.
    window: u64,
}

impl<S: Strategy> LatencyWindow<S> {
    /// Makes a strategy with a window of 1 ms. `inner` picks among the near candidates.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, window: 0 }.within(WINDOW)
    }

    /// Sets by how much a heartbeat may exceed the shortest one. Default: 1 ms; 15 ms suit several zones.
    #[must_use]
    pub fn within(mut self, window: Duration) -> Self {
        self.window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        self
    }
}

impl<S: Strategy> Strategy for LatencyWindow<S> {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let (mut shortest, mut longest) = (u64::MAX, 0);
        for heartbeat in candidates.iter().map(Node::heartbeat_nanos).filter(|heartbeat| *heartbeat > 0) {
            (shortest, longest) = (shortest.min(heartbeat), longest.max(heartbeat));
        }
        let limit = shortest.saturating_add(self.window);
        if longest <= limit {
            return self.inner.pick(candidates);
        }
        // An unknown distance is 0.
        let near = candidates.narrow(|node| node.heartbeat_nanos() <= limit);
        self.inner.pick(near.as_ref().unwrap_or(candidates))
    }

    fn needs_latency(&self) -> bool {
        self.inner.needs_latency()
    }
}

#[cfg(test)]
mod tests {
    use super::LatencyWindow;
    use crate::node::Node;
    use crate::strategy::{Candidates, RoundRobin, Strategy};
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn far_nodes_serve_only_where_no_near_one_can() {
        let nodes: Vec<Node> = (0..4).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect();
        for (node, micros) in nodes.iter().zip([200, 900, 1300]) {
            node.record_heartbeat(Duration::from_micros(micros));
        }
        let strategy = LatencyWindow::new(RoundRobin::seeded(0));
        let shares = |of: &[Node]| {
            let all: Vec<&Node> = of.iter().collect();
            let candidates = Candidates::new(&all).unwrap();
            let mut counts = BTreeMap::new();
            (0..300).for_each(|_| *counts.entry(strategy.pick(&candidates).addr().to_string()).or_insert(0) += 1);
            counts
        };
        assert_eq!(
            shares(&nodes).into_iter().collect::<Vec<_>>(),
            [("n0:1".to_owned(), 100), ("n1:1".to_owned(), 100), ("n3:1".to_owned(), 100)]
        );
        assert_eq!(shares(&nodes[2..3]).len(), 1, "it is the nearest of those that are left");
    }
}
