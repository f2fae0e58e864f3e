//! The candidate that will probably answer first, by its latency and its requests in flight.

use super::contract::{Candidates, MOST_NODES, Strategy};
use super::dice::Dice;
use crate::node::{Measured, Moment, Node};

/// Up to this many candidates are all compared; of more, two are drawn.
const ALL_LOOKED_AT: usize = 16;
/// The assumed latency in nanoseconds, if no latency is known.
const UNKNOWN: f64 = 1_000_000.0;
/// Latencies below this are equal, in nanoseconds: the choice of the processor makes such a difference.
const FLOOR: f64 = 100_000.0;
/// While requests are in flight, costs that differ by less than this factor are equal: a node that is faster by chance must not
/// get all calls. It is less than 2, so that an idle node comes before a busy one.
const ALIKE: f64 = 1.1;
/// While nothing is in flight, costs that differ by less than this factor are equal.
const ALIKE_QUIET: f64 = 2.0;
/// While nothing is in flight, costs that differ by less than this are equal, too, in nanoseconds: processes that share a
/// processor make such a difference.
const CHANCE: f64 = 250_000.0;

/// Picks the candidate that will probably answer first: the one with the smallest cost. The cost is the latency
/// ([`Node::latency_at`], at least 100 µs) times the requests in flight plus one. Candidates within 10 % of the smallest cost are
/// equal, and one of them is picked at random. While no candidate has a request in flight, candidates are equal if their latency
/// is less than twice the smallest, or less than 250 µs above it. So one thread reads from equal nodes evenly, also on a busy
/// machine.
///
/// A slow replica gets as many reads as it can serve. A node is avoided for twice the time of a stall, and for a second or more
/// after a failure: a node that fails fast does not count as a fast one. Equal nodes share by weight, and requests in flight count
/// for less on a node with a larger weight. A node of weight 0 gets nothing, unless all have the weight 0. Of more than 16
/// candidates, two are drawn by weight, and the better one is picked.
///
/// Latencies are measured by this process. An unknown node comes first. So does an idle node whose latency is out of date: 1 ms
/// after the first answer, and after twice the time with each answer that confirms the latency, up to a second. So a node that
/// was slow by chance is soon tried again, and a slow node once a second. A process with less than one read per second and node
/// reads from all nodes evenly.
#[derive(Debug, Default)]
pub struct PeakEwma(Dice);

impl PeakEwma {
    /// Makes a strategy with a random seed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a strategy with this seed. The same seed and the same measurements give the same picks.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Dice::seeded(seed))
    }

    /// Returns one of the candidates whose cost is near the smallest, those with larger weights more often.
    fn cheapest<'a>(&self, candidates: &Candidates<'a>, now: Moment) -> &'a Node {
        let weights = Weights::of(candidates);
        let mut costs = [f64::INFINITY; ALL_LOOKED_AT];
        let (mut least, mut is_quiet, mut usual) = (f64::INFINITY, true, None);
        for (node, place) in candidates.iter().zip(&mut costs) {
            let running = node.in_flight();
            is_quiet &= running == 0;
            let work = weights.work(node, running);
            *place = match node.measured_at(now) {
                // First, and separate: so the usual case does not wait for the division in `work`.
                Some(Measured { nanos, is_due: false, .. }) => nanos.max(FLOOR) * work,
                _ if running == 0 && work.is_finite() => 0.0,
                Some(Measured { nanos, .. }) => nanos.max(FLOOR) * work,
                None => work * *usual.get_or_insert_with(|| median(candidates, now)),
            };
            // Not `min`, which checks for NaN as well.
            least = if *place < least { *place } else { least };
        }
        let limit = equal_to(least, is_quiet);
        // Without a random branch, which the processor could not predict: the sum grows with each near node, and the number of
        // nodes before the turn is counted.
        let (mut sums, mut sum) = ([0; ALL_LOOKED_AT], 0);
        for ((node, cost), place) in candidates.iter().zip(&costs).zip(&mut sums) {
            sum += if *cost <= limit { weights.tickets(node) } else { 0 };
            *place = sum;
        }
        let turn = self.0.roll(sum);
        let before = sums.iter().take(candidates.len()).filter(|sum| **sum <= turn).count();
        // It wraps around only if weights changed meanwhile.
        candidates.at(before)
    }

    /// Draws two candidates by weight, and returns the second if it is clearly better.
    fn cheaper_of_two<'a>(&self, candidates: &Candidates<'a>, now: Moment) -> &'a Node {
        let weights = Weights::of(candidates);
        let first = self.draw(candidates, &weights, None);
        // Two different ones: a node that hangs must not be both.
        let second = self.draw(candidates, &weights, Some(first));
        let cost = |node: &Node| {
            let running = node.in_flight();
            let work = weights.work(node, running);
            match node.measured_at(now) {
                Some(Measured { nanos, is_due: false, .. }) => nanos.max(FLOOR) * work,
                _ if running == 0 && work.is_finite() => 0.0,
                Some(Measured { nanos, .. }) => nanos.max(FLOOR) * work,
                None => UNKNOWN * work,
            }
        };
        let (first, second) = (candidates.at(first), candidates.at(second));
        let is_quiet = first.in_flight() == 0 && second.in_flight() == 0;
        if cost(first) > equal_to(cost(second), is_quiet) { second } else { first }
    }

    /// Draws a candidate by weight; not the one at `except`, if another one has a weight.
    fn draw(&self, candidates: &Candidates<'_>, weights: &Weights, except: Option<usize>) -> usize {
        let tickets = |index: usize| if Some(index) == except { 0 } else { weights.tickets(candidates.at(index)) };
        let mut turn = self.0.roll((0..candidates.len()).map(tickets).sum());
        for index in 0..candidates.len() {
            match turn.checked_sub(tickets(index)) {
                Some(left) => turn = left,
                None => return index,
            }
        }
        except.unwrap_or(0)
    }
}

