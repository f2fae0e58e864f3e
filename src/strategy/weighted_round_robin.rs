//! One after the other, by weight.

use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;

use super::candidates::MOST_NODES;
use super::{Candidates, Strategy};
use crate::node::Node;

/// Visits the candidates one after the other, the heavier ones more often and well spread: with the weights 5, 1 and 1,
/// `a c a a a b a`. Starts anywhere in the cycle.
///
/// Exact: in as many turns as the weights sum up to, each candidate gets exactly its weight. Where the sum is past 2^32,
/// weights are first divided by a power of two. The share of a candidate that is missing is spread over the others, by
/// weight, and a new weight counts at once. A node of weight 0 gets nothing, unless all have the weight 0.
///
/// As with [`RoundRobin`](super::RoundRobin), handles that read from different nodes share its turns, and second attempts
/// have a turn of their own.
#[derive(Debug)]
pub struct WeightedRoundRobin {
    turn: AtomicU64,
    retry_turn: AtomicU64,
}

/// The visits to one candidate, at the times (k + phase) / weight of a cycle that lasts 1, k counting from 0.
///
/// A stride schedule (Waldspurger, Weihl 1995) with fixed phases instead of the state that each pick would have to change.
#[derive(Clone, Copy, Debug)]
struct Visits {
    weight: u64,
    /// k + phase of the next visit, in units of 2^-32.
    next: u64,
    index: u8,
}

const ONE: u64 = 1 << 32;

impl WeightedRoundRobin {
    /// Starts at a random turn.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(rand::random())
    }

    /// The same seed and the same candidates give the same picks.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        // Only the low bits matter; the upper ones are cleared so that the turns never wrap within a cycle.
        let start = u64::from(seed as u32);
        Self { turn: AtomicU64::new(start), retry_turn: AtomicU64::new(start) }
    }
}

impl Default for WeightedRoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for WeightedRoundRobin {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let turn = if candidates.attempt() == 0 { &self.turn } else { &self.retry_turn };
        // Relaxed: only the spread matters, not the order seen by other threads.
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        candidates.at(visited_at(turn, candidates).unwrap_or(turn as usize))
    }

    fn needs_latency(&self) -> bool {
        false
    }
}

/// Returns the candidate whose visit is the `turn`-th of the cycle; `None` if all weights are equal, also to 0.
///
/// Starts at the time turn / sum, where nearly that many visits are over, and counts the few that are missing.
fn visited_at(turn: u64, candidates: &Candidates<'_>) -> Option<usize> {
    let mut all: ArrayVec<Visits, MOST_NODES> = ArrayVec::new();
    // Read once: weights may change meanwhile. The sum is at most 2^38; candidates are as many as there is room for.
    let (mut sum, first, mut are_equal) = (0, u64::from(candidates.at(0).weight()), true);
    for (index, node) in (0_u8..).zip(candidates.iter()) {
        let weight = u64::from(node.weight());
        sum += weight;
        are_equal &= weight == first;
        all.push(Visits { weight, next: 0, index });
    }
    if are_equal {
        return None;
    }
    if sum >= ONE {
        // To less than 2^31; weights that stay 1 add at most 63.
        sum = scale(&mut all, sum.ilog2() - 30);
    }
    let turn = turn.checked_rem(sum)?;
    // Below 1, in units of 2^-32, as is the phase.
    let time = (turn << 32) / sum;
    let mut groups = Groups::of(&all);
    let mut over = 0;
    for visits in &mut all {
        let phase = groups.phase(visits.weight);
        // Visits before `time`: below 2^64, because weight and time are below 2^32.
        let count = (visits.weight * time + (ONE - 1)).saturating_sub(phase) >> 32;
        visits.next = (count << 32) + phase;
        over += count;
    }
    walk(&mut all, over, turn)
}

/// Returns the candidate of the visit `turn`, when `over` visits are behind: each candidate is less than one visit ahead of
/// its due or behind it, so the way is short.
fn walk(all: &mut [Visits], over: u64, turn: u64) -> Option<usize> {
    let mut found = None;
    if over > turn {
        for _ in turn..over {
            let last = all.iter_mut().filter(|visits| visits.next >= ONE).max_by(|a, b| a.last().order(&b.last()))?;
            last.next -= ONE;
            found = Some(last.index);
        }
    } else {
        for _ in over..=turn {
            let next = all.iter_mut().filter(|visits| visits.weight > 0).min_by(|a, b| a.order(b))?;
            next.next += ONE;
            found = Some(next.index);
        }
    }
    found.map(usize::from)
}

/// Divides the weights by 2^`shift`; those above 0 stay so. Returns their sum.
#[cold]
fn scale(all: &mut [Visits], shift: u32) -> u64 {
    all.iter_mut().for_each(|visits| visits.weight = (visits.weight >> shift).max(visits.weight.min(1)));
    all.iter().map(|visits| visits.weight).sum()
}

/// Which candidates take turns: those of equal weight, and by chance others.
struct Groups {
    sizes: [u8; GROUPS],
    seen: [u8; GROUPS],
}

const GROUPS: usize = 64;

/// 1 / n, in units of 2^-32.
const APART: [u64; MOST_NODES + 1] = {
    let mut apart = [0; MOST_NODES + 1];
    let mut n = 1;
    while n < apart.len() {
        apart[n] = ONE / n as u64;
        n += 1;
    }
    apart
};

impl Groups {
    fn of(all: &[Visits]) -> Self {
        let mut sizes = [0; GROUPS];
        all.iter().for_each(|visits| sizes[Self::place(visits.weight).0] += 1);
        Self { sizes, seen: [0; GROUPS] }
    }

    /// Returns the group of a weight, and its first phase: a golden section apart from that of the next weight, so that
    /// weights that are nearly equal do not move in step.
    #[inline]
    fn place(weight: u64) -> (usize, u64) {
        let spread = (weight as u32).wrapping_mul(0x9e37_79b9);
        ((spread >> 26) as usize, u64::from(spread))
    }

    /// Returns the phase of the next candidate of a group, below 1: within a group, they are evenly apart.
    #[inline]
    fn phase(&mut self, weight: u64) -> u64 {
        let (group, first) = Self::place(weight);
        let phase = first + APART[usize::from(self.sizes[group])] * u64::from(self.seen[group]);
        self.seen[group] += 1;
        phase % ONE
    }
}

impl Visits {
    /// The visit before the next one.
    fn last(self) -> Self {
        Self { next: self.next - ONE, ..self }
    }

    /// Compares the times of the next visits, without rounding; at the same time, the first candidate comes first.
    #[inline]
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let (ours, theirs) = (u128::from(self.next), u128::from(other.next));
        let by_time = (ours * u128::from(other.weight)).cmp(&(theirs * u128::from(self.weight)));
        by_time.then(self.index.cmp(&other.index))
    }
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
        assert_eq!(trace(&WeightedRoundRobin::seeded(0), &nodes, |_| true, 7), [0, 2, 0, 0, 0, 1, 0]);
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
