//! What routing costs on the caller's thread, before any I/O: the table and the strategies.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use redis_replicated::redis::{Cmd, cmd};
use redis_replicated::strategy::{
    Candidates, LeastOutstanding, PowerOfTwoChoices, Random, Rendezvous, RoundRobin, Strategy, WeightedRoundRobin,
    ZoneAffinity,
};
use redis_replicated::{Classifier, Node, NodeAddr};

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
    pick_with(c, "round_robin", &RoundRobin::seeded(1));
    pick_with(c, "random", &Random::seeded(1));
    pick_with(c, "least_outstanding", &LeastOutstanding::seeded(1));
    pick_with(c, "power_of_two_choices", &PowerOfTwoChoices::seeded(1));
    pick_with(c, "weighted_round_robin", &WeightedRoundRobin::seeded(1));
    pick_with(c, "rendezvous", &Rendezvous::seeded(1));
    pick_with(c, "zone_affinity_random", &ZoneAffinity::new("zone-1", Random::seeded(1)));
}

fn pick_with(c: &mut Criterion, name: &str, strategy: &impl Strategy) {
    for count in [4, 16] {
        pick_among(c, &format!("pick/{name}/{count}"), strategy, count, |_| 1);
    }
    pick_among(c, &format!("pick/{name}/16_weights"), strategy, 16, |n| 100 + 7 * n);
}

fn pick_among(c: &mut Criterion, name: &str, strategy: &impl Strategy, count: u32, weight: impl Fn(u32) -> u32) {
    let node = |n| Node::new(NodeAddr::tcp(&format!("replica-{n}"), 6379)).with_weight(weight(n));
    let nodes: Vec<Node> = (0..count).map(|n| node(n).with_zone(format!("zone-{}", n % 2))).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let candidates = Candidates::new(&all).unwrap().with_key(b"session:01234567");
    c.bench_function(name, |b| b.iter(|| strategy.pick(black_box(&candidates))));
}

criterion_group!(benches, classify, pick);
criterion_main!(benches);
