//! The checks that every strategy must pass.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::addr::NodeAddr;
use crate::node::{InFlight, Node, Outcome};
use crate::strategy::{Candidates, MOST_NODES, Strategy};

/// How long the picks of one situation may take.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const PICKS: usize = 8;
const THREADS: usize = 8;
const PICKS_OF_A_THREAD: usize = 500;
/// The smallest number of picks that shows how even a strategy is.
const PICKS_TO_COUNT: usize = 10_000;

/// The candidates of a check.
#[derive(Clone, Copy)]
struct Situation {
    nodes: usize,
    weight: Weights,
    key: Option<&'static str>,
    attempt: u32,
    /// The number of requests in flight to every third node.
    in_flight: usize,
}

#[derive(Clone, Copy)]
enum Weights {
    Ones,
    Largest,
    Mixed,
}

/// Checks that a strategy always picks one of the candidates. `strategy` makes a new one. Needs no server, and takes about a
/// second.
///
/// It is checked with 1 to 64 candidates, in changing sets, with and without a key, for first and later attempts, with idle and
/// busy nodes, with known and unknown latencies, with weights from 1 to `u32::MAX`, from one thread and from eight threads. There
/// are two more checks: [`strategy_allocates_nothing`] for every strategy, and [`strategy_is_even`] for even ones.
///
/// ```
/// use redis_replicated::strategy::Random;
/// use redis_replicated::testing::strategy_conformance;
///
/// strategy_conformance(Random::new);
/// ```
///
/// # Panics
///
/// If the strategy picks a node that is not a candidate, panics, or takes more than 10 s for a few picks. The message names the
/// strategy and the candidates. The thread of a strategy that never returns stays.
pub fn strategy_conformance<S: Strategy>(strategy: impl Fn() -> S) {
    let used = Arc::new(strategy());
    for situation in situations() {
        check(&used, situation, |situation, strategy| situation.check_picks(strategy, PICKS));
    }
    for situation in situations().filter(|situation| situation.nodes.is_power_of_two()) {
        check(&Arc::new(strategy()), situation, |situation, strategy| situation.check_picks(strategy, 1));
    }
    for nodes in [1, 2, 3, 16, MOST_NODES] {
        let situation = Situation { nodes, weight: Weights::Mixed, key: Some("key"), attempt: 0, in_flight: 0 };
        check(&Arc::new(strategy()), situation, Situation::check_threads);
    }
}

/// Checks that a strategy picks equal, idle nodes evenly, also while one of them is missing and when it is back.
///
/// `strategy` makes a new one. `tolerance` is the largest difference between 1/N and a share of at least 10 000 picks: 0 for exact
/// turns, 0.02 for random strategies.
///
/// ```
/// use redis_replicated::strategy::{Random, RoundRobin};
/// use redis_replicated::testing::strategy_is_even;
///
/// strategy_is_even(RoundRobin::new, 0.0);
/// strategy_is_even(Random::new, 0.02);
/// ```
///
/// # Panics
///
/// If a share differs by more, or if the strategy picks a node that is not a candidate, panics, or takes more than 10 s. The
/// message names the strategy, the node and its share.
pub fn strategy_is_even<S: Strategy>(strategy: impl Fn() -> S, tolerance: f64) {
    for nodes in [2, 3, 4, 7, 16, MOST_NODES] {
        let situation = Situation { nodes, weight: Weights::Ones, key: None, attempt: 0, in_flight: 0 };
        check(&Arc::new(strategy()), situation, move |situation, strategy| situation.check_shares(strategy, tolerance));
    }
}

/// Checks that no pick of a strategy allocates, except for the first one.
///
/// `strategy` makes a new one. `count` runs a closure and returns how many allocations it made on its thread. Only the global
/// allocator of the program can count them: use a crate such as `allocation-counter`.
///
/// ```
/// use allocation_counter::measure;
/// use redis_replicated::strategy::Random;
/// use redis_replicated::testing::strategy_allocates_nothing;
///
/// strategy_allocates_nothing(Random::new, |picks| measure(picks).count_total);
/// ```
///
/// # Panics
///
/// If a pick allocates or panics. The message names the strategy and the candidates.
pub fn strategy_allocates_nothing<S: Strategy>(strategy: impl Fn() -> S, count: impl Fn(&mut dyn FnMut()) -> u64) {
    for situation in situations().filter(|situation| situation.nodes.is_power_of_two()) {
        let checked = situation.check_allocations(&strategy(), &count);
        checked.unwrap_or_else(|fault| report(std::any::type_name::<S>(), &fault, situation));
    }
}

