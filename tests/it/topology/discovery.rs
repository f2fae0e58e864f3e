//! `discover`: one address is enough to find a set, and what changes afterwards is followed.

use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{FaultProxy, ReplicaSet, Server, free_port};
use redis_replicated::{Builder, NodeAddr, ReadFrom, ReplicatedClient};

use crate::support::{addrs, follow, places, promote, set_with_key, wait_until, wait_until_set_is};

const LONG: Duration = Duration::from_secs(20);

fn discover<const N: usize>(seeds: [String; N]) -> Builder {
    ReplicatedClient::builder().discover(seeds).strategy(RoundRobin::new()).deadline(LONG)
}

fn wait_until_all_are_found(client: &ReplicatedClient, servers: &ReplicaSet) {
    wait_until_set_is(client, &servers.master().addr(), &addrs(servers.replicas()));
}

/// Reads are spread over the replicas, writes go to the master.
fn check_calls(client: &ReplicatedClient, servers: &ReplicaSet) {
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    wait_until("all replicas serve alike", || {
        servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
        let count = 10 * servers.replicas().len();
        (0..count).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        let calls = |server: &Server| server.calls("GET").unwrap();
        servers.replicas().iter().all(|replica| calls(replica) == 10) && calls(servers.master()) == 0
    });
}

#[test]
fn the_address_of_one_replica_is_enough() {
    let servers = set_with_key(2);
    for interval in [Duration::from_secs(1), Duration::ZERO] {
        let client = discover([servers.replica(1).url()]).monitor_interval(interval).build().unwrap();
        client.set("first", "call").unwrap();
        wait_until_all_are_found(&client, &servers);
        check_calls(&client, &servers);
    }
}

#[test]
fn found_nodes_inherit_the_password_of_the_seed() {
    let servers = ReplicaSet::setup().replicas(2).password("s3cret !").start().unwrap();
    // Not a URL: the password has spaces.
    let login = redis::RedisConnectionInfo::default().set_password("s3cret !");
    let at = |server: &Server| {
        let (host, port) = ("127.0.0.1".to_owned(), server.addr().port().unwrap());
        redis::IntoConnectionInfo::into_connection_info((host, port)).unwrap().set_redis_settings(login.clone())
    };
    let inherited = ReplicatedClient::builder().discover([at(servers.replica(0))]).build().unwrap();
    let said = ReplicatedClient::builder().discover([servers.replica(0).addr()]).login(login.clone()).build().unwrap();
    for client in [inherited, said] {
        wait_until_all_are_found(&client, &servers);
        check_calls(&client, &servers);
        assert!(!format!("{client:?}").contains("s3cret"));
    }
}

#[test]
fn a_dead_seed_beside_a_live_one_does_no_harm() {
    let servers = set_with_key(2);
    let dead = format!("127.0.0.1:{}", free_port().unwrap());
    let client = discover([dead, servers.replica(0).url()]).build().unwrap();
    wait_until_all_are_found(&client, &servers);
    check_calls(&client, &servers);
}

#[test]
fn two_names_of_one_process_are_one_node() {
    let servers = set_with_key(2);
    let named = |server: &Server| NodeAddr::tcp("localhost", server.addr().port().unwrap());
    let seeds: Vec<NodeAddr> = servers.servers().iter().map(named).collect();
    let client = ReplicatedClient::builder().discover(&seeds).build().unwrap();
    let one = ReplicatedClient::builder().discover([&seeds[1]]).build().unwrap();
    wait_until_set_is(&client, &seeds[0], &seeds[1..]);
    let replicas = [seeds[1].clone(), servers.replica(1).addr()];
    wait_until_set_is(&one, &servers.master().addr(), &replicas);
    for _ in 0..3 {
        client.refresh().unwrap();
        one.refresh().unwrap();
        assert_eq!(client.snapshot().nodes.len(), 3, "{}", client.snapshot());
        assert_eq!(one.snapshot().nodes.len(), 3, "{}", one.snapshot());
    }
    check_calls(&client, &servers);
    check_calls(&one, &servers);
}

