//! Scans as iterators: each page comes from one node, and errors are items.

use std::collections::{BTreeMap, BTreeSet};

use redis::ScanOptions;
use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReplicatedClient, Result};

const ITEMS: usize = 2000;

/// Two replicas that take turns, with many keys and large values.
fn scene() -> (ReplicaSet, ReplicatedClient) {
    let servers = ReplicaSet::start(2).unwrap();
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    let mut pipeline = redis::pipe();
    for i in 0..ITEMS {
        pipeline.set(format!("key:{i}"), i).hset("hash", format!("f{i}"), i).ignore();
        pipeline.sadd("set", format!("m{i}")).zadd("sorted", format!("m{i}"), i).ignore();
    }
    client.query_pipeline::<()>(&pipeline).unwrap();
    servers.wait_until_in_sync().unwrap();
    (servers, client)
}

/// Returns on which replicas a command ran, and how often; it never ran on the master.
fn pages(servers: &ReplicaSet, command: &str) -> Vec<u64> {
    assert_eq!(servers.master().calls(command).unwrap(), 0, "{command} on the master");
    servers.replicas().iter().map(|replica| replica.calls(command).unwrap()).filter(|calls| *calls > 0).collect()
}

fn reset(servers: &ReplicaSet) {
    servers.servers().iter().for_each(|server: &Server| server.reset_counts().unwrap());
}

#[test]
fn each_page_of_a_scan_comes_from_the_node_of_the_first() {
    let (servers, client) = scene();
    let keys: BTreeSet<String> = client.scan_match("key:*").collect::<Result<_>>().unwrap();
    assert_eq!(keys.len(), ITEMS);
    assert!(matches!(pages(&servers, "SCAN")[..], [several] if several > 10));
    reset(&servers);
    let all: BTreeSet<String> = client.scan().collect::<Result<_>>().unwrap();
    assert_eq!(all.len(), ITEMS + 3);
    let hashes: Vec<String> =
        client.scan_options(ScanOptions::default().with_type("hash").with_count(100)).collect::<Result<_>>().unwrap();
    assert_eq!(hashes, ["hash"]);
    // Two scans, one after the other: each has a node of its own.
    assert_eq!(pages(&servers, "SCAN").len(), 2);

    let fields: BTreeMap<String, usize> = client.hscan("hash").collect::<Result<_>>().unwrap();
    assert!(fields.len() == ITEMS && fields["f17"] == 17);
    assert!(matches!(pages(&servers, "HSCAN")[..], [several] if several > 10));
    let some: BTreeMap<String, usize> = client.hscan_match("hash", "f1?").collect::<Result<_>>().unwrap();
    assert_eq!(some.len(), 10);
    let members: BTreeSet<String> = client.sscan("set").collect::<Result<_>>().unwrap();
    assert_eq!(members.len(), ITEMS);
    assert!(matches!(pages(&servers, "SSCAN")[..], [several] if several > 10));
    assert_eq!(client.sscan_match::<String>("set", "m1?").count(), 10);
    let scores: BTreeMap<String, f64> = client.zscan("sorted").collect::<Result<_>>().unwrap();
    assert!(scores.len() == ITEMS && scores["m17"] == 17.0);
    assert!(matches!(pages(&servers, "ZSCAN")[..], [several] if several > 10));
    assert_eq!(client.zscan_match::<(String, f64)>("sorted", "m1?").count(), 10);
}

#[test]
fn nothing_is_sent_before_the_first_item_and_no_key_is_no_item() {
    let (servers, client) = scene();
    let scan = client.scan::<String>();
    assert!(pages(&servers, "SCAN").is_empty());
    drop(scan);
    assert_eq!(client.hscan::<(String, String)>("none").count(), 0);
}

#[test]
fn errors_are_items() {
    let (mut servers, client) = scene();
    let mut wrong = client.hscan::<(String, String)>("set");
    let error = wrong.next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false));
    assert!(error.to_string().contains("WRONGTYPE") && error.node().is_some(), "{error}");
    assert!(wrong.next().is_none(), "a page that failed is the last one");
    // Each item of another type is an error, and shows no value.
    let errors: Vec<_> = client.sscan::<u64>("set").filter_map(Result::err).collect();
    assert!(errors.len() >= ITEMS && errors.iter().all(|error| error.kind() == ErrorKind::Conversion));
    assert_eq!(errors[0].to_string().split(": ").last().unwrap(), "an item of a scan is no u64");

    let mut scan = client.scan_match::<String>("key:*");
    scan.next().unwrap().unwrap();
    let calls: Vec<u64> = servers.replicas().iter().map(|replica| replica.calls("SCAN").unwrap()).collect();
    let node = calls.iter().position(|calls| *calls > 0).unwrap();
    servers.replica_mut(node).stop();
    let rest: Vec<Result<String>> = scan.collect();
    let failed = rest.iter().position(Result::is_err).unwrap();
    assert_eq!(failed, rest.len() - 1, "the page that failed is the last item: no other node continues the scan");
    // A new scan begins on the other one.
    assert_eq!(client.scan_match::<String>("key:*").collect::<Result<BTreeSet<_>>>().unwrap().len(), ITEMS);
}
