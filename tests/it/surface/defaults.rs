//! Rule 11: each default that is documented is the default.

mod documents;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::observe::{MetricsGroups, MetricsObserver};
use redis_replicated::strategy::{Candidates, LatencyWindow, RoundRobin, Strategy, ZoneAffinity};
use redis_replicated::testing::{ReplicaSet, free_port};
use redis_replicated::{
    Builder, Config, Description, Endpoint, ErrorKind, InFlight, Node, NodeAddr, ReadFrom, ReplicatedClient, Result,
    Role, Target, TopologyProvider,
};

use crate::support::{Fake, never_answer, set_with_key, wait_until};

/// What the docs of a method of `Builder` call its default, and what `Debug` shows of it.
const OF_BUILDER: &[(&str, &str, &str)] = &[
    ("replica", "none", "replicas: []"),
    ("replicas", "none", "replicas: []"),
    ("map_address", "no translation", "map: AddressMap"),
    ("login", "those of the first seed of [`discover`](Self::discover)", "manner: Manner { tls: None"),
    ("monitor_interval", "1 s", "monitor_interval: 1s"),
    ("fallback_limit", "half of the pool size", "fallback_limit: HalfOfPool"),
    ("lag_limit", "10 s", "lag_limit: Some(10s)"),
    ("observer", "none", "observers: []"),
    ("slow_call", "no call is slow", "slow_call: None"),
    ("session_mode", "[`SessionMode::Strict`]", "session_mode: Strict"),
    ("strategy", "[`PeakEwma`]", "strategy: Made(PeakEwma("),
    ("read_from", "[`ReadFrom::ReplicaPreferred`]", "read_from: ReplicaPreferred"),
    ("classify", "no overrides", "overrides: []"),
    ("client_name", "none", "client_name: None"),
    ("pool_size", "10", "size: 10,"),
    ("max_connecting", "2", "connecting: 2,"),
    ("shared_connections", "1", "shared: 1"),
    ("connect_timeout", "500 ms", "connect: 500ms"),
    ("checkout_timeout", "250 ms", "checkout: 250ms"),
    ("response_timeout", "1 s", "response: 1s"),
    ("deadline", "3 s", "deadline: 3s"),
    ("idle_timeout", "10 min", "idle: 600s"),
    ("tls", "as for the first seed of [`discover`](Self::discover)", "manner: Manner { tls: None"),
    ("tls_certificates", "the authorities of the system", "tls: TlsSource { given: None, files: None }"),
];

/// What the docs of everything else call its default; each is checked below.
const OF_OTHERS: &[(&str, &str)] = &[
    ("acknowledged_by", "0 replicas, no wait"),
    ("groups", "all"),
    ("interest", "all"),
    ("interval", "10 s"),
    ("label", "none"),
    ("max_staleness", "no bound"),
    ("needs_latency", "`true`"),
    ("password", "none"),
    ("replicas", "0"),
    ("saturated_at", "10, which is the default of [`pool_size`](crate::Builder::pool_size)"),
    ("setting", "none"),
    ("tls", "no TLS"),
    ("until", "no end"),
    ("watch", "does nothing"),
    ("weight", "1"),
    ("with_attempt", "0"),
    ("with_key", "none"),
    ("with_now", "the time at which [`now`](Self::now) is called"),
    ("with_override", "no overrides"),
    ("with_role", "[`Role::Replica`]"),
    ("with_weight", "1"),
    ("with_zone", "none"),
    ("within", "1 ms"),
    ("zone", "the zone that the server reports (`availability_zone`, Valkey), or none"),
];

#[test]
fn each_documented_default_is_in_a_table() {
    let tested = OF_BUILDER.iter().map(|(name, text, _)| (*name, *text)).chain(OF_OTHERS.iter().copied());
    let tested: Vec<_> = tested.collect();
    let documented = documents::defaults();
    assert!(documented.len() >= tested.len(), "{documented:?}");
    let is_in = |(name, text): &(String, String)| tested.iter().any(|(n, t)| n == name && text.starts_with(t));
    let missing: Vec<_> = documented.iter().filter(|default| !is_in(default)).collect();
    assert!(missing.is_empty(), "documented, and not tested to be the default: {missing:?}");
    let is_documented = |(n, t): &&(&str, &str)| documented.iter().any(|(name, text)| n == name && text.starts_with(t));
    let stale: Vec<_> = tested.iter().filter(|default| !is_documented(default)).collect();
    assert!(stale.is_empty(), "in a table here, and not documented: {stale:?}");
}

#[test]
fn a_builder_begins_with_the_documented_defaults() {
    let shown = format!("{:?}", ReplicatedClient::builder());
    for (name, text, fragment) in OF_BUILDER {
        assert!(shown.contains(fragment), "{name}: {text} is documented, and {fragment:?} is not in {shown}");
    }
}

#[test]
fn a_configuration_that_names_a_master_alone_has_the_defaults_of_the_builder() {
    let config: Config = toml::from_str("master = '127.0.0.1:1'").unwrap();
    let builder = ReplicatedClient::builder().master("127.0.0.1:1");
    assert_eq!(format!("{:?}", config.builder()), format!("{builder:?}"));
}

