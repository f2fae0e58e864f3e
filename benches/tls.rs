//! Reads over TLS beside plain reads, and session reads over TLS beside both, against real servers, in one run.
//!
//! `cargo bench --bench tls --features tls-rustls-ring` prints, for 1, 4 and 16 threads and values of 100 B and 4 KiB, the
//! throughput of each arm, the CPU time per read that this process and the servers spent, and the ratios between the arms.
//! One arm is a connection of the redis crate for each thread, plain and by TLS: what the servers and rustls cost by
//! themselves. The arms take short turns (a b c … c b a), so that drift of the machine hits all of them alike; figures are
//! medians of turns, ratios are medians of the ratios of neighbours. Needs `openssl`, to make certificates.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ReplicatedClient, redis};

#[path = "../tests/it/tls/authority.rs"]
#[allow(dead_code, unreachable_pub)]
mod authority;

use self::authority::{Authority, Valid};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Plain,
    Tls,
    /// One session for each thread, over TLS.
    TlsSession,
    PlainSession,
    /// A connection of the redis crate for each thread.
    Bare,
    BareTls,
}

const ARMS: [Arm; 6] = [Arm::Plain, Arm::Tls, Arm::TlsSession, Arm::PlainSession, Arm::Bare, Arm::BareTls];

/// Arms whose ratios are printed.
const RATIOS: [(&str, Arm, Arm); 4] = [
    ("TLS / plain", Arm::Tls, Arm::Plain),
    ("TLS session / TLS", Arm::TlsSession, Arm::Tls),
    ("plain session / plain", Arm::PlainSession, Arm::Plain),
    ("bare TLS / bare plain", Arm::BareTls, Arm::Bare),
];

/// What one turn came to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    per_second: f64,
    /// CPU time per read, in microseconds.
    client: f64,
    servers: f64,
}

/// A master with two replicas, and a client of them.
struct Side {
    servers: ReplicaSet,
    client: ReplicatedClient,
}

struct Bench {
    plain: Side,
    tls: Side,
    authority: Authority,
    size: usize,
}

impl Bench {
    fn new(authority: Authority, size: usize) -> Self {
        let own = authority.identity("node", "IP:127.0.0.1", Valid::Now);
        let side = |setup: redis_replicated::testing::Setup| {
            let servers = setup.replicas(2).start().unwrap();
            let builder = servers.client_builder().pool_size(16);
            let client = builder.tls_certificates(authority.certificates(None)).build().unwrap();
            client.set("key", "x".repeat(size)).unwrap();
            servers.wait_until_in_sync().unwrap();
            Side { servers, client }
        };
        let (plain, tls) = (side(ReplicaSet::setup()), side(authority.setup(&own)));
        Self { plain, tls, authority, size }
    }

