//! A random candidate.

use super::contract::{Candidates, Strategy};
use super::dice::Dice;
use crate::node::Node;

/// Picks a random candidate, each with the same probability.
#[derive(Debug, Default)]
pub struct Random(Dice);

impl Random {
    /// Makes a strategy with a random seed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a strategy with this seed. The same seed and the same candidates give the same picks.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Dice::seeded(seed))
    }
}

impl Strategy for Random {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        candidates.at(self.0.roll(candidates.len()))
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Random;
    use crate::node::Node;
    use crate::strategy::{Candidates, Strategy};

    #[test]
    fn picks_are_even_within_two_points_and_repeatable() {
        let nodes: Vec<Node> = (0..4).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect();
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        let trace = || {
            let strategy = Random::seeded(42);
            (0..10_000).map(|_| strategy.pick(&candidates).addr().clone()).collect::<Vec<_>>()
        };
        let picks = trace();
        assert_eq!(picks, trace());
        for node in &nodes {
            let share = picks.iter().filter(|addr| *addr == node.addr()).count();
            assert!((2_300..2_700).contains(&share), "{share} of 10 000 for {}", node.addr());
        }
    }
}
