//! Rule 9: a routed call makes exactly as many allocations as the same call on a bare connection.
//!
//! A program of its own, because it counts the allocations of its process.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use redis_replicated::observe::MetricsObserver;
use redis_replicated::strategy::{
    Candidates, LatencyWindow, LeastOutstanding, PeakEwma, PowerOfTwoChoices, Random, Rendezvous, RoundRobin, Strategy,
    WeightedRoundRobin, ZoneAffinity,
};
use redis_replicated::testing::{ReplicaSet, strategy_allocates_nothing};
use redis_replicated::{Classifier, Node, ReplicatedClient, redis};

/// Counts the allocations of one call, after the buffers of its connection have grown.
fn count(mut call: impl FnMut()) -> AllocationInfo {
    let counts: Vec<AllocationInfo> = (0..64).map(|_| measure(&mut call)).collect();
    // A read buffer is refilled now and then; the usual call does not do that.
    *counts.iter().min_by_key(|info| info.count_total).unwrap()
}

#[test]
fn a_routed_call_allocates_as_often_as_a_bare_one() {
    let servers = ReplicaSet::start(1).unwrap();
    let mut bare = servers.replica(0).connection().unwrap();
    let mut bare_master = servers.master().connection().unwrap();
    for strategy in
        [Box::new(RoundRobin::new()) as Box<dyn Strategy>, Box::new(Random::new()), Box::new(LeastOutstanding::new())]
    {
        let client = servers.client_builder().strategy(strategy).build().unwrap();
        client.set("key", "value").unwrap();
        client.rpush("list", &["a", "b", "c"]).unwrap();
        client.zadd("scores", "a", 1).unwrap();
        servers.wait_until_in_sync().unwrap();
        let mut routed = client.connection();

        let get = || redis::Cmd::get("key");
        let expected = count(|| drop(get().query::<String>(&mut bare).unwrap())).count_total;
        assert_eq!(count(|| drop(client.get::<String>("key").unwrap())).count_total, expected, "get");
        assert_eq!(count(|| drop(client.query::<String>(&get()).unwrap())).count_total, expected, "query");
        assert_eq!(count(|| drop(client.query::<String>(get()).unwrap())).count_total, expected, "query by value");
        let ending = client.until(Instant::now() + Duration::from_secs(600));
        assert_eq!(count(|| drop(ending.get::<String>("key").unwrap())).count_total, expected, "until");
        assert_eq!(count(|| drop(get().query::<String>(&mut routed).unwrap())).count_total, expected, "connection()");

        let set = || redis::Cmd::set("key", "value");
        let expected = count(|| set().query::<()>(&mut bare_master).unwrap()).count_total;
        assert_eq!(count(|| client.set("key", "value").unwrap()).count_total, expected, "set");

        let list = || redis::Cmd::lrange("list", 0, -1);
        let expected = count(|| drop(list().query::<Vec<String>>(&mut bare).unwrap())).count_total;
        assert_eq!(
            count(|| drop(client.lrange::<Vec<String>>("list", 0, -1).unwrap())).count_total,
            expected,
            "lrange"
        );

        let best = || redis::Cmd::zrevrange("scores", 0, 9);
        let expected = count(|| drop(best().query::<Vec<String>>(&mut bare).unwrap())).count_total;
        assert_eq!(
            count(|| drop(client.zrevrange::<Vec<String>>("scores", 0, 9).unwrap())).count_total,
            expected,
            "zrevrange"
        );

        let mut reads = redis::pipe();
        (0..20).for_each(|_| _ = reads.get("key"));
        let expected = count(|| drop(reads.query::<Vec<String>>(&mut bare).unwrap())).count_total;
        assert_eq!(
            count(|| drop(client.query_pipeline::<Vec<String>>(&reads).unwrap())).count_total,
            expected,
            "pipeline"
        );

        let writes = redis::pipe().atomic().set("a", 1).set("b", 2).to_owned();
        let expected = count(|| writes.query::<()>(&mut bare_master).unwrap()).count_total;
        assert_eq!(count(|| client.query_pipeline::<()>(&writes).unwrap()).count_total, expected, "transaction");
    }
    let classifier = Classifier::new();
    let command = redis::cmd("OBJECT").arg("ENCODING").arg("k").to_owned();
    assert_eq!(measure(|| _ = classifier.classify(&command)).count_total, 0);
}

/// A recorder that only adds.
#[derive(Debug, Default)]
struct Adding(AtomicU64);

impl CounterFn for Adding {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl HistogramFn for Adding {
    fn record(&self, value: f64) {
        self.0.fetch_add(value.to_bits() >> 60, Ordering::Relaxed);
    }
}

impl Recorder for Adding {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Self::default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Self::default()))
    }
}

#[test]
fn metrics_of_a_call_allocate_nothing() {
    metrics::set_global_recorder(Adding::default()).unwrap();
    let servers = ReplicaSet::start(1).unwrap();
    let without = servers.client_builder().build().unwrap();
    let with = servers.client_builder().observer(MetricsObserver::new()).build().unwrap();
    without.set("key", "value").unwrap();
    servers.wait_until_in_sync().unwrap();
    let get = |client: &ReplicatedClient| count(|| drop(client.get::<String>("key").unwrap())).count_total;
    let set = |client: &ReplicatedClient| count(|| client.set("key", "value").unwrap()).count_total;
    assert_eq!(get(&with), get(&without));
    assert_eq!(set(&with), set(&without));
}

fn count_of(picks: &mut dyn FnMut()) -> u64 {
    measure(picks).count_total
}

#[test]
fn no_strategy_allocates() {
    strategy_allocates_nothing(RoundRobin::new, count_of);
    strategy_allocates_nothing(Random::new, count_of);
    strategy_allocates_nothing(LeastOutstanding::new, count_of);
    strategy_allocates_nothing(PowerOfTwoChoices::new, count_of);
    strategy_allocates_nothing(PeakEwma::new, count_of);
    strategy_allocates_nothing(WeightedRoundRobin::new, count_of);
    strategy_allocates_nothing(Rendezvous::new, count_of);
    strategy_allocates_nothing(|| LatencyWindow::new(PeakEwma::new()), count_of);
    strategy_allocates_nothing(|| ZoneAffinity::new("zone-1", LeastOutstanding::new()), count_of);
}

/// Copies the candidates to the heap.
#[derive(Debug)]
struct Copying;

impl Strategy for Copying {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        let all: Vec<&Node> = candidates.iter().collect();
        all[0]
    }
}

#[test]
#[should_panic(expected = "Copying made 8 allocations in 8 picks")]
fn a_strategy_that_allocates_is_noticed() {
    strategy_allocates_nothing(|| Copying, count_of);
}