    /// Makes what reads the value once, as one thread does.
    fn reader(&self, arm: Arm, thread: usize) -> Box<dyn FnMut() -> String + '_> {
        let side = self.side(arm);
        match arm {
            Arm::Plain | Arm::Tls => Box::new(|| side.client.get("key").unwrap()),
            Arm::TlsSession | Arm::PlainSession => {
                let session = side.client.session();
                Box::new(move || session.get("key").unwrap())
            }
            Arm::Bare | Arm::BareTls => {
                let mut connection = self.bare(side.servers.replica(thread % 2));
                Box::new(move || redis::cmd("GET").arg("key").query(&mut connection).unwrap())
            }
        }
    }

    /// Reads on this thread until `end`; returns how often.
    fn run(&self, read: &mut dyn FnMut() -> String, end: Instant) -> u64 {
        let mut done = 0;
        while Instant::now() < end {
            (0..8).for_each(|_| assert_eq!(read().len(), self.size));
            done += 8;
        }
        done
    }

    fn side(&self, arm: Arm) -> &Side {
        match arm {
            Arm::Plain | Arm::PlainSession | Arm::Bare => &self.plain,
            Arm::Tls | Arm::TlsSession | Arm::BareTls => &self.tls,
        }
    }

    fn bare(&self, server: &Server) -> redis::Connection {
        let url = server.url();
        let client = if url.starts_with("rediss://") {
            redis::Client::build_with_tls(url, self.authority.certificates(None))
        } else {
            redis::Client::open(url)
        };
        client.unwrap().get_connection().unwrap()
    }

    fn turn(&self, arm: Arm, threads: usize, length: Duration) -> Turn {
        let servers = &self.side(arm).servers;
        // One more than readers: what they open is not measured.
        let barrier = Barrier::new(threads + 1);
        let (done, cpu, time, before) = thread::scope(|scope| {
            let run = |thread| {
                let mut read = self.reader(arm, thread);
                read();
                barrier.wait();
                let before = cpu_time();
                let done = self.run(&mut read, Instant::now() + length);
                (done, cpu_time().saturating_sub(before))
            };
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            let before = cpu_of(servers);
            barrier.wait();
            let start = Instant::now();
            let turns = workers.into_iter().map(|worker| worker.join().unwrap());
            let (done, cpu) = turns.fold((0, Duration::ZERO), |sum, turn| (sum.0 + turn.0, sum.1 + turn.1));
            (done as f64, cpu, start.elapsed(), before)
        });
        let servers = (cpu_of(servers) - before) * 1e6 / done;
        Turn { per_second: done / time.as_secs_f64(), client: cpu.as_secs_f64() * 1e6 / done, servers }
    }

    /// Lets the arms take turns; returns the turns of each.
    fn alternate(&self, threads: usize, length: Duration, rounds: usize) -> [Vec<Turn>; ARMS.len()] {
        let mut turns = [const { Vec::new() }; ARMS.len()];
        for round in 0..rounds {
            for step in 0..ARMS.len() {
                let index = if round % 2 == 0 { step } else { ARMS.len() - 1 - step };
                turns[index].push(self.turn(ARMS[index], threads, length));
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

/// The time that the servers have spent on processors, in seconds.
fn cpu_of(servers: &ReplicaSet) -> f64 {
    let figure = |server: &Server, name| -> f64 { server.info("cpu", name).unwrap().unwrap().parse().unwrap() };
    servers.servers().iter().map(|server| figure(server, "used_cpu_user") + figure(server, "used_cpu_sys")).sum()
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, length) = if quick { (5, Duration::from_millis(60)) } else { (20, Duration::from_millis(250)) };
    for size in [100, 4096] {
        let Some(authority) = Authority::new() else { return };
        let bench = Bench::new(authority, size);
        println!(
            "values of {size} B; medians of {rounds} turns of {length:?}; reads/s, CPU of client and servers per read"
        );
        for threads in [1, 4, 16] {
            println!("  {threads:>2} threads");
            let turns = bench.alternate(threads, length, rounds);
            for (arm, turns) in ARMS.iter().zip(&turns) {
                let of = |figure: fn(&Turn) -> f64| median(turns.iter().map(figure));
                let [speed, client, servers] =
                    [of(|turn| turn.per_second), of(|turn| turn.client), of(|turn| turn.servers)];
                println!("    {:<13} {speed:>7.0}/s  {client:>5.1} us  {servers:>5.1} us", format!("{arm:?}"));
            }
            let ratios = RATIOS.map(|(name, a, b)| {
                let [a, b] = [a, b].map(|arm| &turns[arm as usize]);
                let ratio = |figure: fn(&Turn) -> f64| median(a.iter().zip(b).map(|(a, b)| figure(a) / figure(b)));
                let (speed, cpu) = (ratio(|turn| turn.per_second), ratio(|turn| turn.client + turn.servers));
                format!("{name} {speed:.2} (CPU x {cpu:.2})")
            });
            println!("    {}", ratios.join(";  "));
        }
    }
}