fn situations() -> impl Iterator<Item = Situation> {
    let variants = [
        (Weights::Ones, None, 0, 0),
        (Weights::Ones, Some("key"), 0, 1),
        (Weights::Largest, None, 1, 3),
        (Weights::Largest, Some(""), 0, 0),
        (Weights::Mixed, Some("user:{1}:\u{e9}"), 2, 100),
        (Weights::Mixed, None, u32::MAX, 0),
    ];
    // Down as well as up: a strategy may have a state.
    (1..=MOST_NODES).chain((1..MOST_NODES).rev()).flat_map(move |nodes| {
        variants.map(|(weight, key, attempt, in_flight)| Situation { nodes, weight, key, attempt, in_flight })
    })
}

/// Runs `picks` on a thread of its own, so that a check can end without it.
fn check<S: Strategy>(
    strategy: &Arc<S>,
    situation: Situation,
    picks: impl FnOnce(Situation, &S) -> Result<(), String> + Send + 'static,
) {
    let (done, outcome) = channel();
    let shared = Arc::clone(strategy);
    thread::spawn(move || _ = done.send(picks(situation, &shared)));
    let fault = match outcome.recv_timeout(LONGEST_WAIT) {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => fault,
        Err(RecvTimeoutError::Timeout) => format!("does not return within {LONGEST_WAIT:?}"),
        Err(RecvTimeoutError::Disconnected) => "ended its thread".to_owned(),
    };
    report(std::any::type_name::<S>(), &fault, situation);
}

#[expect(clippy::panic, reason = "as documented")]
fn report(strategy: &str, fault: &str, situation: Situation) -> ! {
    panic!("strategy {strategy} {fault}: among {situation}")
}

impl Situation {
    fn check_picks<S: Strategy>(self, strategy: &S, picks: usize) -> Result<(), String> {
        let nodes = self.make_nodes();
        let _running = self.begin(&nodes);
        let candidates = self.candidates(&nodes.iter().collect::<Vec<_>>())?;
        (0..picks).try_for_each(|_| pick(strategy, &candidates).map(drop))
    }

    /// Counts the picks of all nodes, of all but one, and of all again.
    fn check_shares<S: Strategy>(self, strategy: &S, tolerance: f64) -> Result<(), String> {
        let nodes = self.make_nodes();
        let all: Vec<&Node> = nodes.iter().collect();
        let mut fewer = all.clone();
        fewer.remove(self.nodes / 2);
        for (nodes, set) in [(&all, "all nodes"), (&fewer, "all nodes but one"), (&all, "all nodes again")] {
            let candidates = self.candidates(nodes)?;
            let turns = PICKS_TO_COUNT.div_ceil(nodes.len());
            let picks = turns * nodes.len();
            let mut counts = vec![0_usize; nodes.len()];
            for _ in 0..picks {
                let picked = pick(strategy, &candidates)?;
                // It is a candidate, so it is found.
                let place = nodes.iter().position(|node| std::ptr::eq(*node, picked));
                place.into_iter().for_each(|place| counts[place] += 1);
            }
            let is_off = |count: &usize| count.abs_diff(turns) as f64 > tolerance * picks as f64;
            if let Some((node, count)) = nodes.iter().zip(counts).find(|(_, count)| is_off(count)) {
                let addr = node.addr();
                return Err(format!("is not even: {addr} got {count} of {picks} picks instead of {turns}, from {set}"));
            }
        }
        Ok(())
    }

