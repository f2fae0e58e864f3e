//! The typed helpers, `dedicated` and the options of connections.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use redis::IntegerReplyOrNoOp;
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Endpoint, ErrorKind, ReadFrom, ReplicatedClient, Target};

/// A client that reads what it has just written.
fn client(servers: &ReplicaSet) -> ReplicatedClient {
    servers.client_builder().read_from(ReadFrom::Master).build().unwrap()
}

#[test]
fn strings_and_keys() {
    let servers = ReplicaSet::start(0).unwrap();
    let c = client(&servers);
    c.set("a", "1").unwrap();
    assert_eq!(c.get::<Option<i64>>("a").unwrap(), Some(1));
    assert_eq!(c.get::<Option<i64>>("none").unwrap(), None);
    c.set_ex("b", "x", 100).unwrap();
    assert_eq!(c.ttl("b").unwrap(), IntegerReplyOrNoOp::IntegerReply(100));
    assert!(c.persist("b").unwrap());
    assert!(c.expire("b", 50).unwrap());
    assert!(!c.set_nx("a", "2").unwrap());
    assert_eq!((c.incr("a").unwrap(), c.decr("a").unwrap(), c.incr_by("a", 41).unwrap()), (2, 1, 42));
    assert_eq!((c.append("b", "yz").unwrap(), c.strlen("b").unwrap()), (3, 3));
    c.mset(&[("m", "1"), ("n", "2")]).unwrap();
    assert_eq!(c.mget::<Vec<Option<i64>>>(&["m", "n", "o"]).unwrap(), [Some(1), Some(2), None]);
    assert_eq!(c.get_del::<String>("m").unwrap(), "1");
    assert!(!c.exists("m").unwrap());
    assert_eq!((c.del(&["a", "m"]).unwrap(), c.unlink("b").unwrap()), (1, 1));
    assert_eq!((c.ping().unwrap(), c.publish("channel", "hello").unwrap()), ("PONG".to_owned(), 0));
}

#[test]
fn hashes_lists_sets_and_sorted_sets() {
    let servers = ReplicaSet::start(0).unwrap();
    let c = client(&servers);
    assert_eq!(c.hset("h", "f", 1).unwrap(), 1);
    c.hset_multiple("h", &[("g", 2), ("i", 3)]).unwrap();
    assert_eq!(c.hget::<i64>("h", "g").unwrap(), 2);
    assert_eq!((c.hincr_by("h", "f", 4).unwrap(), c.hlen("h").unwrap()), (5, 3));
    assert_eq!((c.hexists("h", "f").unwrap(), c.hdel("h", &["f", "x"]).unwrap()), (true, 1));
    assert_eq!(c.hget_all::<HashMap<String, i64>>("h").unwrap(), HashMap::from([("g".into(), 2), ("i".into(), 3)]));
    assert_eq!((c.rpush("l", &["b", "c"]).unwrap(), c.lpush("l", "a").unwrap(), c.llen("l").unwrap()), (2, 3, 3));
    assert_eq!(c.lrange::<Vec<String>>("l", 0, -1).unwrap(), ["a", "b", "c"]);
    assert_eq!(c.lpop::<String>("l", None).unwrap(), "a");
    assert_eq!(c.rpop::<Vec<String>>("l", std::num::NonZeroUsize::new(2)).unwrap(), ["c", "b"]);
    assert_eq!((c.sadd("s", &["a", "b"]).unwrap(), c.srem("s", "a").unwrap(), c.scard("s").unwrap()), (2, 1, 1));
    assert!(c.sismember("s", "b").unwrap());
    assert_eq!(c.smembers::<HashSet<String>>("s").unwrap(), HashSet::from(["b".to_owned()]));
    assert_eq!((c.zadd("z", "m", 1.5).unwrap(), c.zadd("z", "n", 2).unwrap(), c.zcard("z").unwrap()), (1, 1, 2));
    assert_eq!((c.zscore("z", "m").unwrap(), c.zscore("z", "x").unwrap()), (Some(1.5), None));
    assert_eq!(c.zrange::<Vec<String>>("z", 0, 0).unwrap(), ["m"]);
    assert_eq!(c.zrange_with_scores::<Vec<(String, f64)>>("z", 0, -1).unwrap(), [("m".into(), 1.5), ("n".into(), 2.0)]);
    assert_eq!(c.zrem("z", &["m", "n"]).unwrap(), 2);
    c.set_json("j", &[1, 2, 3]).unwrap();
    assert_eq!(c.get_json::<Vec<u8>>("j").unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(c.get_json::<Vec<u8>>("none").unwrap(), None);
    assert_eq!(c.get_json::<String>("j").unwrap_err().kind(), ErrorKind::Conversion);
}

#[test]
fn a_dedicated_connection_leads_where_it_should() {
    let servers = ReplicaSet::start(1).unwrap();
    let client = servers.client_builder().client_name("tester").build().unwrap();
    let port = |connection: &mut redis::Connection| -> String {
        let (_, port): (String, String) = redis::cmd("CONFIG").arg("GET").arg("port").query(connection).unwrap();
        format!("127.0.0.1:{port}")
    };
    let mut master = client.dedicated(Target::Master).unwrap();
    assert_eq!(port(&mut master), servers.master().addr().to_string());
    let mut replica = client.dedicated(Target::Replica).unwrap();
    assert_eq!(port(&mut replica), servers.replica(0).addr().to_string());
    let mut named = client.dedicated(Target::Node(servers.replica(0).addr())).unwrap();
    assert_eq!(redis::cmd("CLIENT").arg("GETNAME").query::<String>(&mut named).unwrap(), "tester");
    let mut messages = named.as_pubsub();
    messages.subscribe("news").unwrap();
    crate::support::wait_until("the message arrives", || {
        client.publish("news", "hello").unwrap();
        messages.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        messages.get_message().is_ok_and(|message| message.get_payload_bytes() == b"hello")
    });
    let unknown = client.dedicated(Target::Node("127.0.0.1:1".parse().unwrap())).err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::Unavailable);
}

