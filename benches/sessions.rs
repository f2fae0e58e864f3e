//! Session reads beside plain reads of the same client, against a master and three replicas, in one run.
//!
//! `cargo bench --bench sessions` prints, for 1, 4 and 16 threads and values of 100 B and 4 KiB, the throughput of reads and of
//! pairs of a write and a read, the session's share of the plain one, and how many of the session's reads its replicas
//! served; then what the servers spent per command. The arms take short turns (a b b a …), so that drift of the machine hits
//! all of them alike; figures are medians of turns.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ReplicatedClient, redis};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Reads,
    /// Each thread writes its own key and reads it.
    Pairs,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Plain,
    /// One session for each thread.
    Session,
}

/// What one turn came to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    per_second: f64,
    /// The share of its reads that replicas served.
    from_replicas: f64,
    /// How many nodes were asked for each of its reads: more than one where replicas were behind.
    asked: f64,
}

struct Bench {
    servers: ReplicaSet,
    client: ReplicatedClient,
    value: String,
}

impl Bench {
    fn new(size: usize) -> Self {
        let servers = ReplicaSet::start(3).unwrap();
        let client = servers.client_builder().pool_size(16).build().unwrap();
        let value = "x".repeat(size);
        (0..16).for_each(|thread| client.set(key(thread), &value).unwrap());
        servers.wait_until_in_sync().unwrap();
        Self { servers, client, value }
    }

    /// Works on this thread until `end`; returns how often.
    fn run(&self, work: Work, arm: Arm, thread: usize, end: Instant) -> u64 {
        let client = if arm == Arm::Session { self.client.session() } else { self.client.clone() };
        let key = key(thread);
        let mut done = 0;
        while Instant::now() < end {
            for _ in 0..8 {
                if work == Work::Pairs {
                    client.set(&key, &self.value).unwrap();
                }
                let value: String = client.get(&key).unwrap();
                assert_eq!(value.len(), self.value.len());
                done += 1;
            }
        }
        done
    }

    fn turn(&self, work: Work, arm: Arm, threads: usize, length: Duration) -> Turn {
        let before = self.gets();
        let barrier = Barrier::new(threads);
        let start = Instant::now();
        let done: u64 = thread::scope(|scope| {
            let run = |thread| {
                barrier.wait();
                self.run(work, arm, thread, Instant::now() + length)
            };
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        let per_second = done as f64 / start.elapsed().as_secs_f64();
        let after = self.gets();
        let (master, replicas) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
        Turn { per_second, from_replicas: 1.0 - master / done as f64, asked: (master + replicas) / done as f64 }
    }

    /// Lets the arms take turns in the order a b b a; returns the turns of each.
    fn alternate(&self, work: Work, threads: usize, length: Duration, rounds: usize) -> [Vec<Turn>; 2] {
        let mut turns = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let order = if round % 2 == 0 { [Arm::Plain, Arm::Session] } else { [Arm::Session, Arm::Plain] };
            for arm in order {
                turns[arm as usize].push(self.turn(work, arm, threads, length));
            }
        }
        turns
    }

    /// How many reads the master and the replicas answered so far.
    fn gets(&self) -> (u64, u64) {
        let of = |server: &Server| server.calls("GET").unwrap();
        (of(self.servers.master()), self.servers.replicas().iter().map(of).sum())
    }

    /// What one call of each command of a session read costs a replica, in microseconds.
    fn costs(&self) -> [(&'static str, f64); 4] {
        let session = self.client.session();
        self.servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
        (0..30_000).for_each(|_| drop(session.get::<String>(key(0)).unwrap()));
        ["multi", "info", "get", "exec"].map(|command| {
            let name = format!("cmdstat_{command}");
            let (mut calls, mut micros) = (0.0, 0.0);
            for replica in self.servers.replicas() {
                let stats = replica.info("commandstats", &name).unwrap().unwrap_or_default();
                let figure =
                    |name| -> Option<f64> { stats.split(',').find_map(|field| field.strip_prefix(name))?.parse().ok() };
                calls += figure("calls=").unwrap_or_default();
                micros += figure("usec=").unwrap_or_default();
            }
            (command, micros / calls)
        })
    }

    /// A read in the two forms that prove it, on one connection, as shares of the throughput of the read alone.
    fn forms(&self, length: Duration, rounds: usize) -> [f64; 2] {
        let mut connection = self.servers.replica(0).connection().unwrap();
        let mut form = |position: usize| {
            let mut pipe = redis::pipe();
            if position == 2 {
                pipe.atomic();
            }
            if position > 0 {
                pipe.cmd("INFO").arg("replication").ignore();
            }
            pipe.get(key(0));
            let (start, mut done) = (Instant::now(), 0);
            while start.elapsed() < length {
                (0..8).for_each(|_| drop(pipe.query::<(String,)>(&mut connection).unwrap()));
                done += 8;
            }
            f64::from(done) / start.elapsed().as_secs_f64()
        };
        let turns: Vec<[f64; 3]> = (0..rounds).map(|_| [0, 1, 2].map(&mut form)).collect();
        [1, 2].map(|position| median(turns.iter().map(|turn| turn[position] / turn[0])))
    }
}

fn key(thread: usize) -> String {
    format!("key:{thread}")
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, length) = if quick { (4, 50) } else { (20, 200) };
    let length = Duration::from_millis(length);
    for size in [100, 4096] {
        let bench = Bench::new(size);
        println!("values of {size} B; medians of {rounds} turns of {length:?}");
        for work in [Work::Reads, Work::Pairs] {
            for threads in [1, 4, 16] {
                let turns = bench.alternate(work, threads, length, rounds);
                let [plain, session] = turns.each_ref().map(|turns| median(turns.iter().map(|turn| turn.per_second)));
                let ratio =
                    median(turns[0].iter().zip(&turns[1]).map(|(plain, with)| with.per_second / plain.per_second));
                let share = median(turns[1].iter().map(|turn| turn.from_replicas));
                let asked = median(turns[1].iter().map(|turn| turn.asked));
                println!(
                    "  {work:?}, {threads:>2} threads: plain {plain:>7.0}/s  session {session:>7.0}/s  ratio {ratio:.2}  \
                     from replicas {:.1} %  nodes asked per read {asked:.2}",
                    share * 100.0
                );
            }
        }
        let costs = bench.costs().map(|(command, micros)| format!("{command} {micros:.2}"));
        println!("  a replica's time per call, in us: {}", costs.join(", "));
        let [info, multi] = bench.forms(length, rounds);
        println!("  on a bare connection, of GET alone: INFO, GET {info:.2}; MULTI, INFO, GET, EXEC {multi:.2}");
    }
}
