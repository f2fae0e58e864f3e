//! What goes where, by the servers' own counts.

use std::time::Duration;

use redis_replicated::strategy::{Candidates, LeastOutstanding, Random, RoundRobin, Strategy};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Classification, ErrorKind, Exclusion, Node, ReadFrom, ReplicatedClient, Role};

use crate::support::{calls_on_replicas, set_with_key};

#[test]
fn reads_are_spread_evenly_and_writes_go_to_the_master() {
    let servers = ReplicaSet::start(3).unwrap();
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    for _ in 0..30_000 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    for replica in servers.replicas() {
        assert_eq!(replica.calls("GET").unwrap(), 10_000);
        assert_eq!(replica.errors("READONLY").unwrap(), 0);
    }
    assert_eq!(servers.master().calls("GET").unwrap(), 0);
    assert_eq!(servers.master().calls("SET").unwrap(), 1);
}

#[test]
fn every_read_preference_reaches_its_roles_only() {
    let servers = set_with_key(2);
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    for (read_from, master, replicas) in [
        (ReadFrom::Master, 6, 0),
        (ReadFrom::MasterPreferred, 6, 0),
        (ReadFrom::Replica, 0, 6),
        (ReadFrom::ReplicaPreferred, 0, 6),
        (ReadFrom::Any, 2, 4),
    ] {
        servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
        let handle = client.read_from(read_from);
        (0..6).for_each(|_| assert_eq!(handle.get::<String>("k").unwrap(), "v"));
        let seen = (servers.master().calls("GET").unwrap(), calls_on_replicas(&servers, "GET"));
        assert_eq!(seen, (master, replicas), "{read_from}");
    }
}

#[test]
fn a_set_without_replicas_reads_from_its_master_unless_told_otherwise() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    let error = client.read_from(ReadFrom::Replica).get::<String>("k").unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Unavailable, false));
    assert_eq!(error.to_string(), "no node may serve GET (read from Replica); nothing was sent");
}

#[test]
fn a_pipeline_goes_whole_to_one_node() {
    let servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    let read: (String, bool) = client.query_pipeline(redis::pipe().get("k").exists("k")).unwrap();
    assert_eq!(read, ("v".to_owned(), true));
    let together =
        |server: &redis_replicated::testing::Server| (server.calls("GET").unwrap(), server.calls("EXISTS").unwrap());
    assert_eq!(servers.replicas().iter().filter(|replica| together(replica) == (1, 1)).count(), 1);
    let written: (i64, String) = client.query_pipeline(redis::pipe().incr("n", 1).get("k")).unwrap();
    assert_eq!(written, (1, "v".to_owned()));
    let atomic: (i64, String) = client.query_pipeline(redis::pipe().atomic().incr("n", 1).get("k")).unwrap();
    assert_eq!(atomic, (2, "v".to_owned()));
    assert_eq!(servers.master().calls("GET").unwrap(), 2);
    assert_eq!(calls_on_replicas(&servers, "GET"), 1);
}

#[test]
fn strategies_are_swapped_in_the_builder() {
    let servers = set_with_key(3);
    for strategy in [Box::new(Random::seeded(1)) as Box<dyn Strategy>, Box::new(LeastOutstanding::seeded(1))] {
        servers.replicas().iter().for_each(|replica| replica.reset_counts().unwrap());
        let client = servers.client_builder().strategy(strategy).build().unwrap();
        (0..300).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        for replica in servers.replicas() {
            let share = replica.calls("GET").unwrap();
            assert!((60..=140).contains(&share), "{share} of 300");
        }
    }
}

#[derive(Debug)]
struct Foreign(&'static Node);

impl Strategy for Foreign {
    fn pick<'a>(&self, _: &Candidates<'a>) -> &'a Node {
        self.0
    }
}

#[test]
fn a_strategy_that_picks_no_candidate_does_no_harm() {
    let servers = set_with_key(1);
    let node: &'static Node = Box::leak(Box::new(Node::new("elsewhere:1".parse().unwrap()).with_role(Role::Master)));
    let client = servers.client_builder().strategy(Foreign(node)).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert_eq!(servers.replica(0).calls("GET").unwrap(), 1);
}

