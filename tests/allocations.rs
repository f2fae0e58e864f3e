//! Rule 9: a routed call makes exactly as many allocations as the same call on a bare connection.
//!
//! A program of its own, because it counts the allocations of its process.

#![allow(missing_docs, clippy::unwrap_used)]

use allocation_counter::{AllocationInfo, measure};
use redis_replicated::strategy::{
    Candidates, LeastOutstanding, PowerOfTwoChoices, Random, Rendezvous, RoundRobin, Strategy, WeightedRoundRobin,
    ZoneAffinity,
};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Classifier, Node, NodeAddr, redis};

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
        servers.wait_until_in_sync().unwrap();
        let mut routed = client.connection();

        let get = || redis::Cmd::get("key");
        let expected = count(|| drop(get().query::<String>(&mut bare).unwrap())).count_total;
        assert_eq!(count(|| drop(client.get::<String>("key").unwrap())).count_total, expected, "get");
        assert_eq!(count(|| drop(client.query::<String>(&get()).unwrap())).count_total, expected, "query");
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

#[test]
fn no_strategy_allocates() {
    let node = |n: u32| Node::new(NodeAddr::tcp(&format!("n{n}"), 6379)).with_weight(1 + n % 5).with_zone("near");
    let nodes: Vec<Node> = (0..64).map(node).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let strategies: [Box<dyn Strategy>; 7] = [
        Box::new(RoundRobin::new()),
        Box::new(Random::new()),
        Box::new(LeastOutstanding::new()),
        Box::new(PowerOfTwoChoices::new()),
        Box::new(WeightedRoundRobin::new()),
        Box::new(Rendezvous::new()),
        Box::new(ZoneAffinity::new("near", LeastOutstanding::new())),
    ];
    for strategy in strategies {
        for count in [1, 2, 16, 64] {
            let candidates = Candidates::new(&all[..count]).unwrap().with_key(b"key");
            let info = measure(|| (0..100).for_each(|_| _ = strategy.pick(&candidates)));
            assert_eq!(info.count_total, 0, "{strategy:?} among {count}");
        }
    }
}