#[test]
fn pooled_connections_log_in_select_and_name_themselves_in_both_protocols() {
    let servers = ReplicaSet::setup().replicas(1).password("sec-ret").start().unwrap();
    for protocol in ["resp2", "resp3"] {
        let url = |server: &redis_replicated::testing::Server| format!("{}/3?protocol={protocol}", server.url());
        let builder = ReplicatedClient::builder().master(url(servers.master())).replica(url(servers.replica(0)));
        let client = builder.client_name("pooled").build().unwrap();
        client.set("where", protocol).unwrap();
        servers.wait_until_in_sync().unwrap();
        assert_eq!(client.get::<String>("where").unwrap(), protocol);
        assert_eq!(redis::ConnectionLike::get_db(&client.connection()), 3);
        let mut direct = servers.replica(0).connection().unwrap();
        redis::cmd("SELECT").arg(3).exec(&mut direct).unwrap();
        assert_eq!(redis::cmd("GET").arg("where").query::<String>(&mut direct).unwrap(), protocol);
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut direct).unwrap();
        let resp = if protocol == "resp3" { "resp=3" } else { "resp=2" };
        let named = clients.lines().find(|line| line.contains("name=pooled") && line.contains(resp));
        assert!(named.is_some_and(|line| line.contains("db=3")), "{clients}");
    }
}