#[test]
fn explain_says_where_a_command_would_go_and_why() {
    let mut servers = set_with_key(2);
    let client = servers.client_builder().build().unwrap();
    let (master, replicas) = (servers.master().addr(), servers.replicas().iter().map(|replica| replica.addr()));
    let replicas: Vec<_> = replicas.collect();
    let read = client.explain(&redis::cmd("GET"));
    assert_eq!((read.classification(), read.candidates()), (Classification::Read, &replicas[..]));
    assert_eq!(read.excluded(), [(master.clone(), Exclusion::Fallback)]);
    let write = client.explain(&redis::cmd("SET"));
    assert_eq!((write.classification(), write.candidates()), (Classification::Write, &[master.clone()][..]));
    assert!(write.excluded().iter().all(|(_, why)| *why == Exclusion::Role) && write.excluded().len() == 2);
    let refused = client.explain(&redis::cmd("SELECT"));
    assert!(refused.candidates().is_empty() && refused.excluded().len() == 3);
    servers.replica_mut(0).stop();
    (0..4).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    let read = client.explain(&redis::cmd("GET"));
    assert_eq!(read.candidates(), &replicas[1..]);
    assert!(read.excluded().contains(&(replicas[0].clone(), Exclusion::Ejected)));
    let said = read.to_string();
    assert!(said.starts_with("GET is a Read (read from ReplicaPreferred): goes to 127.0.0.1:"), "{said}");
    assert!(said.contains(" (0 in flight, weight 1"), "what the strategy would see: {said}");
    assert_eq!(read.measures().len(), 1);
    let snapshot = client.snapshot();
    assert_eq!(snapshot.nodes.iter().map(|node| node.ejected).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(
        snapshot.nodes.iter().map(|node| node.role).collect::<Vec<_>>(),
        [Role::Master, Role::Replica, Role::Replica]
    );
    assert_eq!(snapshot.nodes[1].in_flight + snapshot.nodes[2].in_flight, 0);
}

#[test]
fn overrides_send_a_command_where_they_say() {
    let servers = set_with_key(1);
    let client = servers.client_builder().classify("get", Classification::Master).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert_eq!(servers.master().calls("GET").unwrap(), 1);
}

#[test]
fn the_read_only_first_line_of_a_script_sends_it_to_a_replica() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let script = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
    assert_eq!(client.query::<String>(redis::cmd("EVAL").arg(script).arg(1).arg("k")).unwrap(), "v");
    assert_eq!(servers.replica(0).calls("EVAL").unwrap(), 1);
    let script = "return redis.call('GET', KEYS[1])";
    assert_eq!(client.query::<String>(redis::cmd("EVAL").arg(script).arg(1).arg("k")).unwrap(), "v");
    assert_eq!(servers.master().calls("EVAL").unwrap(), 1);
}

#[test]
fn blocking_commands_extend_their_limits_by_their_own_argument() {
    let servers = ReplicaSet::start(0).unwrap();
    let short = Duration::from_millis(200);
    let client = servers.client_builder().response_timeout(short).deadline(2 * short).build().unwrap();
    let popped: Option<(String, String)> = client.query(redis::cmd("BLPOP").arg("empty").arg(0.6)).unwrap();
    assert_eq!(popped, None);
    let forever = client.clone();
    let waiting = std::thread::spawn(move || forever.query::<(String, String)>(redis::cmd("BLPOP").arg("list").arg(0)));
    crate::support::wait_until("BLPOP blocks", || {
        servers.master().info("clients", "blocked_clients").unwrap().as_deref() == Some("1")
    });
    // Longer than both limits: that they do not end the call is what is tested.
    std::thread::sleep(4 * short);
    client.rpush("list", "late").unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), ("list".to_owned(), "late".to_owned()));
    let read: Option<String> =
        client.query(redis::cmd("XREAD").arg("BLOCK").arg(300).arg("STREAMS").arg("s").arg("$")).unwrap();
    assert_eq!(read, None);
}

#[test]
fn handles_share_pools_and_carry_their_own_options() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let master = client.read_from(ReadFrom::Master).deadline(Duration::from_secs(1));
    assert_eq!(master.get::<String>("k").unwrap(), "v");
    assert_eq!((servers.master().calls("GET").unwrap(), servers.replica(0).calls("GET").unwrap()), (1, 0));
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert_eq!((servers.master().calls("GET").unwrap(), servers.replica(0).calls("GET").unwrap()), (1, 1));
    let error = client.deadline(Duration::from_millis(1)).get::<String>("k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkout);
}

#[test]
fn building_connects_to_nothing_and_dead_nodes_do_not_fail_it() {
    let client = ReplicatedClient::builder().master("127.0.0.1:1").replica("127.0.0.1:2").build().unwrap();
    assert_eq!(client.snapshot().nodes[0].connections_in_use, 0);
    let servers = ReplicaSet::start(0).unwrap();
    let before = servers.master().info("stats", "total_connections_received").unwrap();
    let client = servers.client_builder().monitor_interval(Duration::ZERO).build().unwrap();
    let after = servers.master().info("stats", "total_connections_received").unwrap();
    let count = |text: Option<String>| text.unwrap().parse::<u64>().unwrap();
    assert_eq!(count(after) - count(before), 1, "only the question itself connected");
    drop(client);
}

#[test]
fn reads_stay_even_when_writes_come_between() {
    let servers = set_with_key(2);
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    for _ in 0..50 {
        client.set("other", "x").unwrap();
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    let shares: Vec<u64> = servers.replicas().iter().map(|replica| replica.calls("GET").unwrap()).collect();
    assert_eq!(shares, [25, 25]);
}
