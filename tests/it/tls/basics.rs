//! Calls of all kinds over TLS.

use std::time::Duration;

use redis_replicated::testing::Setup;
use redis_replicated::{NodeAddr, ReadFrom, ReplicatedClient, SessionMode, Target};

use super::authority::Valid;
use super::{Stage, check_that_all_serve};
use crate::support::{addrs, configure, wait_until, wait_until_set_is};

#[test]
fn reads_and_writes_go_where_they_should() {
    let Some(stage) = Stage::new(2) else { return };
    let client = stage.client();
    client.set("a", "1").unwrap();
    assert_eq!(client.read_from(ReadFrom::Master).get::<String>("a").unwrap(), "1");
    for _ in 0..20 {
        assert_eq!(client.read_from(ReadFrom::Replica).get::<String>("k").unwrap(), "v");
    }
    assert!(stage.servers.replicas().iter().all(|replica| replica.calls("GET").unwrap() > 0));
    check_that_all_serve(&client);
}

#[test]
fn both_sides_show_certificates() {
    let mutual = |setup: Setup| setup.setting("tls-auth-clients", "yes").password("secret");
    let Some(stage) = Stage::with(1, mutual) else { return };
    let own = stage.authority.identity("client", "DNS:client", Valid::Now);
    let certificates = stage.authority.certificates(Some(&own));
    for protocol in ["", "?protocol=resp3"] {
        let url = |server: &redis_replicated::testing::Server| format!("{}{protocol}", server.url());
        let builder = ReplicatedClient::builder().master(url(stage.servers.master()));
        let builder = builder.replica(url(stage.servers.replica(0))).tls_certificates(certificates.clone());
        let client = builder.build().unwrap();
        client.hset("h", "field", 1).unwrap();
        let all: std::collections::HashMap<String, i64> = client.query(redis::cmd("HGETALL").arg("h")).unwrap();
        assert_eq!(all["field"], 1);
        let mut dedicated = client.dedicated(Target::Master).unwrap();
        assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut dedicated).unwrap(), "v");
        check_that_all_serve(&client);
    }
}

#[test]
fn large_values_go_both_ways() {
    let Some(stage) = Stage::new(0) else { return };
    let client = stage.client();
    for size in [16 << 10, 64 << 10, (64 << 10) + 1, 3_000_000] {
        let value: String = (0..size).map(|index| char::from(b'a' + (index % 23) as u8)).collect();
        client.set("large", &value).unwrap();
        assert!(client.get::<String>("large").unwrap() == value, "{size} bytes");
    }
    let values: Vec<String> = client.query(redis::cmd("MGET").arg(&["large", "k", "large"])).unwrap();
    assert_eq!(values.iter().map(String::len).collect::<Vec<_>>(), [3_000_000, 1, 3_000_000]);
}

#[test]
fn sessions_read_what_they_wrote_in_both_modes() {
    let Some(stage) = Stage::new(2) else { return };
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let client = stage.builder().session_mode(mode).build().unwrap();
        let session = client.session();
        for number in 1..200 {
            session.set("own", number).unwrap();
            assert_eq!(session.get::<i64>("own").unwrap(), number, "{mode:?}");
        }
        check_that_all_serve(&client);
    }
    let from_replicas: u64 = stage.servers.replicas().iter().map(|replica| replica.calls("GET").unwrap()).sum();
    assert!(from_replicas > 0);
}

#[test]
fn dedicated_connections_speak_tls() {
    let Some(stage) = Stage::new(1) else { return };
    let client = stage.client();
    for (target, server) in [(Target::Master, stage.servers.master()), (Target::Replica, stage.servers.replica(0))] {
        let mut connection = client.dedicated(target).unwrap();
        let id: String = redis::cmd("CLIENT").arg("INFO").query(&mut connection).unwrap();
        let addr = format!("laddr={}", server.addr());
        assert!(id.contains(&addr), "{id} is not of {addr}");
    }
}

#[test]
fn found_nodes_are_reached_as_the_seed_is() {
    let Some(stage) = Stage::new(2) else { return };
    let seed = stage.servers.replica(0).url();
    let builder = ReplicatedClient::builder().discover([seed]);
    let client = builder.tls_certificates(stage.authority.certificates(None)).build().unwrap();
    wait_until_set_is(&client, &stage.servers.master().addr(), &addrs(stage.servers.replicas()));
    client.set("a", 1).unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn the_name_that_map_address_gives_is_the_one_that_is_checked() {
    let Some(stage) = Stage::new(1) else { return };
    // Good for the name only, and not for the number that servers tell of each other.
    let named = stage.authority.identity("named", "DNS:localhost", Valid::Now);
    stage.servers.servers().iter().for_each(|server| super::show(server, &named));
    let localhost = |addr: &NodeAddr| NodeAddr::tcp("localhost", addr.port().unwrap());
    let seed = format!("rediss://{}", localhost(&stage.servers.master().addr()));
    let builder = || {
        let builder = ReplicatedClient::builder().discover([&seed]).deadline(Duration::from_secs(10));
        builder.tls_certificates(stage.authority.certificates(None))
    };
    let client = builder().map_address(localhost).build().unwrap();
    wait_until_set_is(
        &client,
        &localhost(&stage.servers.master().addr()),
        &[localhost(&stage.servers.replica(0).addr())],
    );
    assert_eq!(client.read_from(ReadFrom::Replica).get::<String>("k").unwrap(), "v");
    check_that_all_serve(&client);
}

#[test]
fn a_server_that_takes_no_more_clients_is_not_ejected() {
    let Some(stage) = Stage::new(0) else { return };
    let client = stage.builder().pool_size(4).deadline(Duration::from_secs(5)).build().unwrap();
    client.set("a", 1).unwrap();
    wait_until("the monitor has a connection", || client.snapshot().nodes[0].replication.is_some());
    // Those that are open stay; there is no room for another.
    configure(stage.servers.master(), "maxclients", 1);
    std::thread::scope(|scope| {
        let read = || (0..50).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
        (0..8).for_each(|_| drop(scope.spawn(read)));
    });
    assert!(!client.snapshot().nodes[0].ejected, "{}", client.snapshot());
}

#[test]
fn connections_that_were_closed_while_idle_are_replaced() {
    let Some(stage) = Stage::new(1) else { return };
    let client = stage.client();
    for _ in 0..20 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        for server in stage.servers.servers() {
            let mut kill = redis::cmd("CLIENT");
            kill.arg("KILL").arg("TYPE").arg("normal").exec(&mut server.connection().unwrap()).unwrap();
        }
    }
    // The monitor's own may be among them while it shakes hands: that it looks again.
    let serves = || client.snapshot().nodes.iter().all(|node| !node.ejected);
    wait_until("all serve", serves);
}