    fn check_allocations<S: Strategy>(
        self,
        strategy: &S,
        count: impl Fn(&mut dyn FnMut()) -> u64,
    ) -> Result<(), String> {
        let nodes = self.make_nodes();
        let _running = self.begin(&nodes);
        let candidates = self.candidates(&nodes.iter().collect::<Vec<_>>())?;
        // The first pick may set something up.
        strategy.pick(&candidates);
        match count(&mut || (0..PICKS).for_each(|_| _ = strategy.pick(&candidates))) {
            0 => Ok(()),
            allocations => Err(format!("made {allocations} allocations in {PICKS} picks")),
        }
    }

    /// Picks on several threads at once. Each thread leaves out another node now and then.
    fn check_threads<S: Strategy>(self, strategy: &S) -> Result<(), String> {
        let nodes = self.make_nodes();
        let start = Barrier::new(THREADS);
        let run = |number: usize| -> Result<(), String> {
            let all: Vec<&Node> = nodes.iter().collect();
            let candidates = self.candidates(&all)?;
            let left_out = all[number % all.len()];
            let fewer = candidates.narrow(|node| !std::ptr::eq(node, left_out)).unwrap_or_else(|| candidates.clone());
            start.wait();
            for turn in 0..PICKS_OF_A_THREAD {
                let candidates = if turn % 4 == 3 { &fewer } else { &candidates };
                let _running = candidates.at(turn).begin();
                pick(strategy, candidates)?;
            }
            Ok(())
        };
        let run = &run;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || run(number))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| Err(panicked(&*panic))))
        })
        .map_err(|fault: String| format!("{fault} (with {THREADS} threads at once)"))
    }

    fn make_nodes(self) -> Vec<Node> {
        let node = |n: usize| {
            let node = Node::new(NodeAddr::tcp(&format!("node-{n}"), 6379));
            if matches!(self.weight, Weights::Mixed) && n % 3 < 2 {
                let latency = Duration::from_micros(200 * n as u64);
                node.record_at(Outcome::Answered, latency, Instant::now());
                node.record_heartbeat(latency);
            }
            let node = if n % 4 == 3 { node } else { node.with_zone(format!("zone-{}", n % 4)) };
            node.with_weight(match self.weight {
                Weights::Largest => u32::MAX,
                Weights::Mixed if n % 2 == 1 => u32::MAX - n as u32,
                Weights::Mixed | Weights::Ones => 1,
            })
        };
        (0..self.nodes).map(node).collect()
    }

    fn begin(self, nodes: &[Node]) -> Vec<InFlight<'_>> {
        nodes.iter().step_by(3).flat_map(|node| (0..self.in_flight).map(|_| node.begin())).collect()
    }

    fn candidates<'a>(self, nodes: &[&'a Node]) -> Result<Candidates<'a>, String> {
        let candidates = Candidates::new(nodes).ok_or("has no candidates")?;
        let candidates = candidates.with_attempt(self.attempt).with_now(Instant::now());
        Ok(match self.key {
            Some(key) => candidates.with_key(key.as_bytes()),
            None => candidates,
        })
    }
}