#[test]
fn tables_in_the_readme_and_the_guide_name_the_same_defaults() {
    let defaults: Vec<_> = OF_BUILDER.iter().map(|(name, text, _)| (*name, *text)).collect();
    let rows = documents::rows();
    let known: BTreeSet<_> = rows.iter().map(|row| row.name.as_str()).collect();
    for name in [
        "deadline",
        "pool_size",
        "max_connecting",
        "shared_connections",
        "monitor_interval",
        "fallback_limit",
        "lag_limit",
    ] {
        assert!(known.contains(name), "no table names the default of {name}: {known:?}");
    }
    for row in &rows {
        let (_, text) = defaults.iter().find(|(name, _)| row.name == *name).expect("a method of `Builder`");
        assert!(row.agrees_with(text), "{text:?} is documented for {}, and {row:?}", row.name);
    }
}

#[test]
fn limits_of_time_are_as_documented() {
    let hung = Fake::start("master", never_answer);
    let silent = Fake::raw(never_answer);
    let of = |fake: &Fake| ReplicatedClient::builder().master(fake.url()).monitor_interval(Duration::ZERO);
    let cases = [
        (of(&hung), "no reply within 1 s (response_timeout)", 1),
        (of(&hung).response_timeout(Duration::from_secs(30)), "no reply within 3 s (deadline)", 3),
        (of(&silent), "could not connect within 500 ms (connect_timeout)", 3),
    ];
    thread::scope(|scope| {
        for (builder, said, seconds) in cases {
            scope.spawn(move || {
                let client = builder.build().unwrap();
                let start = Instant::now();
                let error = client.set("k", "v").unwrap_err().to_string();
                let took = start.elapsed();
                assert!(error.contains(said), "{error:?} does not say {said:?}");
                let expected = Duration::from_secs(seconds);
                assert!(took + Duration::from_millis(50) >= expected && took < 2 * expected, "{said}: {took:?}");
            });
        }
    });
}

#[test]
fn a_pool_has_ten_connections_and_their_names_are_empty() {
    let servers = set_with_key(0);
    let client = servers.client_builder().shared_connections(0).deadline(Duration::from_millis(300)).build().unwrap();
    assert_eq!(client.snapshot().nodes[0].pool_size, 10);
    let mut dedicated = client.dedicated(Target::Master).unwrap();
    let name: Option<String> = redis::cmd("CLIENT").arg("GETNAME").query(&mut dedicated).unwrap();
    assert_eq!(name.unwrap_or_default(), "");
    let mut held: Vec<_> = (0..10).map(|_| client.connection()).collect();
    held.iter_mut().for_each(|connection| redis::cmd("WATCH").arg("x").exec(connection).unwrap());
    let error = client.set("k", "v").unwrap_err().to_string();
    assert!(error.contains("all 10 connections of the pool"), "{error}");
}

#[test]
fn the_master_serves_half_a_pool_of_fallback_reads_and_further_ones_wait_250_ms() {
    for (pool_size, expected) in [(None, 5), (Some(1), 1)] {
        let servers = set_with_key(0);
        let dead = free_port().unwrap();
        let builder = ReplicatedClient::builder().master(servers.master().url()).replica(("127.0.0.1", dead));
        let builder = pool_size.into_iter().fold(builder, Builder::pool_size);
        let client =
            builder.response_timeout(Duration::from_secs(20)).deadline(Duration::from_secs(20)).build().unwrap();
        wait_until("the replica is known to be dead", || {
            client.get::<String>("k").unwrap();
            client.snapshot().nodes[1].ejected
        });
        let read = redis::cmd("XREAD").arg("BLOCK").arg(25_000).arg("STREAMS").arg("news").arg("$").clone();
        thread::scope(|scope| {
            let reads: Vec<_> = (0..expected).map(|_| scope.spawn(|| client.query::<redis::Value>(&read))).collect();
            let blocked =
                || servers.master().info("clients", "blocked_clients").unwrap().unwrap().parse::<usize>().unwrap();
            wait_until("the room is taken", || blocked() == expected);
            let start = Instant::now();
            let error = client.get::<String>("k").unwrap_err();
            let took = start.elapsed();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(took >= Duration::from_millis(245) && took < Duration::from_secs(3), "{took:?}: {error}");
            client.query::<String>(redis::cmd("XADD").arg("news").arg("*").arg("f").arg("v")).unwrap();
            reads.into_iter().for_each(|read| drop(read.join().unwrap().unwrap()));
        });
    }
}

#[test]
fn each_node_is_asked_once_a_second() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    client.set("k", "v").unwrap();
    // The first question asks for more, and on two connections.
    wait_until("the second question is answered", || client.snapshot().nodes[0].heartbeat.is_some());
    let before = servers.master().calls("INFO").unwrap();
    // The interval is what is tested.
    thread::sleep(Duration::from_secs(5));
    // Not the question about the questions.
    let asked = servers.master().calls("INFO").unwrap() - before - 1;
    assert!((3..=6).contains(&asked), "{asked} times in 5 s");
}

