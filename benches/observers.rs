//! What observers cost: routed GETs without an observer, with `MetricsObserver` and no recorder, and with the recorder of
//! metrics-exporter-prometheus, in one run.
//!
//! `cargo bench --bench observers` prints the CPU time of the caller's thread for each GET, and its ratio to the client
//! without an observer, on exclusive and on shared connections. The arms take short turns (a b c c b a …), so that drift of the
//! machine hits all of them alike; figures are medians of turns. `-- calls <arm> <count>` only calls, for callgrind.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use redis_replicated::ReplicatedClient;
use redis_replicated::observe::MetricsObserver;
use redis_replicated::testing::ReplicaSet;

const TURN: Duration = Duration::from_millis(100);
const ROUNDS: usize = 60;
/// Calls before the first turn.
const WARM_UP: usize = 2000;
const NAMES: [&str; 3] = ["none", "no recorder", "prometheus"];
/// As the guide proposes them.
const BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

struct Bench {
    clients: [ReplicatedClient; 3],
    prometheus: PrometheusHandle,
}

impl Bench {
    /// Calls for one turn; returns the nanoseconds of CPU time of each call.
    fn turn(&self, arm: usize, threads: usize) -> f64 {
        let turns: Vec<(u64, u64)> = thread::scope(|scope| {
            let turn = || scope.spawn(|| turn(&self.clients[arm]));
            let running: Vec<_> = (0..threads).map(|_| turn()).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // What the recorder does beside the calls, as its web server would have it done.
        self.prometheus.run_upkeep();
        let (nanos, calls) = turns.iter().fold((0, 0), |(nanos, calls), turn| (nanos + turn.0, calls + turn.1));
        nanos as f64 / calls as f64
    }

    /// Lets the arms take turns; prints the medians.
    fn run(&self, title: &str, threads: usize) {
        let mut turns = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
            order.into_iter().for_each(|arm| turns[arm].push(self.turn(arm, threads)));
        }
        for arm in 0..NAMES.len() {
            let ratios = turns[arm].iter().zip(&turns[0]).map(|(own, none)| own / none);
            let (nanos, ratio) = (median(turns[arm].iter().copied()), median(ratios));
            println!("{title:24} {threads:2} threads  {:12} {nanos:8.0} ns of CPU per GET  {ratio:.3} ×", NAMES[arm]);
        }
    }
}

/// Calls on this thread for one turn; returns its CPU time in nanoseconds, and how many calls it made.
fn turn(client: &ReplicatedClient) -> (u64, u64) {
    let (end, before, mut calls) = (Instant::now() + TURN, cpu_of_this_thread(), 0);
    while Instant::now() < end {
        (0..16).for_each(|_| get(client));
        calls += 16;
    }
    (cpu_of_this_thread() - before, calls)
}

fn get(client: &ReplicatedClient) {
    assert_eq!(client.get::<String>("k").unwrap().len(), 100);
}

/// How long this thread has run, in nanoseconds.
fn cpu_of_this_thread() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn servers() -> ReplicaSet {
    let servers = ReplicaSet::start(2).unwrap();
    let client = servers.client_builder().build().unwrap();
    client.set("k", "x".repeat(100)).unwrap();
    servers.wait_until_in_sync().unwrap();
    servers
}

fn install() -> PrometheusHandle {
    PrometheusBuilder::new().set_buckets(BUCKETS).unwrap().install_recorder().unwrap()
}

/// Calls only, for a tool that counts instructions.
fn only_call(arm: usize, count: usize) {
    let servers = servers();
    let _handle = (arm == 2).then(install);
    let builder = servers.client_builder().monitor_interval(Duration::ZERO);
    let observed = if arm == 0 { builder } else { builder.observer(MetricsObserver::new()) };
    let client = observed.build().unwrap();
    (0..count).for_each(|_| get(&client));
}

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [mode, arm, count] = &words[..]
        && mode == "calls"
    {
        return only_call(arm.parse().unwrap(), count.parse().unwrap());
    }
    let servers = servers();
    let builder = |shared| servers.client_builder().shared_connections(shared);
    let warm = |client: ReplicatedClient| {
        (0..WARM_UP).for_each(|_| get(&client));
        client
    };
    let observed = |shared| warm(builder(shared).observer(MetricsObserver::new()).build().unwrap());
    // These register their handles before there is a recorder.
    let idle = [0, 1].map(observed);
    let prometheus = install();
    let benches = [0, 1].map(|shared: u32| {
        let none = warm(builder(shared).build().unwrap());
        let clients = [none, idle[shared as usize].clone(), observed(shared)];
        Bench { clients, prometheus: prometheus.clone() }
    });
    assert!(prometheus.render().contains("db_client_operation_duration_bucket"));
    for threads in [1, 8] {
        benches[0].run("exclusive connections", threads);
    }
    benches[1].run("one shared connection", 8);
}
