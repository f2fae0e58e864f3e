//! A routed GET beside a bare connection and beside `r2d2::Pool<redis::Client>`, against real servers, in one run.
//!
//! `cargo bench --bench throughput` prints two tables: CPU time per call on one thread, and throughput at 1, 4, 16 and 64
//! threads with the CPU time beside it. The arms take short turns (a b b a …), so that drift of the machine hits all of
//! them alike; figures are medians of turns.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{ReplicatedClient, redis};

/// Connections to a node, in every arm that has a pool.
const POOL: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Bare,
    Unchecked,
    /// As `Unchecked`, with time limits on its sockets, which stock pools do not set.
    Limited,
    Stock,
    Routed,
}

/// Gives each connection of a stock pool the time limits that a routed one has.
#[derive(Debug)]
struct Limits;

impl r2d2::CustomizeConnection<redis::Connection, redis::RedisError> for Limits {
    fn on_acquire(&self, connection: &mut redis::Connection) -> redis::RedisResult<()> {
        let limit = Some(Duration::from_secs(1));
        connection.set_read_timeout(limit).and_then(|()| connection.set_write_timeout(limit))
    }
}

struct Arms {
    url: String,
    unchecked: r2d2::Pool<redis::Client>,
    limited: r2d2::Pool<redis::Client>,
    stock: r2d2::Pool<redis::Client>,
    routed: ReplicatedClient,
}

/// What one turn came to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    calls_per_second: f64,
    cpu_nanos_per_call: f64,
}

impl Arms {
    fn new(servers: &ReplicaSet) -> Self {
        let url = servers.replica(0).url();
        let pool = |check: bool| {
            let client = redis::Client::open(url.as_str()).unwrap();
            r2d2::Pool::builder().max_size(POOL).test_on_check_out(check).build(client).unwrap()
        };
        let client = redis::Client::open(url.as_str()).unwrap();
        let limited = r2d2::Pool::builder().max_size(POOL).test_on_check_out(false);
        let limited = limited.connection_customizer(Box::new(Limits)).build(client).unwrap();
        let routed = servers.client_builder().pool_size(POOL).build().unwrap();
        Self { unchecked: pool(false), limited, stock: pool(true), routed, url }
    }

    /// Calls GET on this thread until `end`; returns the number of calls.
    fn run(&self, arm: Arm, end: Instant) -> u64 {
        let until = |call: &mut dyn FnMut()| {
            let mut calls = 0;
            while Instant::now() < end {
                (0..16).for_each(|_| call());
                calls += 16;
            }
            calls
        };
        let get = || redis::cmd("GET").arg("key").to_owned();
        match arm {
            Arm::Bare => {
                let mut connection = redis::Client::open(self.url.as_str()).unwrap().get_connection().unwrap();
                until(&mut || assert_eq!(get().query::<u64>(&mut connection), Ok(42)))
            }
            Arm::Unchecked => {
                until(&mut || assert_eq!(get().query::<u64>(&mut *self.unchecked.get().unwrap()), Ok(42)))
            }
            Arm::Limited => until(&mut || assert_eq!(get().query::<u64>(&mut *self.limited.get().unwrap()), Ok(42))),
            Arm::Stock => until(&mut || assert_eq!(get().query::<u64>(&mut *self.stock.get().unwrap()), Ok(42))),
            Arm::Routed => until(&mut || assert_eq!(self.routed.query::<u64>(&get()).unwrap(), 42)),
        }
    }

    fn turn(&self, arm: Arm, threads: usize, length: Duration) -> Turn {
        let barrier = Barrier::new(threads);
        let start = Instant::now();
        let (calls, cpu) = thread::scope(|scope| {
            let run = || {
                barrier.wait();
                let before = cpu_time();
                let calls = self.run(arm, Instant::now() + length);
                (calls, cpu_time().saturating_sub(before))
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let turns = workers.into_iter().map(|worker| worker.join().unwrap());
            turns.fold((0, Duration::ZERO), |sum, turn| (sum.0 + turn.0, sum.1 + turn.1))
        });
        let calls = calls as f64;
        Turn {
            calls_per_second: calls / start.elapsed().as_secs_f64(),
            cpu_nanos_per_call: cpu.as_nanos() as f64 / calls,
        }
    }

    /// Lets the arms take turns in the order a b c c b a; returns the turns of each.
    fn alternate(&self, arms: &[Arm], threads: usize, length: Duration, rounds: usize) -> Vec<Vec<Turn>> {
        let mut turns = vec![Vec::new(); arms.len()];
        for round in 0..rounds {
            for step in 0..arms.len() {
                let index = if round % 2 == 0 { step } else { arms.len() - 1 - step };
                turns[index].push(self.turn(arms[index], threads, length));
            }
        }
        turns
    }
}

/// The time that this thread has spent on a processor.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn median(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    let mut figures: Vec<f64> = turns.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The median of the ratios of turns that stood next to each other.
fn ratio(a: &[Turn], b: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    let pairs: Vec<Turn> = a
        .iter()
        .zip(b)
        .map(|(a, b)| Turn { calls_per_second: figure(a) / figure(b), cpu_nanos_per_call: 0.0 })
        .collect();
    median(&pairs, |pair| pair.calls_per_second)
}

fn main() {
    let servers = ReplicaSet::start(1).unwrap();
    let arms = Arms::new(&servers);
    arms.routed.set("key", 42).unwrap();
    servers.wait_until_in_sync().unwrap();
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (blocks, rounds, length) = if quick { (2, 4, 20) } else { (40, 10, 20) };

    let compared = [Arm::Routed, Arm::Unchecked, Arm::Limited, Arm::Bare];
    let mut turns = vec![Vec::new(); compared.len()];
    for _ in 0..blocks {
        // One connection may be luckier than another by several per cent, for as long as it lives.
        let arms = Arms::new(&servers);
        let more = arms.alternate(&compared, 1, Duration::from_millis(length), rounds);
        turns.iter_mut().zip(more).for_each(|(turns, more)| turns.extend(more));
    }
    println!("one thread, CPU time per GET (medians of {blocks} times {rounds} turns of {length} ms)");
    for (arm, turns) in compared.iter().zip(&turns) {
        println!("  {arm:?}: {:.0} ns", median(turns, |turn| turn.cpu_nanos_per_call));
    }
    let cpu = |turn: &Turn| turn.cpu_nanos_per_call;
    println!("  routed / unchecked r2d2 pool: {:.3}", ratio(&turns[0], &turns[1], cpu));
    println!("  routed / the same with limits: {:.3}", ratio(&turns[0], &turns[2], cpu));
    println!("  routed / bare connection:     {:.3}", ratio(&turns[0], &turns[3], cpu));

    let (rounds, length) = if quick { (3, 100) } else { (15, 400) };
    println!("throughput of GET, calls/s (CPU ns per call of the client), medians of {rounds} turns of {length} ms");
    for threads in [1, 4, 16, 64] {
        let compared = [Arm::Routed, Arm::Stock, Arm::Unchecked];
        let turns = arms.alternate(&compared, threads, Duration::from_millis(length), rounds);
        print!("  {threads:>2} threads");
        for (arm, turns) in compared.iter().zip(&turns) {
            let speed = median(turns, |turn| turn.calls_per_second);
            print!("  {arm:?} {speed:>7.0} ({:.0})", median(turns, cpu));
        }
        let speed = |turn: &Turn| turn.calls_per_second;
        println!("  routed / stock {:.2}", ratio(&turns[0], &turns[1], speed));
    }
}
