//! One run: clients choose servers by what they have seen themselves, requests queue, replies come back.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Instant;

use redis_replicated::strategy::{Candidates, Strategy};
use redis_replicated::{InFlight, Node, Outcome};

use super::arm::{Arm, Weights};
use super::random::Random;
use super::scenario::{MS, SERVICE, Server, Setting, nanos};

/// The width of a step in [`Figures::timeline`].
pub const STEP: u64 = 20 * MS;

/// How often each client asks each server for its state, as the monitor does.
const HEARTBEAT: u64 = 1000 * MS;
/// How many keys there are; all are read as often.
const KEYS: usize = 10_000;
/// A server that is this late at the end got more than it could do; stalls are shorter.
const LATE: u64 = 100 * MS;

/// What a run came to. Latencies are those of answered requests, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// The part of the attempts that went to the last server, the bad one.
    pub share: f64,
    /// The part of the attempts that failed.
    pub errors: f64,
    /// A server got more than it could do: latencies grow as long as the run lasts.
    pub is_overload: bool,
    pub requests: usize,
    /// The share of the last server in each [`STEP`], from the very beginning.
    pub timeline: Vec<f64>,
}

/// A process with a picture of the servers of its own.
struct Client<'a> {
    nodes: Vec<&'a Node>,
    strategy: Box<dyn Strategy>,
}

/// A request whose reply is on its way.
struct Flight<'a> {
    sent: u64,
    reply_at: u64,
    is_failure: bool,
    node: &'a Node,
    running: InFlight<'a>,
}

#[derive(Default)]
struct Tally {
    latencies: Vec<u64>,
    attempts: usize,
    to_bad: usize,
    failures: usize,
    /// Requests to the last server, and all of them, in each step.
    steps: Vec<(u32, u32)>,
}

/// Lets clients with this strategy live through the setting.
pub fn run(setting: &Setting, arm: &Arm) -> Figures {
    let nodes: Vec<Vec<Node>> = (0..setting.clients).map(|_| picture(setting, arm)).collect();
    // Apart from the workload, so that it is the same for all strategies.
    let mut seeds = Random::seeded(!setting.seed);
    let client = |nodes| Client { nodes: Vec::from_iter(nodes), strategy: (arm.make)(seeds.bits()) };
    let clients: Vec<Client<'_>> = nodes.iter().map(client).collect();

    let (start, counted_from, end) = (Instant::now(), setting.scenario.counted_from(), setting.end());
    let (mut random, mut keys) = (Random::seeded(setting.seed), Random::seeded(setting.seed.rotate_left(32)));
    let mut servers = setting.servers();
    let mut questions = Questions::default();
    let mut flights = BinaryHeap::<Reverse<Flight<'_>>>::new();
    let mut tally = Tally::default();
    let between = 1e9 / setting.rate();
    let mut clock = random.exponential(between);
    while clock < end as f64 {
        let now = clock as u64;
        while flights.peek().is_some_and(|Reverse(flight)| flight.reply_at <= now) {
            flights.pop().into_iter().for_each(|Reverse(flight)| flight.land(start));
        }
        let present = setting.present(now);
        questions.ask(now, &clients, &servers[..present]);
        let (client, work) = (&clients[random.below(clients.len())], random.exponential(SERVICE));
        let index = client.pick(present, &keys.below(KEYS).to_be_bytes(), start + nanos(now));
        let node = client.nodes[index];
        let reply = servers[index].serve(now, work);
        tally.step(now, index + 1 == setting.nodes);
        if now >= counted_from {
            tally.count(index + 1 == setting.nodes, reply.is_failure, reply.at - now);
        }
        let running = node.begin();
        flights.push(Reverse(Flight { sent: now, reply_at: reply.at, is_failure: reply.is_failure, node, running }));
        clock += random.exponential(between);
    }
    tally.figures(servers.iter().any(|server| server.backlog(end) > LATE))
}

fn picture(setting: &Setting, arm: &Arm) -> Vec<Node> {
    let node = |n| {
        let node = Node::new(format!("n{n}:6379").parse().unwrap()).with_zone(setting.zone(n));
        if arm.weights == Weights::Speed { node.with_weight(setting.speed(n)) } else { node }
    };
    (0..setting.nodes).map(node).collect()
}

/// What the monitors of the clients ask; all of them at the beginning, then in turn.
#[derive(Default)]
struct Questions {
    asked: usize,
    next: u64,
}

impl Questions {
    fn ask(&mut self, now: u64, clients: &[Client<'_>], servers: &[Server]) {
        while self.next <= now {
            let client = &clients[self.asked % clients.len()];
            for (node, server) in client.nodes.iter().zip(servers) {
                // A copy serves it: so few questions are no work, and the work stays the same for all strategies.
                let reply = server.clone().serve(now, SERVICE);
                if !reply.is_failure {
                    node.record_heartbeat(nanos(reply.at - now));
                }
            }
            self.asked += 1;
            if self.asked >= clients.len() {
                self.next += HEARTBEAT / clients.len() as u64;
            }
        }
    }
}

impl Client<'_> {
    /// Chooses among the first `present` nodes.
    fn pick(&self, present: usize, key: &[u8], now: Instant) -> usize {
        let candidates = Candidates::new(&self.nodes[..present]).unwrap().with_key(key).with_now(now);
        // As in the crate: there is nothing to choose from.
        if present == 1 {
            return 0;
        }
        let picked = self.strategy.pick(&candidates);
        self.nodes.iter().position(|node| std::ptr::eq(*node, picked)).unwrap()
    }
}

impl Flight<'_> {
    /// The client gets the reply and takes note of it.
    fn land(self, start: Instant) {
        drop(self.running);
        let outcome = if self.is_failure { Outcome::Failed } else { Outcome::Answered };
        self.node.record_at(outcome, nanos(self.reply_at - self.sent), start + nanos(self.reply_at));
    }
}

impl Tally {
    fn step(&mut self, now: u64, is_bad: bool) {
        let step = (now / STEP) as usize;
        if step >= self.steps.len() {
            self.steps.resize(step + 1, (0, 0));
        }
        self.steps[step].0 += u32::from(is_bad);
        self.steps[step].1 += 1;
    }

    fn count(&mut self, is_bad: bool, is_failure: bool, took: u64) {
        self.attempts += 1;
        self.to_bad += usize::from(is_bad);
        if is_failure {
            self.failures += 1;
        } else {
            self.latencies.push(took);
        }
    }

    fn figures(mut self, is_overload: bool) -> Figures {
        let sum: u64 = self.latencies.iter().sum();
        let mean = sum as f64 / self.latencies.len() as f64 / MS as f64;
        let mut percentile = |part: f64| {
            let index = (part * self.latencies.len() as f64) as usize;
            *self.latencies.select_nth_unstable(index).1 as f64 / MS as f64
        };
        let (p50, p99, p999) = (percentile(0.5), percentile(0.99), percentile(0.999));
        let attempts = self.attempts as f64;
        let part = |(bad, all): &(u32, u32)| f64::from(*bad) / f64::from((*all).max(1));
        Figures {
            mean,
            p50,
            p99,
            p999,
            share: self.to_bad as f64 / attempts,
            errors: self.failures as f64 / attempts,
            is_overload,
            requests: self.attempts,
            timeline: self.steps.iter().map(part).collect(),
        }
    }
}

impl Ord for Flight<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.reply_at, self.sent).cmp(&(other.reply_at, other.sent))
    }
}

impl PartialOrd for Flight<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Flight<'_> {}
