//! Strategies over real replicas behind proxies that make one of four slow, stall or far.
//!
//! `cargo bench --bench strategies` prints latencies of reads for each scenario and strategy, and the share of the bad
//! replica. Eight threads read as fast as they can; the proxies add their own time, in every arm alike. The same scenarios
//! without sockets, with more of everything: `cargo bench --bench simulation`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::strategy::{LeastOutstanding, PeakEwma, Random, RoundRobin, Strategy};
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet};
use redis_replicated::{ReadFrom, ReplicatedClient};

const REPLICAS: usize = 4;
const THREADS: usize = 8;
const TURN: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug)]
enum Scenario {
    Equal,
    /// Each reply of one replica is late by three times what a usual one takes here.
    FourTimesSlower,
    /// One replica answers nothing for 50 ms of each 500.
    Stalls,
    /// One replica is a millisecond away.
    Far,
}

fn main() {
    let servers = ReplicaSet::start(REPLICAS).unwrap();
    let proxies: Vec<FaultProxy> =
        servers.replicas().iter().map(|replica| FaultProxy::start(&replica.addr()).unwrap()).collect();
    println!("{THREADS} threads, {REPLICAS} replicas, {TURN:?} each");
    println!(
        "{:<16} {:<18} {:>9} {:>9} {:>9} {:>9} {:>10}",
        "scenario", "strategy", "calls/s", "p50 ms", "p99 ms", "p99.9 ms", "bad share"
    );
    let usual = run(&servers, &proxies, Scenario::Equal, Duration::ZERO, RoundRobin::new(), None);
    for scenario in [Scenario::Equal, Scenario::FourTimesSlower, Scenario::Stalls, Scenario::Far] {
        let arm = |name| Some((scenario, name));
        run(&servers, &proxies, scenario, usual, RoundRobin::new(), arm("round_robin"));
        run(&servers, &proxies, scenario, usual, Random::new(), arm("random"));
        run(&servers, &proxies, scenario, usual, LeastOutstanding::new(), arm("least_outstanding"));
        run(&servers, &proxies, scenario, usual, PeakEwma::new(), arm("peak_ewma"));
    }
}

/// Reads for a turn; prints what came of it, if it has a name, and returns the median.
fn run(
    servers: &ReplicaSet,
    proxies: &[FaultProxy],
    scenario: Scenario,
    usual: Duration,
    strategy: impl Strategy,
    name: Option<(Scenario, &str)>,
) -> Duration {
    let client = ReplicatedClient::builder()
        .master(servers.master().url())
        .replicas(proxies.iter().map(FaultProxy::url))
        .read_from(ReadFrom::Replica)
        .strategy(strategy)
        .build()
        .unwrap();
    proxies[0].set(fault(scenario, usual)).unwrap();
    let stop = AtomicBool::new(false);
    let end = Instant::now() + TURN;
    let mut took: Vec<Duration> = thread::scope(|scope| {
        scope.spawn(|| {
            while matches!(scenario, Scenario::Stalls) && !stop.load(Ordering::Relaxed) {
                proxies[0].set(NetworkFault::None).unwrap();
                thread::sleep(Duration::from_millis(450));
                proxies[0].set(fault(scenario, usual)).unwrap();
                thread::sleep(Duration::from_millis(50));
            }
        });
        let readers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| read(&client, end))).collect();
        let took = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        took
    });
    proxies[0].set(NetworkFault::None).unwrap();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    if let Some((scenario, name)) = name {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let nodes = client.snapshot().nodes;
        let all: u64 = nodes.iter().map(|node| node.answered).sum();
        println!(
            "{:<16} {name:<18} {:>9.0} {:>9.3} {:>9.3} {:>9.3} {:>8.1} %",
            format!("{scenario:?}"),
            took.len() as f64 / TURN.as_secs_f64(),
            millis(at(0.5)),
            millis(at(0.99)),
            millis(at(0.999)),
            nodes[1].answered as f64 / all as f64 * 100.0
        );
    }
    at(0.5)
}

fn fault(scenario: Scenario, usual: Duration) -> NetworkFault {
    match scenario {
        Scenario::Equal => NetworkFault::None,
        Scenario::FourTimesSlower => NetworkFault::Delay(3 * usual),
        Scenario::Stalls => NetworkFault::BlackHole,
        Scenario::Far => NetworkFault::Delay(Duration::from_millis(1)),
    }
}

fn read(client: &ReplicatedClient, end: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        client.get::<Option<String>>("key").unwrap();
        took.push(start.elapsed());
    }
    took
}