#[test]
fn unix_sockets_work() {
    let folder = std::env::temp_dir().join(format!("redis-replicated-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("s");
    let servers = ReplicaSet::setup().setting("unixsocket", path.to_str().unwrap()).start().unwrap();
    let client =
        ReplicatedClient::builder().master(Endpoint::from(format!("unix://{}", path.display()))).build().unwrap();
    client.set("k", "v").unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    assert_eq!(client.snapshot().nodes[0].addr.to_string(), format!("unix:{}", path.display()));
    drop(servers);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_query_takes_a_command_by_value_and_by_reference() {
    let servers = ReplicaSet::start(0).unwrap();
    let c = client(&servers);
    let mut set = redis::cmd("SET");
    set.arg("k").arg(1);
    c.query::<()>(&set).unwrap();
    c.query::<()>(&mut set).unwrap();
    c.query::<()>(set).unwrap();
    assert_eq!(c.query::<u8>(redis::Cmd::get("k")).unwrap(), 1);
    assert_eq!(c.query::<u8>(redis::cmd("GET").arg("k")).unwrap(), 1);
}

#[test]
fn an_error_of_the_redis_crate_becomes_one_of_this_crate() {
    fn push(client: &ReplicatedClient, key: &str) -> redis_replicated::Result<usize> {
        Ok(redis::TypedCommands::rpush(&mut client.connection(), key, "a")?)
    }
    let mut servers = ReplicaSet::start(0).unwrap();
    let c = servers.client_builder().deadline(std::time::Duration::from_millis(200)).build().unwrap();
    c.set("text", 1).unwrap();
    assert_eq!(push(&c, "list").unwrap(), 1);
    let wrong = push(&c, "text").unwrap_err();
    assert_eq!((wrong.kind(), wrong.may_have_executed()), (ErrorKind::Server, false), "{wrong}");
    let cursor = redis::cmd("SCAN").arg(17).query::<()>(&mut c.connection()).unwrap_err();
    assert_eq!(redis_replicated::Error::from(cursor).kind(), ErrorKind::Refused);
    servers.master_mut().stop();
    let lost = push(&c, "list").unwrap_err();
    assert!(lost.node().is_some() || lost.kind() == ErrorKind::Unavailable, "{lost}");
}

#[test]
fn a_handle_past_its_end_sends_nothing() {
    let servers = ReplicaSet::start(1).unwrap();
    let client = servers.client_builder().build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    let soon = client.until(Instant::now() + Duration::from_secs(600));
    assert_eq!(soon.get::<String>("k").unwrap(), "v");
    // The earliest of several ends holds, whichever was set first, and a deadline does not move it.
    let past = Instant::now();
    for handle in [
        client.until(past),
        soon.until(past),
        client.until(past).until(past + Duration::from_secs(600)),
        client.until(past).deadline(Duration::from_secs(600)),
        client.until(past).session(),
        client.session().until(past),
    ] {
        let before = servers.servers().iter().map(|server| server.calls("GET").unwrap()).sum::<u64>();
        let mut watching = handle.connection();
        let pipeline = redis::pipe().get("k").to_owned();
        for error in [
            handle.get::<String>("k").unwrap_err(),
            handle.set("k", "w").unwrap_err(),
            handle.query_pipeline::<(String,)>(&pipeline).unwrap_err(),
            handle.scan::<String>().next().unwrap().unwrap_err(),
            redis::cmd("WATCH").arg("k").exec(&mut watching).unwrap_err().into(),
            handle.dedicated(Target::Master).err().unwrap(),
        ] {
            assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Checkout, false), "{error}");
        }
        let after = servers.servers().iter().map(|server| server.calls("GET").unwrap()).sum::<u64>();
        assert_eq!(after, before);
    }
    assert_eq!(client.get::<String>("k").unwrap(), "v", "other handles have no end");
}

#[test]
fn an_end_bounds_several_calls_together() {
    let servers = ReplicaSet::start(0).unwrap();
    let client = servers.client_builder().deadline(Duration::from_secs(5)).build().unwrap();
    let client = client.until(Instant::now() + Duration::from_secs(600));
    client.set("k", "v").unwrap();
    let handle = client.until(Instant::now() + Duration::from_millis(300));
    servers.master().pause().unwrap();
    let kinds: Vec<ErrorKind> = std::iter::repeat_with(|| handle.set("k", "w").unwrap_err().kind()).take(3).collect();
    servers.master().resume().unwrap();
    // With 5 s each, or 300 ms each, the later ones would be sent too.
    assert_eq!(kinds[1..], [ErrorKind::Checkout, ErrorKind::Checkout], "{kinds:?}");
}

#[test]
fn a_client_may_cross_a_panic() {
    let servers = ReplicaSet::start(0).unwrap();
    let c = client(&servers);
    c.set("k", 1).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        c.get::<u8>("k").unwrap();
        panic!("of the application")
    });
    assert!(panicked.is_err());
    assert_eq!(c.get::<u8>("k").unwrap(), 1);
}

#[test]
fn an_address_is_a_target() {
    let servers = ReplicaSet::start(1).unwrap();
    let addr = servers.replica(0).addr();
    assert_eq!(Target::from(addr.clone()), Target::Node(addr.clone()));
    let client = servers.client_builder().build().unwrap();
    let mut connection = client.dedicated(addr.into()).unwrap();
    assert_eq!(redis::cmd("ROLE").query::<Vec<redis::Value>>(&mut connection).unwrap().len(), 5);
}
