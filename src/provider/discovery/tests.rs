use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Discovery;
use crate::endpoint::{AddressMap, Endpoint, Manner};
use crate::pool::{Limits, Resolver};
use crate::provider::fake::{frozen, node, start, wait_until};
use crate::topology::TopologyProvider;

fn discovery(seed: &str, resolver: Resolver) -> Discovery {
    let limits = Limits { connect: Duration::from_secs(1), ..Limits::default() };
    Discovery::new(&[Endpoint::from(seed)], Manner::default(), AddressMap::default(), resolver.into(), limits).unwrap()
}

/// The hosts of the nodes that are found.
fn hosts(discovery: &Discovery) -> Vec<String> {
    let described = discovery.describe(Instant::now() + Duration::from_secs(10));
    let nodes = described.map(|described| described.nodes).unwrap_or_default();
    let mut hosts: Vec<String> =
        nodes.iter().filter_map(|(_, node)| Some(node.place().unwrap().addr.host()?.to_owned())).collect();
    hosts.sort();
    hosts
}

fn alone(history: &str) -> String {
    format!("role:master\r\nmaster_replid:{history}\r\nmaster_repl_offset:7\r\n")
}

#[test]
fn a_seed_name_of_several_addresses_is_several_seeds() {
    let fakes = start(vec![frozen(), node(|| alone(&"a".repeat(40))), node(|| alone(&"b".repeat(40)))]);
    let all: Vec<_> = fakes.iter().map(|fake| fake.addr).collect();
    let resolver = Resolver::with(move |_| Ok(all.clone()));
    let discovery = discovery(&format!("seeds:{}", fakes[0].addr.port()), resolver);
    wait_until("those that answer are found", || hosts(&discovery) == ["127.0.0.2", "127.0.0.3"]);
}

#[test]
fn known_nodes_are_seeds_where_the_named_one_is_dead_and_nobody_says_what_it_continues() {
    // The seed, its replica, and what they say; servers without a second replication id.
    let said = Arc::new(Mutex::new(["", "", ""].map(str::to_owned)));
    let tell = |index: usize| {
        let said = Arc::clone(&said);
        node(move || said.lock()[index].clone())
    };
    let fakes = start(vec![tell(0), tell(1), tell(2)]);
    let port = fakes[0].addr.port();
    let replica = |of: &str, history: &str| {
        format!(
            "role:slave\r\nmaster_host:{of}\r\nmaster_port:{port}\r\nmaster_link_status:up\r\nmaster_replid:{history}\r\nslave_repl_offset:7\r\n"
        )
    };
    let lists = |history: &str, others: &[&str]| {
        let replicas = others.iter().enumerate();
        let lines: String =
            replicas.map(|(index, ip)| format!("slave{index}:ip={ip},port={port},state=online\r\n")).collect();
        alone(history) + &lines
    };
    let (a, b) = (&"a".repeat(40), &"b".repeat(40));
    *said.lock() = [lists(a, &["127.0.0.2", "127.0.0.3"]), replica("127.0.0.1", a), replica("127.0.0.1", a)];
    let discovery = discovery(&format!("127.0.0.1:{port}"), Resolver::new());
    wait_until("the set is found", || hosts(&discovery).len() == 3);
    // The seed says nothing any more, and the other one has a history of its own.
    *said.lock() = [String::new(), lists(b, &["127.0.0.3"]), replica("127.0.0.2", b)];
    for _ in 0..3 {
        let found = hosts(&discovery);
        assert!(["127.0.0.2", "127.0.0.3"].iter().all(|host| found.contains(&(*host).to_owned())), "{found:?}");
    }
    // It comes back as what it was: it is known by now who the set is.
    *said.lock() = [alone(a), lists(b, &["127.0.0.3"]), replica("127.0.0.2", b)];
    for _ in 0..3 {
        assert_eq!(hosts(&discovery).len(), 3);
    }
}
