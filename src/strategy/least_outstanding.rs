//! The candidate with the fewest requests in flight.

use std::cmp::Ordering;

use super::contract::{Candidates, MOST_NODES, Strategy};
use super::dice::Dice;
use super::load::Load;
use crate::node::Node;

/// Picks the candidate with the fewest requests of this process in flight, for its weight. Ties are decided at random.
///
/// It compares (in flight + 1) / weight. With equal weights, these are the requests in flight. While nothing is in flight, it
/// picks the candidate with the largest weight. Slow replicas get fewer requests, because theirs stay in flight longer.
#[derive(Debug, Default)]
pub struct LeastOutstanding(Dice);

impl LeastOutstanding {
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

impl Strategy for LeastOutstanding {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        // Counts change while they are read, so the ties are stored rather than searched a second time.
        let mut tied = [0_u8; MOST_NODES];
        let mut ties = 0;
        let mut least = Load::of(candidates.at(0));
        for (index, node) in (0_u8..).zip(candidates.iter()) {
            let load = Load::of(node);
            match load.cmp(&least) {
                Ordering::Less => (least, ties) = (load, 0),
                Ordering::Equal => {}
                Ordering::Greater => continue,
            }
            tied[ties] = index;
            ties += 1;
        }
        // Without ties, the first candidate got busier after it was read. It is picked all the same.
        let winner = if ties > 1 { self.0.roll(ties) } else { 0 };
        candidates.at(usize::from(tied[winner]))
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::LeastOutstanding;
    use crate::node::Node;
    use crate::strategy::{Candidates, Strategy};

    #[test]
    fn the_least_loaded_wins_and_ties_are_even() {
        let nodes: Vec<Node> = (0..4).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect();
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        let strategy = LeastOutstanding::seeded(1);
        let _busy = (nodes[0].begin(), nodes[2].begin());
        let picks: Vec<&Node> = (0..10_000).map(|_| strategy.pick(&candidates)).collect();
        let share = |node: &Node| picks.iter().filter(|picked| std::ptr::eq(**picked, node)).count();
        assert_eq!((share(&nodes[0]), share(&nodes[2])), (0, 0));
        assert!((4_800..5_200).contains(&share(&nodes[1])), "{}", share(&nodes[1]));
        let _more = (nodes[1].begin(), nodes[1].begin(), nodes[3].begin(), nodes[3].begin());
        let _even_more = nodes[0].begin();
        assert!(std::ptr::eq(strategy.pick(&candidates), &nodes[2]));
    }

    #[test]
    fn idle_candidates_get_the_same_also_when_one_is_missing() {
        let nodes: Vec<Node> = (0..5).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect();
        let strategy = LeastOutstanding::seeded(2);
        for count in [5, 4] {
            let candidates = Candidates::new(&nodes.iter().take(count).collect::<Vec<_>>()).unwrap();
            let picks: Vec<&Node> = (0..10_000).map(|_| strategy.pick(&candidates)).collect();
            for node in candidates.iter() {
                let share = picks.iter().filter(|picked| std::ptr::eq(**picked, node)).count() as f64 / 10_000.0;
                assert!((share - 1.0 / count as f64).abs() < 0.02, "{share} of {count}");
            }
        }
    }

    #[test]
    fn twice_the_weight_takes_twice_the_load() {
        let nodes = [("a:1", 1), ("b:1", 2), ("c:1", 4)];
        let nodes = nodes.map(|(addr, weight)| Node::new(addr.parse().unwrap()).with_weight(weight));
        let candidates = Candidates::new(&nodes.each_ref()).unwrap();
        let strategy = LeastOutstanding::seeded(1);
        let _running: Vec<_> = (0..700).map(|_| strategy.pick(&candidates).begin()).collect();
        assert_eq!(nodes.each_ref().map(Node::in_flight), [100, 200, 400]);
    }
}