/// Returns the highest cost that is equal to the smallest. A node that is to be tried again costs nothing, and has no equal.
fn equal_to(least: f64, is_quiet: bool) -> f64 {
    if is_quiet && least > 0.0 { (least * ALIKE_QUIET).max(least + CHANCE) } else { least * ALIKE }
}

/// The weights of the candidates in relation to each other.
struct Weights {
    /// `None`: all weights are equal, also to 0. This is the usual case, in which they need not be read.
    mean: Option<f64>,
}

impl Weights {
    fn of(candidates: &Candidates<'_>) -> Self {
        let first = candidates.at(0).weight();
        if candidates.iter().all(|node| node.weight() == first) {
            return Self { mean: None };
        }
        // At most 64 of 32 bits.
        let sum: u64 = candidates.iter().map(|node| u64::from(node.weight())).sum();
        Self { mean: Some(sum as f64 / candidates.len() as f64) }
    }

    /// Returns the work of a node, the next request included, in requests. A node with twice the weight serves twice as many in
    /// the same time. The work of a node of weight 0 is infinite.
    fn work(&self, node: &Node, running: u32) -> f64 {
        let running = f64::from(running);
        match (self.mean, node.weight()) {
            (None, _) => 1.0 + running,
            (Some(_), 0) => f64::INFINITY,
            (Some(mean), weight) => 1.0 + running * mean / f64::from(weight),
        }
    }

    /// Returns the number of chances of a node among equal ones.
    fn tickets(&self, node: &Node) -> usize {
        self.mean.map_or(1, |_| node.weight() as usize)
    }
}

/// Returns the median latency of the known candidates, in nanoseconds.
#[cold]
fn median(candidates: &Candidates<'_>, now: Moment) -> f64 {
    let mut known = arrayvec::ArrayVec::<f64, MOST_NODES>::new();
    // It has room for all candidates.
    known.extend(candidates.iter().filter_map(|node| node.measured_at(now)).map(|measured| measured.nanos));
    known.sort_unstable_by(f64::total_cmp);
    known.get(known.len() / 2).copied().unwrap_or(UNKNOWN)
}

