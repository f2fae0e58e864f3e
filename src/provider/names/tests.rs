use super::{Names, several};
use crate::endpoint::Endpoint;
use crate::pool::Resolver;
use crate::provider::fake::{frozen, node, start, wait_until};
use crate::{NodeAddr, ReplicatedClient};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn several_addresses_of_one_family_are_several_nodes_in_a_fixed_order() {
    let (one, other) = (addresses(&["10.0.0.2:1", "10.0.0.1:1"]), addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
    assert_eq!(several(one, false), Some(other.clone()));
    assert_eq!(several(other.clone(), false), Some(other));
    assert_eq!(several(addresses(&["127.0.0.1:1", "[::1]:1", "127.0.0.1:1"]), false), None, "localhost is one node");
    assert_eq!(
        several(addresses(&["10.0.0.1:1", "[::2]:1", "[::1]:1"]), false),
        Some(addresses(&["[::1]:1", "[::2]:1"]))
    );
    assert_eq!(several(vec![], true), None, "not known");
    assert_eq!(several(addresses(&["10.0.0.1:1"]), true), Some(addresses(&["10.0.0.1:1"])), "scaled down");
}

#[test]
fn a_name_is_the_servers_that_it_stood_for_when_it_was_last_known() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&answer);
    let resolver = Resolver::with(move |host| match host {
        "redis" => Ok(told.lock().clone()),
        _ => Err(io::Error::other("no such name")),
    });
    let names = Names::new(resolver, Duration::from_secs(60));
    let place = |text: &str| Endpoint::from(text).place().unwrap();
    let seeds = ["redis:7", "unknown:7", "10.0.0.9:7", "unix:/tmp/s"].map(place);
    let nodes = |names: &Names| -> Vec<String> {
        names.look_up(&seeds, Instant::now() + Duration::from_secs(60));
        seeds.iter().flat_map(|seed| names.nodes(seed)).map(|place| place.addr.to_string()).collect()
    };
    let others = ["unknown:7", "10.0.0.9:7", "unix:/tmp/s"];
    let expect = |found: &[&'static str]| [found, &others].concat();
    assert_eq!(nodes(&names), expect(&["redis:7"]));
    assert!(names.lacks_any(&seeds) && !names.lacks_any(&seeds[2..]));
    *answer.lock() = addresses(&["10.0.0.1:0"]);
    assert_eq!(nodes(&names), expect(&["redis:7"]), "one server, under its name");
    *answer.lock() = addresses(&["10.0.0.2:0", "10.0.0.1:0"]);
    assert_eq!(nodes(&names), expect(&["10.0.0.1:7", "10.0.0.2:7"]));
    answer.lock().clear();
    assert_eq!(nodes(&names), expect(&["10.0.0.1:7", "10.0.0.2:7"]), "what it stood for");
    *answer.lock() = addresses(&["10.0.0.3:0"]);
    assert_eq!(nodes(&names), expect(&["10.0.0.3:7"]));
    assert_eq!(names.addresses(&seeds[0]).unwrap()[0].addr.to_string(), "10.0.0.3:7");
    assert_eq!(names.addresses(&seeds[1]).unwrap_err().to_string(), "no such name");
    assert_eq!(names.addresses(&seeds[3]).unwrap()[0].addr, seeds[3].addr);
}

#[test]
fn a_resolver_that_hangs_leaves_time_for_the_servers() {
    let resolver = Resolver::with(|_| {
        loop {
            std::thread::park();
        }
    });
    let names = Names::new(resolver, Duration::from_secs(60));
    let seeds = ["redis:7"].map(|text| Endpoint::from(text).place().unwrap());
    let end = Instant::now() + Duration::from_secs(2);
    names.look_up(&seeds, end);
    assert!(Instant::now() < end, "half of it");
    assert!(names.lacks_any(&seeds) && names.addresses(&seeds[0]).is_err());
}

/// The nodes of a client, in order of their addresses.
fn found(client: &ReplicatedClient) -> Vec<NodeAddr> {
    let mut addrs: Vec<NodeAddr> = client.snapshot().nodes.into_iter().map(|node| node.addr).collect();
    addrs.sort();
    addrs
}

fn replica() -> String {
    let history = "a".repeat(40);
    format!("role:slave\r\nmaster_link_status:up\r\nmaster_replid:{history}\r\nslave_repl_offset:7\r\n")
}

#[test]
fn a_client_follows_the_addresses_of_a_name() {
    let master = || format!("role:master\r\nmaster_replid:{}\r\nmaster_repl_offset:7\r\n", "a".repeat(40));
    let fakes = start(vec![node(master), node(replica), node(replica), node(replica)]);
    let port = fakes[0].addr.port();
    let addr = |last: u8| NodeAddr::tcp(&format!("127.0.0.{last}"), port);
    let stands_for = Arc::new(Mutex::new(vec![fakes[1].addr, fakes[2].addr]));
    let told = Arc::clone(&stands_for);
    let mut builder = ReplicatedClient::builder().master(addr(1)).replica(("replicas", port));
    builder.resolver = Resolver::with(move |_| Ok(told.lock().clone()));
    let client = builder.build().unwrap();
    wait_until("the name is two nodes", || found(&client) == [addr(1), addr(2), addr(3)]);
    *stands_for.lock() = vec![fakes[3].addr];
    wait_until("it is another one", || {
        client.refresh().unwrap();
        found(&client) == [addr(1), addr(4)]
    });
}

#[test]
fn names_that_cannot_be_looked_up_delay_no_refresh_and_no_other_node() {
    let master = || format!("role:master\r\nmaster_replid:{}\r\nmaster_repl_offset:7\r\n", "a".repeat(40));
    let fakes = start(vec![node(master), node(replica), frozen()]);
    let port = fakes[0].addr.port();
    let addr = |last: u8| NodeAddr::tcp(&format!("127.0.0.{last}"), port);
    let named = ReplicatedClient::builder().master(addr(1)).replica(("hanging", port)).replica(addr(2));
    let mut builder = named.deadline(Duration::from_millis(800));
    builder.resolver = Resolver::with(|_| {
        loop {
            std::thread::park();
        }
    });
    let client = builder.build().unwrap();
    wait_until("the others are known", || {
        let snapshot = client.snapshot();
        snapshot.settled && snapshot.nodes.iter().filter(|node| node.replication.is_some()).count() == 2
    });
    let begun = Instant::now();
    client.refresh().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    wait_until("only the one that was reached is asked", || {
        let decision = client.explain(redis::cmd("GET").arg("k"));
        decision.candidates() == [addr(2)]
    });
}