#[test]
fn a_replica_that_comes_later_is_found_and_a_killed_one_is_avoided() {
    let mut servers = set_with_key(1);
    let mut late = ReplicaSet::start(0).unwrap();
    let client = discover([servers.master().url()]).build().unwrap();
    wait_until_all_are_found(&client, &servers);
    follow(late.master(), servers.master());
    wait_until_set_is(&client, &servers.master().addr(), &[servers.replica(0).addr(), late.master().addr()]);
    let gone = late.master().addr();
    late.master_mut().stop();
    wait_until("the killed one is out", || {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        client.snapshot().nodes.iter().all(|node| node.addr != gone || node.ejected)
    });
    // The master forgets it at once, the client after half a minute: it is the same node when it comes back.
    late.master_mut().restart().unwrap();
    follow(late.master(), servers.master());
    wait_until("it is back", || client.snapshot().nodes.iter().any(|node| node.addr == gone && !node.ejected));
    servers.replica_mut(0).stop();
    late.master_mut().stop();
    wait_until("both are out", || client.snapshot().nodes.iter().filter(|node| node.ejected).count() == 2);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn a_failover_by_hand_is_followed() {
    for interval in [Duration::from_secs(1), Duration::ZERO] {
        let mut servers = set_with_key(2);
        let client = discover([servers.replica(1).url()]).monitor_interval(interval).build().unwrap();
        client.set("k", "before").unwrap();
        wait_until_all_are_found(&client, &servers);
        servers.wait_until_in_sync().unwrap();
        servers.master_mut().stop();
        promote(servers.replica(0));
        follow(servers.replica(1), servers.replica(0));
        // The first one may meet the end of the old master's connections, and is in doubt then.
        wait_until("a write succeeds", || client.set("k", "after").is_ok());
        let (master, replicas) = places(&client);
        assert_eq!(master, Some(servers.replica(0).addr()), "{replicas:?}");
        wait_until("the other replica follows", || {
            client.read_from(ReadFrom::Replica).get::<String>("k").is_ok_and(|value| value == "after")
        });
        // Back, empty, and claiming to be a master that nobody follows.
        servers.master_mut().restart().unwrap();
        for _ in 0..3 {
            client.refresh().unwrap();
            client.set("k", "later").unwrap();
        }
        assert_eq!(servers.master().calls("SET").unwrap(), 0, "{}", client.snapshot());
    }
}

#[test]
fn calls_work_as_soon_as_nodes_appear() {
    for interval in [Duration::from_secs(1), Duration::ZERO] {
        let mut servers = set_with_key(1);
        let seeds = [servers.master().url(), servers.replica(0).url()];
        servers.master_mut().stop();
        servers.replica_mut(0).stop();
        let start = Instant::now();
        let client = discover(seeds).monitor_interval(interval).build().unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "build() waits: {:?}", start.elapsed());
        let (writer, reader) = (client.clone(), client.clone());
        let write = thread::spawn(move || writer.set("k", "v"));
        let read = thread::spawn(move || reader.get::<Option<String>>("none"));
        let short = client.deadline(Duration::from_millis(300));
        assert!(!short.set("k", "v").unwrap_err().may_have_executed());
        servers.master_mut().restart().unwrap();
        write.join().unwrap().unwrap();
        assert_eq!(read.join().unwrap().unwrap(), None);
        servers.replica_mut(0).restart().unwrap();
        wait_until("the replica is found", || {
            client.refresh().unwrap();
            places(&client).1 == addrs(servers.replicas())
        });
    }
}

#[test]
fn writes_wait_for_a_master_that_was_not_there_at_the_start() {
    for interval in [Duration::from_secs(1), Duration::ZERO] {
        let mut servers = set_with_key(1);
        servers.master_mut().stop();
        let client = discover([servers.replica(0).url()]).monitor_interval(interval).build().unwrap();
        assert_eq!(client.get::<String>("k").unwrap(), "v", "reads go on");
        let writer = client.clone();
        let write = thread::spawn(move || writer.set("k", "v"));
        wait_until("the write waits", || client.snapshot().settled);
        servers.master_mut().restart().unwrap();
        write.join().unwrap().unwrap();
        assert_eq!(servers.master().calls("SET").unwrap(), 1);
    }
}

#[test]
fn addresses_that_lead_nowhere_are_translated() {
    let setup = ReplicaSet::setup().replicas(2).setting("replica-announce-ip", "192.0.2.1");
    let servers = setup.start().unwrap();
    let proxies: Vec<FaultProxy> =
        servers.servers().iter().map(|server| FaultProxy::start(&server.addr()).unwrap()).collect();
    let table: Vec<(Option<u16>, NodeAddr)> =
        servers.servers().iter().zip(&proxies).map(|(server, proxy)| (server.addr().port(), proxy.addr())).collect();
    let map = move |addr: &NodeAddr| {
        let known = table.iter().find(|(port, _)| *port == addr.port());
        known.map_or_else(|| addr.clone(), |(_, proxy)| proxy.clone())
    };
    let client = discover([proxies[1].url()]).map_address(map).build().unwrap();
    wait_until_set_is(&client, &proxies[0].addr(), &[proxies[1].addr(), proxies[2].addr()]);
    check_calls(&client, &servers);
}

#[test]
fn a_found_address_that_leads_nowhere_takes_no_place() {
    let servers = ReplicaSet::setup().replicas(1).setting("replica-announce-ip", "192.0.2.1").start().unwrap();
    // What the master says of its replica leads nowhere; the seed does.
    let client = discover([servers.replica(0).url()]).build().unwrap();
    wait_until_all_are_found(&client, &servers);
    client.refresh().unwrap();
    assert_eq!(places(&client).1, addrs(servers.replicas()));
    check_calls(&client, &servers);
}

#[test]
fn what_is_wrong_with_the_seeds_is_said() {
    let servers = ReplicaSet::setup().password("secret").start().unwrap();
    let seed = servers.master().addr();
    let client = ReplicatedClient::builder().discover([&seed]).build().unwrap();
    let error = client.refresh().unwrap_err();
    assert_eq!(error.kind(), redis_replicated::ErrorKind::Topology);
    assert!(error.as_redis().is_some_and(|cause| cause.code() == Some("NOAUTH")), "{error:?}");
}