#[test]
fn found_nodes_are_reached_as_the_first_seed_and_at_the_addresses_they_give() {
    let servers = ReplicaSet::setup().replicas(1).password("secret").start().unwrap();
    let client = ReplicatedClient::builder().discover([servers.replica(0).url()]).build().unwrap();
    client.set("k", "v").unwrap();
    let found: BTreeSet<NodeAddr> = client.snapshot().nodes.into_iter().map(|node| node.addr).collect();
    assert_eq!(found, servers.servers().iter().map(|server| server.addr()).collect());
}

#[test]
fn endpoints_nodes_and_candidates_begin_as_documented() {
    let addr = NodeAddr::tcp("127.0.0.1", 1);
    let node = Node::new(addr.clone());
    assert_eq!((node.role(), node.weight(), node.zone()), (Role::Replica, 1, None));
    let client = ReplicatedClient::builder().master(Endpoint::from(addr)).build().unwrap();
    assert_eq!((client.snapshot().nodes[0].weight, client.snapshot().nodes[0].zone.as_deref()), (1, None));
    let nodes = [&node];
    let candidates = Candidates::new(&nodes).unwrap();
    assert_eq!((candidates.key(), candidates.attempt()), (None, 0));
    let (before, asked, after) = (Instant::now(), candidates.now(), Instant::now());
    assert!(before <= asked && asked <= after);
}

#[test]
fn metrics_begin_as_documented() {
    let (made, given) = (MetricsObserver::new(), MetricsObserver::default().groups(MetricsGroups::ALL));
    assert_eq!(format!("{made:?}"), format!("{given:?}"));
    assert!(format!("{made:?}").contains("labels: []"), "{made:?}");
}

#[test]
fn strategies_begin_as_documented() {
    /// Lets the trait say whether it needs latencies.
    #[derive(Debug)]
    struct Plain;
    impl Strategy for Plain {
        fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
            candidates.at(0)
        }
    }
    assert!(Plain.needs_latency());
    let window =
        |window: &LatencyWindow<RoundRobin>| format!("{window:?}").split_once("window: ").unwrap().1.to_owned();
    let (usual, wide) = (LatencyWindow::new(RoundRobin::new()), LatencyWindow::new(RoundRobin::new()));
    let narrow = LatencyWindow::new(RoundRobin::new()).within(Duration::from_millis(1));
    assert_eq!(window(&usual), window(&narrow));
    assert_ne!(window(&usual), window(&wide.within(Duration::from_millis(2))));
    // A zone is saturated by ten requests in flight: the next goes elsewhere.
    let near = Node::new(NodeAddr::tcp("127.0.0.1", 1)).with_zone("a");
    let far = Node::new(NodeAddr::tcp("127.0.0.1", 2)).with_zone("b");
    let (nodes, zone) = ([&near, &far], ZoneAffinity::new("a", RoundRobin::new()));
    let is_near = || std::ptr::eq(zone.pick(&Candidates::new(&nodes).unwrap()), &near);
    let mut held: Vec<InFlight<'_>> = (0..9).map(|_| near.begin()).collect();
    assert!((0..8).all(|_| is_near()), "nine requests leave room");
    held.push(near.begin());
    assert!((0..8).any(|_| !is_near()), "ten leave none");
}

#[test]
fn providers_are_asked_every_10_s() {
    #[derive(Debug)]
    struct Plain;
    impl TopologyProvider for Plain {
        fn describe(&self, _: Instant) -> Result<Description> {
            Ok(Description::new())
        }
    }
    assert_eq!(Plain.interval(), Duration::from_secs(10));
}

#[test]
fn reads_have_no_bound_and_writes_wait_for_no_replica() {
    assert_eq!(ReadFrom::default(), ReadFrom::ReplicaPreferred);
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    servers.replica(0).pause_writes(Duration::MAX).unwrap();
    client.set("k", "w").unwrap();
    let bounded = client.max_staleness(Duration::from_millis(50));
    wait_until("a read with a bound misses nothing", || bounded.get::<String>("k").unwrap() == "w");
    assert_eq!(client.get::<String>("k").unwrap(), "v", "of the replica, which lags behind");
    assert!(client.acknowledged_by(1, Duration::from_millis(100)).set("k", "x").is_err());
}

#[test]
fn a_replica_set_of_the_tools_begins_as_documented() {
    let servers = ReplicaSet::setup().start().unwrap();
    assert!(servers.replicas().is_empty());
    assert!(servers.master().url().starts_with("redis://127.0.0.1:"), "{}", servers.master().url());
    let mut plain = redis::Client::open(servers.master().url()).unwrap().get_connection().unwrap();
    let password: (String, String) = redis::cmd("CONFIG").arg("GET").arg("requirepass").query(&mut plain).unwrap();
    assert_eq!(password.1, "");
}
