//! The candidate that will answer soonest, by what it took lately and what it has to do.

use std::time::{Duration, Instant};

use super::candidates::MOST_NODES;
use super::dice::Dice;
use super::{Candidates, Strategy};
use crate::node::Node;

/// Up to so many candidates are all looked at; of more, two at random.
const ALL_LOOKED_AT: usize = 16;
/// What is expected of a node that nobody knows, where no other is known either.
const UNKNOWN: Duration = Duration::from_millis(1);
/// A node that was not asked for this long, and has nothing to do, is asked once.
const IDLE: Duration = Duration::from_secs(1);

/// Picks the candidate with the smallest product of its latency ([`Node::latency_at`]) and its requests in flight plus
/// one, divided by its weight; of equals, each in turn.
///
/// Slow replicas get as much as they can take, stalls are left at once, and a node that fails fast is not taken for a fast
/// one. Over more than 16 candidates, it takes the better of two at random. Latencies are those that this process saw: a
/// node that was not asked for a second is asked once.
#[derive(Debug)]
pub struct PeakEwma(Dice);

impl PeakEwma {
    /// Seeds itself at random.
    #[must_use]
    pub fn new() -> Self {
        Self(Dice::new())
    }

    /// The same seed and the same measurements give the same picks.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Dice::seeded(seed))
    }

    /// The candidate with the smallest cost, the first of equals from a random one on.
    fn cheapest<'a>(&self, candidates: &Candidates<'a>, now: Instant) -> &'a Node {
        let start = self.0.roll(candidates.len());
        let mut best = candidates.at(start);
        let mut least = f64::INFINITY;
        let mut usual = None;
        for index in start..start + candidates.len() {
            let node = candidates.at(index);
            let latency = match node.measured_at(now) {
                Some((_, age)) if age >= IDLE && node.in_flight() == 0 => return node,
                Some((latency, _)) => latency,
                None => *usual.get_or_insert_with(|| median(candidates, now)),
            };
            let cost = cost(node, latency);
            if cost < least {
                (best, least) = (node, cost);
            }
        }
        best
    }

    fn cheaper_of_two<'a>(&self, candidates: &Candidates<'a>, now: Instant) -> &'a Node {
        let count = candidates.len();
        let first = self.0.roll(count);
        // Distinct: a node that hangs must not be both.
        let second = first + 1 + self.0.roll(count - 1);
        let price = |node: &Node| cost(node, node.latency_at(now).unwrap_or(UNKNOWN));
        let (first, second) = (candidates.at(first), candidates.at(second));
        if price(second) < price(first) { second } else { first }
    }
}

/// How long a call is likely to take there, in units of no meaning.
fn cost(node: &Node, latency: Duration) -> f64 {
    latency.as_secs_f64() * (f64::from(node.in_flight()) + 1.0) / f64::from(node.weight().max(1))
}

/// What the known candidates usually take.
#[cold]
fn median(candidates: &Candidates<'_>, now: Instant) -> Duration {
    let mut known = arrayvec::ArrayVec::<Duration, MOST_NODES>::new();
    for latency in candidates.iter().filter_map(|node| node.latency_at(now)) {
        // There are no more candidates than places.
        let _ = known.try_push(latency);
    }
    known.sort_unstable();
    known.get(known.len() / 2).copied().unwrap_or(UNKNOWN)
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for PeakEwma {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let now = candidates.now();
        if candidates.len() <= ALL_LOOKED_AT {
            self.cheapest(candidates, now)
        } else {
            self.cheaper_of_two(candidates, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PeakEwma;
    use crate::node::{Node, Outcome};
    use crate::strategy::{Candidates, Strategy};
    use std::time::{Duration, Instant};

    const MS: Duration = Duration::from_millis(1);

    fn nodes(count: usize) -> Vec<Node> {
        (0..count).map(|n| Node::new(format!("n{n}:1").parse().unwrap())).collect()
    }

    fn picks(nodes: &[Node], now: Instant) -> Vec<u32> {
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap().with_now(now);
        let strategy = PeakEwma::seeded(1);
        let mut counts = vec![0; nodes.len()];
        for _ in 0..3000 {
            let picked = strategy.pick(&candidates);
            counts[nodes.iter().position(|node| std::ptr::eq(node, picked)).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn equal_and_unknown_nodes_share_evenly() {
        let (nodes, now) = (nodes(3), Instant::now());
        assert!(picks(&nodes, now).iter().all(|count| (850..1150).contains(count)));
        nodes.iter().take(2).for_each(|node| node.record_at(Outcome::Answered, 7 * MS, now));
        assert!(picks(&nodes, now).iter().all(|count| (850..1150).contains(count)), "the unknown one is as the others");
    }

    #[test]
    fn latency_work_and_weight_decide() {
        let now = Instant::now();
        let nodes = [nodes(3).remove(0), nodes(3).remove(1).with_weight(4), nodes(3).remove(2)];
        nodes.iter().for_each(|node| node.record_at(Outcome::Answered, MS, now));
        assert_eq!(picks(&nodes, now), [0, 3000, 0], "the heavy one");
        let running: Vec<_> = (0..4).map(|_| nodes[1].begin()).collect();
        let shares = picks(&nodes, now);
        assert!(shares[1] == 0 && shares[0] > 1000 && shares[2] > 1000, "busy: {shares:?}");
        drop(running);
        nodes[1].record_at(Outcome::Answered, 10 * MS, now);
        assert_eq!(picks(&nodes, now)[1], 0, "slow");
    }

    #[test]
    fn a_node_that_fails_fast_is_not_a_fast_one() {
        let (nodes, now) = (nodes(4), Instant::now());
        nodes.iter().for_each(|node| node.record_at(Outcome::Answered, MS, now));
        nodes[2].record_at(Outcome::Failed, MS / 1000, now);
        nodes[2].record_at(Outcome::Answered, MS / 1000, now + MS);
        assert_eq!(picks(&nodes, now + MS)[2], 0);
    }

    #[test]
    fn an_idle_node_is_asked_again_after_a_second_once() {
        let (nodes, now) = (nodes(3), Instant::now());
        nodes[0].record_at(Outcome::Failed, MS, now);
        let later = now + Duration::from_secs(1);
        nodes[1..].iter().for_each(|node| node.record_at(Outcome::Answered, MS, later));
        assert_eq!(picks(&nodes, later - MS)[0], 0);
        assert_eq!(picks(&nodes, later)[0], 3000);
        let _running = nodes[0].begin();
        assert_eq!(picks(&nodes, later)[0], 0);
    }

    #[test]
    fn of_many_it_takes_the_better_of_two() {
        let (nodes, now) = (nodes(20), Instant::now());
        nodes.iter().for_each(|node| node.record_at(Outcome::Answered, MS, now));
        nodes[3].record_at(Outcome::Answered, 50 * MS, now);
        let shares = picks(&nodes, now);
        assert_eq!(shares[3], 0);
        assert!(shares.iter().enumerate().all(|(index, count)| index == 3 || (80..260).contains(count)), "{shares:?}");
    }
}
