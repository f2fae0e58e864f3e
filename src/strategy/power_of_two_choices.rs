//! The better of two random candidates.

use std::cmp::Ordering;

use super::contract::{Candidates, Strategy};
use super::dice::Dice;
use super::load::Load;
use crate::node::Node;

/// Draws two different candidates at random and picks the one with fewer requests of this process in flight, for its weight.
/// Ties are decided at random.
///
/// It compares (in flight + 1) / weight. With equal weights, these are the requests in flight. It reads the counts of two nodes
/// only, and does not send all threads to the same node when counts are equal or out of date. It never picks the busiest node.
///
/// Each candidate is drawn with the same probability. So among three or more, a large weight gives at most the double share.
/// While nothing is in flight, the heavier one of each pair is picked, and the lightest of all gets no requests.
#[derive(Debug, Default)]
pub struct PowerOfTwoChoices(Dice);

impl PowerOfTwoChoices {
    /// Makes a strategy with a random seed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a strategy with this seed. The same seed and the same counts give the same picks.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Dice::seeded(seed))
    }
}

impl Strategy for PowerOfTwoChoices {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let count = candidates.len();
        if count < 2 {
            return candidates.at(0);
        }
        // One roll for an ordered pair. The second is counted from the first, so they are never the same.
        let pair = self.0.roll(count * (count - 1));
        let (first, steps) = (pair % count, pair / count);
        let (first, second) = (candidates.at(first), candidates.at(first + 1 + steps));
        // Both orders of a pair are equally likely, so picking the first of a tie is fair.
        if Load::of(second).cmp(&Load::of(first)) == Ordering::Less { second } else { first }
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::PowerOfTwoChoices;
    use crate::node::Node;
    use crate::strategy::{Candidates, Strategy};

    fn shares(strategy: &PowerOfTwoChoices, nodes: &[Node]) -> Vec<f64> {
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        let mut counts = vec![0_u32; nodes.len()];
        for _ in 0..200_000 {
            let picked = strategy.pick(&candidates);
            counts[nodes.iter().position(|node| std::ptr::eq(node, picked)).unwrap()] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / 200_000.0).collect()
    }

    #[test]
    fn shares_follow_the_ranks_of_the_loads_and_the_busiest_gets_nothing() {
        let loads = [0, 5, 5, 10, 10, 20, 20, 50, 60];
        let nodes: Vec<Node> = (0..9).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect();
        let _running: Vec<_> =
            nodes.iter().zip(loads).flat_map(|(node, load)| (0..load).map(|_| node.begin())).collect();
        let shares = shares(&PowerOfTwoChoices::seeded(1), &nodes);
        let expected = [0.22, 0.18, 0.18, 0.125, 0.125, 0.074, 0.074, 0.0277];
        for (share, expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 0.03, "{shares:?}");
        }
        assert_eq!(shares[8], 0.0);
    }

    #[test]
    fn idle_candidates_get_the_same() {
        for count in [1, 2, 3, 7] {
            let nodes: Vec<Node> = (0..count).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect();
            let shares = shares(&PowerOfTwoChoices::seeded(2), &nodes);
            assert!(shares.iter().all(|share| (share - 1.0 / f64::from(count)).abs() < 0.01), "{shares:?}");
        }
    }

    #[test]
    fn of_two_the_heavier_takes_the_load_of_its_weight() {
        let nodes = [1, 3].map(|weight| Node::new(format!("n{weight}:1").parse().unwrap()).with_weight(weight));
        let candidates = Candidates::new(&nodes.each_ref()).unwrap();
        let strategy = PowerOfTwoChoices::seeded(3);
        let _running: Vec<_> = (0..400).map(|_| strategy.pick(&candidates).begin()).collect();
        assert_eq!(nodes.each_ref().map(Node::in_flight), [100, 300]);
    }
}
