//! What routing costs on the caller's thread, before any I/O: the table and the strategies.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use redis_replicated::redis::{Cmd, cmd};
use redis_replicated::strategy::{Candidates, LeastOutstanding, Random, RoundRobin, Strategy};
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
}

fn pick_with(c: &mut Criterion, name: &str, strategy: &impl Strategy) {
    for count in [4, 16] {
        let nodes: Vec<Node> = (0..count).map(|n| Node::new(NodeAddr::tcp(&format!("replica-{n}"), 6379))).collect();
        let all: Vec<&Node> = nodes.iter().collect();
        let candidates = Candidates::new(&all).unwrap();
        c.bench_function(&format!("pick/{name}/{count}"), |b| b.iter(|| strategy.pick(black_box(&candidates))));
    }
}

criterion_group!(benches, classify, pick);
criterion_main!(benches);
