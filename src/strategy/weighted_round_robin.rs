//! One after the other, by weight.

use arrayvec::ArrayVec;

use super::contract::{Candidates, MOST_NODES, Strategy};
use super::turns::Turns;
use crate::node::Node;

/// Picks the candidates one after the other, those with larger weights more often and well spread. With the weights 5, 1 and 1,
/// the order is `a b a a a c a`. Starts at a random turn of the cycle.
///
/// A cycle has as many turns as the sum of the weights, and each candidate gets exactly its weight of them. If the sum is 2^32
/// or more, the weights are first divided by a power of two. The share of a missing candidate is spread over the others by
/// weight, and a changed weight counts immediately. A node of weight 0 gets nothing, unless all have the weight 0.
///
/// As with [`RoundRobin`](super::RoundRobin), handles that read from different nodes share one turn, and second attempts have a
/// separate turn.
#[derive(Debug, Default)]
pub struct WeightedRoundRobin(Turns);

/// A candidate at some time of a cycle that lasts 1. It is visited at the times (k + phase) / weight, k counting from 0.
///
/// A stride schedule (Waldspurger, Weihl 1995) with fixed phases instead of the state that each pick would have to change.
#[derive(Clone, Copy, Debug)]
struct Visits {
    weight: u32,
    /// Since the last visit, in units of 2^-32 of the way to the next, and less one such unit.
    passed: u32,
}

const ONE: u64 = 1 << 32;
const PLACES: u64 = MOST_NODES as u64;

/// The direction in which visits are searched.
#[derive(Clone, Copy, Debug)]
enum Towards {
    Future,
    Past,
}

/// The difference of the phases of two neighbours: a golden section, so that any few of them are spread well.
const APART: u32 = 0x9e37_79b9;

impl WeightedRoundRobin {
    /// Makes a strategy that starts at a random turn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a strategy with this seed. The same seed and the same candidates give the same picks.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Turns::seeded(seed))
    }
}

impl Strategy for WeightedRoundRobin {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let turn = self.0.next(candidates.attempt());
        candidates.at(visited_at(turn, candidates).unwrap_or(turn as usize))
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

/// Returns the candidate whose visit is the `turn`-th of the cycle; `None` if all weights are equal, also to 0.
///
/// It starts at the time turn / sum, at which nearly that many visits are over, and counts the few missing ones.
fn visited_at(turn: u64, candidates: &Candidates<'_>) -> Option<usize> {
    // Read once: weights may change meanwhile. The sum is below 2^38, and the array has room for all candidates.
    let mut weights = ArrayVec::<u32, MOST_NODES>::new();
    // Here and below, `collect` would move the whole array.
    let mut sum = 0;
    weights.extend(candidates.iter().map(Node::weight).inspect(|weight| sum += u64::from(*weight)));
    let first = weights.first().copied();
    if weights.iter().all(|weight| Some(*weight) == first) {
        return None;
    }
    if sum >= ONE {
        // To less than 2^31; weights that stay 1 add at most 63.
        sum = scale(&mut weights, sum.ilog2() - 30);
    }
    let turn = turn.checked_rem(sum)?;
    // Below 1, in units of 2^-32, as is the phase.
    let time = (turn << 32) / sum;
    let (mut phase, mut over) = (1_u32 << 31, 0);
    let mut all = ArrayVec::<Visits, MOST_NODES>::new();
    all.extend(weights.iter().map(|weight| {
        // Below 2^64, because weight and time are below 2^32. The upper half counts the visits before `time`.
        let passed = u64::from(*weight) * time + u64::from(!phase);
        phase = phase.wrapping_add(APART);
        over += passed >> 32;
        Visits { weight: *weight, passed: passed as u32 }
    }));
    if over > turn { walk(&all, Towards::Past, over - turn) } else { walk(&all, Towards::Future, turn - over + 1) }
}

/// Returns the candidate of the visit that is this many steps away. Each candidate is less than one visit ahead of schedule or
/// behind it, so the way is short.
#[inline]
fn walk(all: &[Visits], towards: Towards, steps: u64) -> Option<usize> {
    let way = |place: usize, between| towards.way(all[place], place, between);
    let mut ways = ArrayVec::<u64, MOST_NODES>::new();
    ways.extend((0..all.len()).map(|place| way(place, 0)));
    let mut between = [0_u8; MOST_NODES];
    for _ in 1..steps {
        let nearest = towards.place(*ways.iter().min()?);
        between[nearest] += 1;
        ways[nearest] = way(nearest, between[nearest]);
    }
    ways.iter().min().map(|nearest| towards.place(*nearest))
}

impl Towards {
    /// Returns the distance of a visit, with this many visits to the same candidate in between, in units of 2^-32 of the cycle.
    /// The lowest bits are the order of the candidates that are visited in the same unit.
    ///
    /// The units are whole and count from the beginning of the cycle: so all turns agree on the order, and each visit has its
    /// turn.
    #[inline]
    fn way(self, visits: Visits, place: usize, between: u8) -> u64 {
        let passed = match self {
            Self::Future => !visits.passed,
            Self::Past => visits.passed,
        };
        let away = u64::from(passed) + (u64::from(between) << 32);
        if visits.weight == 0 {
            // Never.
            return u64::MAX;
        }
        // Below 2^38: the quotient of floats is faster, and rounds down to the same number as that of integers.
        let away = away as f64 / f64::from(visits.weight);
        away as u64 * PLACES + self.turned(place) as u64
    }

    /// Returns the place of the candidate with this way.
    #[inline]
    fn place(self, way: u64) -> usize {
        self.turned((way % PLACES) as usize)
    }

