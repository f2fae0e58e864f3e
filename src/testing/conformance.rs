//! What every strategy must do, whoever wrote it.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::addr::NodeAddr;
use crate::node::{InFlight, Node};
use crate::strategy::{Candidates, MOST_NODES, Strategy};

/// How long the picks of one situation may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PICKS: usize = 8;
const THREADS: usize = 8;
const PICKS_OF_A_THREAD: usize = 500;

/// What a strategy is shown.
#[derive(Clone, Copy)]
struct Situation {
    nodes: usize,
    weight: Weights,
    key: Option<&'static str>,
    attempt: u32,
    /// The requests in flight to every third node.
    in_flight: usize,
}

#[derive(Clone, Copy)]
enum Weights {
    Ones,
    Largest,
    Mixed,
}

/// Puts a strategy through everything that it may meet; `strategy` makes a fresh one. Needs no server; takes about a
/// second, unless something is wrong.
///
/// It must pick one of the candidates, for 1 to 64 of them, in changing sets, with and without a key, first and later
/// attempts, idle and busy nodes, weights from 1 to `u32::MAX`; from one thread and from eight at once. Whether it allocates
/// is not checked: a crate such as `allocation-counter` can tell.
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
/// If the strategy picks a node that is not a candidate, panics, or takes more than 10 s for a few picks. The message says
/// which strategy, and among which candidates. A strategy that never returns leaves its thread behind.
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

fn situations() -> impl Iterator<Item = Situation> {
    let variants = [
        (Weights::Ones, None, 0, 0),
        (Weights::Ones, Some("key"), 0, 1),
        (Weights::Largest, None, 1, 3),
        (Weights::Largest, Some(""), 0, 0),
        (Weights::Mixed, Some("user:{1}:\u{e9}"), 2, 100),
        (Weights::Mixed, None, u32::MAX, 0),
    ];
    // Down as well as up: a strategy may remember where it was.
    (1..=MOST_NODES).chain((1..MOST_NODES).rev()).flat_map(move |nodes| {
        variants.map(|(weight, key, attempt, in_flight)| Situation { nodes, weight, key, attempt, in_flight })
    })
}

/// Runs `picks` on a thread of its own, so that it can be given up.
fn check<S: Strategy>(
    strategy: &Arc<S>,
    situation: Situation,
    picks: impl FnOnce(Situation, &S) -> Result<(), String> + Send + 'static,
) {
    let (done, outcome) = channel();
    let shared = Arc::clone(strategy);
    thread::spawn(move || _ = done.send(picks(situation, &shared)));
    let fault = match outcome.recv_timeout(PATIENCE) {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => fault,
        Err(RecvTimeoutError::Timeout) => format!("does not return within {PATIENCE:?}"),
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
        (0..picks).try_for_each(|_| pick(strategy, &candidates))
    }

    /// Picks from several threads at once, each of which leaves out another node now and then.
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

fn pick<S: Strategy>(strategy: &S, candidates: &Candidates<'_>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| strategy.pick(candidates))) {
        Ok(picked) if candidates.contains(picked) => Ok(()),
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
    use super::strategy_conformance;
    use crate::node::Node;
    use crate::strategy::{
        Candidates, LeastOutstanding, NAMES, PowerOfTwoChoices, Random, Rendezvous, RoundRobin, Strategy,
        WeightedRoundRobin, ZoneAffinity, by_name,
    };

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
        NAMES.into_iter().for_each(|name| strategy_conformance(|| by_name(name, Some(u64::MAX)).unwrap()));
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
}
