//! What routing costs on the caller's thread, before any I/O: the table and the strategies.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use redis_replicated::redis::{Cmd, cmd};
use redis_replicated::strategy::{
    Candidates, LatencyWindow, LeastOutstanding, PeakEwma, PowerOfTwoChoices, Random, Rendezvous, RoundRobin, Strategy,
    WeightedRoundRobin, ZoneAffinity,
};
use redis_replicated::{Classifier, Node, NodeAddr, Outcome};

fn classify(c: &mut Criterion) {
    let classifier = Classifier::new();
    let commands: [(&str, Cmd); 3] = [
        ("get", cmd("GET").arg("k").clone()),
        ("object_encoding", cmd("OBJECT").arg("ENCODING").arg("k").clone()),
        ("unknown", cmd("NO.SUCH.COMMAND").arg("k").clone()),
    ];
    for (name, command) in &commands {
        c.bench_function(&format!("classify/{name}"), |b| b.iter(|| classifier.classify(black_box(command))));
    }
}

fn pick(c: &mut Criterion) {
    let window = Duration::from_millis(1);
    pick_with(c, "round_robin", &RoundRobin::seeded(1));
    pick_with(c, "random", &Random::new());
    pick_with(c, "least_outstanding", &LeastOutstanding::new());
    pick_with(c, "power_of_two_choices", &PowerOfTwoChoices::new());
    pick_with(c, "peak_ewma", &PeakEwma::new());
    pick_with(c, "weighted_round_robin", &WeightedRoundRobin::seeded(1));
    pick_with(c, "rendezvous", &Rendezvous::new());
    pick_with(c, "latency_window_random", &LatencyWindow::new(Random::new()).within(window));
    pick_with(c, "zone_affinity_random", &ZoneAffinity::new("zone-1", Random::new()));
}

fn pick_with(c: &mut Criterion, name: &str, strategy: &impl Strategy) {
    for count in [4, 16] {
        pick_among(c, &format!("pick/{name}/{count}"), strategy, &nodes(count, |_| 1));
        pick_among(c, &format!("pick/{name}/{count}_weights"), strategy, &nodes(count, |n| 100 + 7 * n));
    }
}

/// Nodes of two zones, half of them near, whose latencies are known.
fn nodes(count: u32, weight: impl Fn(u32) -> u32) -> Vec<Node> {
    let node = |n: u32| {
        let node = Node::new(NodeAddr::tcp(&format!("replica-{n}"), 6379)).with_weight(weight(n));
        node.record_at(Outcome::Answered, Duration::from_micros(200 + u64::from(n)), Instant::now());
        node.record_heartbeat(Duration::from_millis(1 + u64::from(n % 2) * 2));
        node.with_zone(format!("zone-{}", n % 2))
    };
    (0..count).map(node).collect()
}

/// From one thread, and from one of two that pick all the time.
fn pick_among(c: &mut Criterion, name: &str, strategy: &impl Strategy, nodes: &[Node]) {
    let all: Vec<&Node> = nodes.iter().collect();
    let candidates = Candidates::new(&all).unwrap().with_key(b"session:01234567").with_now(Instant::now());
    let pick = || strategy.pick(black_box(&candidates));
    c.bench_function(name, |b| b.iter(pick));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                black_box(pick());
            }
        });
        c.bench_function(&format!("{name}/2_threads"), |b| b.iter(pick));
        is_over.store(true, Ordering::Relaxed);
    });
}

fn briefly() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1))
}

criterion_group!(name = benches; config = briefly(); targets = classify, pick);
criterion_main!(benches);
