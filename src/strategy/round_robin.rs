//! One after the other.

use super::contract::{Candidates, Strategy};
use super::turns::Turns;
use crate::node::Node;

/// Picks the candidates one after the other. Each of N candidates gets exactly every N-th first attempt, also while a node of
/// the set is missing. Starts at a random candidate. Weights do not count.
///
/// Handles that read from different nodes share one turn. If their calls alternate regularly, the shares may be uneven.
///
/// Second attempts have a separate turn, so that the share of a failing node is spread evenly over the others.
#[derive(Debug, Default)]
pub struct RoundRobin(Turns);

impl RoundRobin {
    /// Makes a strategy that starts at a random candidate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a strategy that starts at the candidate `seed` modulo their number.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Turns::seeded(seed))
    }
}

impl Strategy for RoundRobin {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        candidates.at(self.0.next(candidates.attempt()) as usize) // `at` wraps around
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::RoundRobin;
    use crate::node::Node;
    use crate::strategy::{Candidates, Strategy};
    use std::collections::BTreeMap;

    fn nodes(count: usize) -> Vec<Node> {
        (0..count).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect()
    }

    fn count<'a>(picks: impl Iterator<Item = &'a Node>) -> Vec<u32> {
        let mut counts = BTreeMap::new();
        picks.for_each(|node| *counts.entry(node.addr().to_string()).or_insert(0) += 1);
        counts.into_values().collect()
    }

    #[test]
    fn each_candidate_gets_the_same_also_when_one_is_missing() {
        let nodes = nodes(4);
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        let strategy = RoundRobin::new();
        assert_eq!(count((0..400).map(|_| strategy.pick(&candidates))), [100; 4]);
        let three = candidates.narrow(|node| !std::ptr::eq(node, &nodes[1])).unwrap();
        assert_eq!(count((0..300).map(|_| strategy.pick(&three))), [100; 3]);
    }

    #[test]
    fn the_share_of_a_failing_node_is_spread_evenly_and_turns_go_on() {
        let nodes = nodes(4);
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        let strategy = RoundRobin::seeded(3);
        let mut firsts = Vec::new();
        let mut seconds = Vec::new();
        for _ in 0..1200 {
            let first = strategy.pick(&candidates);
            firsts.push(first);
            if std::ptr::eq(first, &nodes[2]) {
                let others = candidates.narrow(|node| !std::ptr::eq(node, first)).unwrap().with_attempt(1);
                seconds.push(strategy.pick(&others));
            }
        }
        assert_eq!(count(firsts.into_iter()), [300; 4]);
        assert_eq!(count(seconds.into_iter()), [100; 3]);
    }

    #[test]
    fn the_start_is_random_and_a_seed_fixes_it() {
        let nodes = nodes(8);
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        assert!(std::ptr::eq(RoundRobin::seeded(13).pick(&candidates), &nodes[5]));
        let starts = count((0..500).map(|_| RoundRobin::new().pick(&candidates)));
        assert_eq!(starts.len(), 8, "500 random starts missed one of 8 nodes");
    }
}