fn pick<'a, S: Strategy>(strategy: &S, candidates: &Candidates<'a>) -> Result<&'a Node, String> {
    match catch_unwind(AssertUnwindSafe(|| strategy.pick(candidates))) {
        Ok(picked) if candidates.contains(picked) => Ok(picked),
        Ok(picked) => Err(format!("picked {}, which is not a candidate", picked.addr())),
        Err(panic) => Err(panicked(&*panic)),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked ({})", text.unwrap_or("without a text"))
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = match self.weight {
            Weights::Ones => "1",
            Weights::Largest => "u32::MAX",
            Weights::Mixed => "1 and about u32::MAX",
        };
        write!(f, "{} nodes of weight {weights}, key {:?}, ", self.nodes, self.key)?;
        write!(f, "attempt {}, {} in flight to every third", self.attempt, self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::{strategy_allocates_nothing, strategy_conformance, strategy_is_even};
    use crate::node::Node;
    use crate::strategy::{
        Candidates, LatencyWindow, LeastOutstanding, PeakEwma, PowerOfTwoChoices, Random, Rendezvous, RoundRobin,
        Strategy, WeightedRoundRobin, ZoneAffinity, by_name, names,
    };
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_strategy_of_this_crate_conforms() {
        strategy_conformance(RoundRobin::new);
        strategy_conformance(Random::new);
        strategy_conformance(LeastOutstanding::new);
        strategy_conformance(PowerOfTwoChoices::new);
        strategy_conformance(WeightedRoundRobin::new);
        strategy_conformance(Rendezvous::new);
        strategy_conformance(|| ZoneAffinity::new("zone-1", LeastOutstanding::new()).saturated_at(2));
        strategy_conformance(|| ZoneAffinity::new("zone-1", WeightedRoundRobin::new()));
        strategy_conformance(|| LatencyWindow::new(RoundRobin::new()));
        names().into_iter().for_each(|name| strategy_conformance(|| by_name(name, Some(u64::MAX)).unwrap()));
    }

    #[test]
    fn the_strategies_of_this_crate_are_even_among_equals() {
        strategy_is_even(RoundRobin::new, 0.0);
        strategy_is_even(WeightedRoundRobin::new, 0.0);
        strategy_is_even(|| LatencyWindow::new(RoundRobin::new()), 0.0);
        strategy_is_even(|| ZoneAffinity::new("elsewhere", RoundRobin::new()), 0.0);
        strategy_is_even(|| Random::seeded(1), 0.02);
        strategy_is_even(|| LeastOutstanding::seeded(1), 0.02);
        strategy_is_even(|| PowerOfTwoChoices::seeded(1), 0.02);
        strategy_is_even(|| PeakEwma::seeded(1), 0.02);
        strategy_is_even(|| Rendezvous::seeded(1), 0.02);
    }

    #[derive(Debug)]
    struct Faulty(for<'a> fn(&Candidates<'a>) -> &'a Node);

    impl Strategy for Faulty {
        fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
            (self.0)(candidates)
        }
    }

    #[test]
    #[should_panic(expected = "which is not a candidate: among 1 nodes of weight 1")]
    fn a_node_that_is_not_a_candidate_is_noticed() {
        strategy_conformance(|| Faulty(|_| Box::leak(Box::new(Node::new("other:1".parse().unwrap())))));
    }

    #[test]
    #[should_panic(expected = "Faulty panicked (index out of bounds")]
    fn a_panic_is_noticed() {
        strategy_conformance(|| {
            Faulty(|candidates| {
                let first: Vec<&Node> = candidates.iter().take(40).collect();
                first[candidates.len() - 1]
            })
        });
    }

    #[test]
    #[should_panic(
        expected = "is not even: node-0:6379 got 10000 of 10000 picks instead of 5000, from all nodes: among 2"
    )]
    fn a_favourite_is_noticed() {
        strategy_is_even(|| Faulty(|candidates| candidates.at(0)), 0.4);
    }

    /// Takes the next candidate where the one whose turn it is is missing.
    #[derive(Debug, Default)]
    struct Successor(AtomicUsize);

    impl Strategy for Successor {
        fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
            let number = |node: &Node| node.addr().host().unwrap()["node-".len()..].parse::<usize>().unwrap();
            let last = number(candidates.at(candidates.len() - 1));
            let turn = self.0.fetch_add(1, Ordering::Relaxed) % (last + 1);
            candidates.iter().find(|node| number(node) >= turn).unwrap()
        }
    }

    #[test]
    #[should_panic(expected = "from all nodes but one: among 3")]
    fn a_share_of_a_missing_node_that_goes_to_one_other_is_noticed() {
        strategy_conformance(Successor::default);
        strategy_is_even(Successor::default, 0.02);
    }

    #[test]
    #[should_panic(expected = "Random made 3 allocations in 8 picks: among 1 nodes of weight 1")]
    fn allocations_are_noticed() {
        let count = |picks: &mut dyn FnMut(), allocations| {
            picks();
            allocations
        };
        strategy_allocates_nothing(Random::new, |picks| count(picks, 0));
        strategy_allocates_nothing(Random::new, |picks| count(picks, 3));
    }
}