    /// The first candidate comes first, and so it is the last one on the way back.
    #[inline]
    fn turned(self, place: usize) -> usize {
        match self {
            Self::Future => place,
            Self::Past => MOST_NODES - 1 - place,
        }
    }
}

/// Divides the weights by 2^`shift`; those above 0 stay above 0. Returns their sum.
#[cold]
fn scale(weights: &mut [u32], shift: u32) -> u64 {
    weights.iter_mut().for_each(|weight| *weight = (*weight >> shift).max((*weight).min(1)));
    total(weights)
}

fn total(weights: &[u32]) -> u64 {
    weights.iter().map(|weight| u64::from(*weight)).sum()
}

#[cfg(test)]
mod tests {
    use super::WeightedRoundRobin;
    use crate::node::Node;
    use crate::strategy::{Candidates, Strategy};

    fn nodes(weights: &[u32]) -> Vec<Node> {
        let node = |(n, weight): (usize, &u32)| Node::new(format!("n{n}:1").parse().unwrap()).with_weight(*weight);
        weights.iter().enumerate().map(node).collect()
    }

    /// The places of the nodes that were picked.
    fn trace(strategy: &WeightedRoundRobin, nodes: &[Node], keep: impl Fn(usize) -> bool, turns: u32) -> Vec<usize> {
        let kept: Vec<&Node> = (0..nodes.len()).filter(|n| keep(*n)).map(|n| &nodes[n]).collect();
        let candidates = Candidates::new(&kept).unwrap();
        let place = |picked: &Node| nodes.iter().position(|node| std::ptr::eq(node, picked)).unwrap();
        (0..turns).map(|_| place(strategy.pick(&candidates))).collect()
    }

    fn count(trace: &[usize], nodes: usize) -> Vec<u32> {
        let mut counts = vec![0; nodes];
        trace.iter().for_each(|n| counts[*n] += 1);
        counts
    }

    #[test]
    fn a_heavy_candidate_is_interrupted_by_the_light_ones() {
        let nodes = nodes(&[5, 1, 1]);
        assert_eq!(trace(&WeightedRoundRobin::seeded(0), &nodes, |_| true, 7), [0, 1, 0, 0, 0, 2, 0]);
        let long = trace(&WeightedRoundRobin::new(), &nodes, |_| true, 70);
        assert!(!long.windows(4).any(|run| run == [0; 4]), "{long:?}");
    }

    #[test]
    fn every_cycle_is_exact_wherever_it_starts() {
        let largest = [u32::MAX / 64; 64];
        for weights in
            [&[1, 1, 1][..], &[5, 1, 1], &[3, 2], &[7, 0, 100, 1, 13], &[1], &[2; 64], &[97, 89, 83, 1, 1, 1]]
        {
            let (nodes, sum) = (nodes(weights), weights.iter().sum());
            for seed in [0, 1, 12_345, u64::MAX] {
                let cycle = trace(&WeightedRoundRobin::seeded(seed), &nodes, |_| true, sum);
                assert_eq!(count(&cycle, weights.len()), weights);
            }
        }
        let equal = trace(&WeightedRoundRobin::seeded(9), &nodes(&largest), |_| true, 640);
        assert_eq!(count(&equal, 64), [10; 64]);
    }

    #[test]
    fn every_beginning_of_a_cycle_is_close_to_the_weights() {
        let weights = [50, 31, 7, 5, 3, 2, 1, 1];
        let long = trace(&WeightedRoundRobin::seeded(0), &nodes(&weights), |_| true, 100);
        for turns in 1..=100 {
            for (visits, weight) in count(&long[..turns], 8).into_iter().zip(weights) {
                let due = f64::from(weight) * turns as f64 / 100.0;
                assert!((f64::from(visits) - due).abs() < 2.5, "{visits} of {turns} turns for the weight {weight}");
            }
        }
    }

    #[test]
    fn the_share_of_a_missing_candidate_is_spread_by_weight() {
        let nodes = nodes(&[4, 2, 1, 3]);
        let strategy = WeightedRoundRobin::seeded(5);
        assert_eq!(count(&trace(&strategy, &nodes, |n| n != 3, 700), 4), [400, 200, 100, 0]);
        assert_eq!(count(&trace(&strategy, &nodes, |_| true, 100), 4), [40, 20, 10, 30]);
        nodes[0].set_weight(0);
        assert_eq!(count(&trace(&strategy, &nodes, |_| true, 60), 4), [0, 20, 10, 30]);
    }

    #[test]
    fn weights_that_round_up_when_scaled_are_served() {
        let mut weights = [1; 64];
        weights[..33].fill(u32::MAX);
        let trace = trace(&WeightedRoundRobin::seeded(u64::MAX), &nodes(&weights), |_| true, 3300);
        let counts = count(&trace, 64);
        assert!(counts[..33].iter().all(|count| count.abs_diff(100) < 3), "{counts:?}");
    }

    #[test]
    fn the_largest_and_no_weights_are_served() {
        let heavy = nodes(&[u32::MAX, u32::MAX / 2, 1, u32::MAX, 0]);
        let counts = count(&trace(&WeightedRoundRobin::new(), &heavy, |_| true, 1000), 5);
        assert!(
            counts[0].abs_diff(400) < 3 && counts[1].abs_diff(200) < 3 && counts[3].abs_diff(400) < 3,
            "{counts:?}"
        );
        assert_eq!((counts[2] <= 1, counts[4]), (true, 0));
        assert_eq!(count(&trace(&WeightedRoundRobin::new(), &nodes(&[0; 4]), |_| true, 40), 4), [10; 4]);
    }
}