impl Strategy for PeakEwma {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let now = candidates.now().into();
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
    use crate::hash::mix;
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
        assert_eq!(picks(&nodes, now), [0, 0, 3000], "an unknown node comes first");
        let _running = nodes[2].begin();
        assert_eq!(picks(&nodes, now)[2], 0, "once");
    }

    #[test]
    fn latency_work_and_weight_decide() {
        let now = Instant::now();
        let nodes = [nodes(3).remove(0), nodes(3).remove(1).with_weight(4), nodes(3).remove(2)];
        nodes.iter().for_each(|node| node.record_at(Outcome::Answered, MS, now));
        let shares = picks(&nodes, now);
        assert!(shares[1].abs_diff(2000) < 150, "idle, they share by weight: {shares:?}");
        let running: Vec<_> = (0..2).map(|_| nodes[1].begin()).collect();
        let shares = picks(&nodes, now);
        assert!(shares[1] == 0 && shares[0] > 1000 && shares[2] > 1000, "busy: {shares:?}");
        drop(running);
        (0..10).for_each(|_| nodes[1].record_at(Outcome::Answered, 10 * MS, now));
        assert_eq!(picks(&nodes, now)[1], 0, "slow");
    }

    #[test]
    fn a_quiet_process_does_not_go_by_chance() {
        let (nodes, now) = (nodes(3), Instant::now());
        for (node, micros) in nodes.iter().zip([60, 150, 300]) {
            node.record_at(Outcome::Answered, Duration::from_micros(micros), now);
        }
        assert!(picks(&nodes, now).iter().all(|count| (850..1150).contains(count)));
        let running = nodes[0].begin();
        assert_eq!(picks(&nodes, now)[2], 0, "while there is work, the difference counts");
        drop(running);
        nodes[1].record_at(Outcome::Answered, 10 * MS, now);
        assert!(picks(&nodes, now)[1] > 850, "a single late answer is chance");
        (0..10).for_each(|_| nodes[1].record_at(Outcome::Answered, 10 * MS, now));
        assert_eq!(picks(&nodes, now)[1], 0, "ten are not");
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
    fn a_sample_that_another_thread_took_a_little_later_is_not_old() {
        let (nodes, now) = (nodes(3), Instant::now());
        for at in [now, now + MS] {
            nodes.iter().for_each(|node| node.record_at(Outcome::Answered, MS, at));
        }
        nodes[0].record_at(Outcome::Answered, 50 * MS, now + 2 * MS);
        assert_eq!(picks(&nodes, now)[0], 0);
    }

    #[test]
    fn of_many_every_one_is_heard_again_and_weights_count() {
        let now = Instant::now();
        let node = |n: u32| Node::new(format!("n{n}:1").parse().unwrap()).with_weight([1, 3, 0][n.min(2) as usize]);
        let nodes: Vec<Node> = (0..20).map(|n| node(if n < 18 { n % 2 } else { 2 })).collect();
        nodes.iter().for_each(|node| node.record_at(Outcome::Answered, MS, now));
        let shares = picks(&nodes, now);
        let light: u32 = (0..18).step_by(2).map(|n| shares[n]).sum();
        assert!(light.abs_diff(750) < 150 && shares[18..] == [0, 0], "{shares:?}");
        nodes[3].record_at(Outcome::Failed, MS, now);
        let later = now + Duration::from_secs(1);
        nodes
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != 3)
            .for_each(|(_, node)| node.record_at(Outcome::Answered, MS, later));
        assert_eq!(picks(&nodes, later - MS)[3], 0, "it failed");
        assert!(picks(&nodes, later)[3] > 300, "whenever it is drawn");
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

    /// What one thread does with 30 000 reads of three nodes, one after the other: how many each node gets. `took`: what a read of
    /// this node takes at this time, in microseconds, by these random bits.
    fn reads_of_one_thread(seed: u64, took: impl Fn(usize, u64, u64) -> u64) -> [u32; 3] {
        let nodes = nodes(3);
        let all: Vec<&Node> = nodes.iter().collect();
        let strategy = PeakEwma::seeded(seed);
        let (start, mut micros, mut counts, mut bits) = (Instant::now(), 0, [0; 3], seed);
        for _ in 0..30_000 {
            let sent = start + Duration::from_micros(micros);
            let picked = strategy.pick(&Candidates::new(&all).unwrap().with_now(sent));
            let place = nodes.iter().position(|node| std::ptr::eq(node, picked)).unwrap();
            bits = mix(bits.wrapping_add(1));
            let took = took(place, micros, bits);
            // As in a client: a part of the calls is timed.
            let is_timed = picked.is_timed(sent);
            picked.record_answer();
            micros += took;
            if is_timed {
                let now = start + Duration::from_micros(micros);
                picked.record_at(Outcome::Answered, Duration::from_micros(took), now);
            }
            counts[place] += 1;
        }
        counts
    }

    /// What a read takes on a busy machine: usually `usual`, up to the double of it for half a second at a time; now and then some
    /// milliseconds more, because a process waits for a processor.
    fn busy(usual: u64) -> impl Fn(usize, u64, u64) -> u64 {
        move |place, micros, bits| {
            let era = mix(micros / 500_000 * 3 + place as u64);
            let late = if bits % 100 < 4 { 1000 + bits / 128 % 8000 } else { 0 };
            usual + era % usual + bits / 65_536 % (usual / 4) + late
        }
    }

    #[test]
    fn one_thread_shares_evenly_on_a_busy_machine() {
        for (seed, usual) in (0..30).flat_map(|seed| [(seed, 24), (seed, 150)]) {
            let shares = reads_of_one_thread(seed, busy(usual));
            assert!(shares.iter().all(|reads| (8_400..=11_700).contains(reads)), "{shares:?}, {usual} µs, seed {seed}");
        }
    }

    #[test]
    fn one_thread_leaves_a_slow_node_on_a_busy_machine() {
        for (seed, usual) in (0..10).flat_map(|seed| [(seed, 200), (seed, 1000)]) {
            let busy = busy(usual);
            let took = |place, micros, bits| busy(place, micros, bits) + if place == 1 { 4 * usual } else { 0 };
            let shares = reads_of_one_thread(seed, took);
            assert!(shares[1] < 1_500, "{shares:?}, {usual} µs, seed {seed}");
        }
    }
}
