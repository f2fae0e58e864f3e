//! Which node serves each typed helper, and that a value of another type is an error of the server.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use redis::streams::{StreamAddOptions, StreamReadOptions};
use redis::{ExistenceCheck, Expiry, IntegerReplyOrNoOp, Script, SetExpiry, SetOptions};
use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient, Result};

/// A master with one replica that hold a text, a hash, a sorted set and a stream.
struct Scene {
    servers: ReplicaSet,
    client: ReplicatedClient,
}

impl Scene {
    fn set() -> Self {
        let servers = ReplicaSet::start(1).unwrap();
        let client = servers.client_builder().build().unwrap();
        client.set_ex("text", "v", 1000).unwrap();
        client.hset_multiple("hash", &[("a", 1), ("b", 2)]).unwrap();
        (1..=3).for_each(|score| _ = client.zadd("sorted", format!("m{score}"), score).unwrap());
        client.xadd("stream", "1-1", &[("f", "v")]).unwrap();
        servers.wait_until_in_sync().unwrap();
        Self { servers, client }
    }

    /// Checks that one replica alone serves a call, and what it returns.
    #[track_caller]
    fn reads<T: Debug + PartialEq>(&self, command: &str, expected: T, call: impl Fn(&ReplicatedClient) -> Result<T>) {
        let replica = self.servers.replica(0);
        let before = (self.servers.master().calls(command).unwrap(), replica.calls(command).unwrap());
        assert_eq!(call(&self.client).unwrap(), expected, "{command}");
        let after = (self.servers.master().calls(command).unwrap(), replica.calls(command).unwrap());
        assert_eq!(after, (before.0, before.1 + 1), "{command}: calls on the master and on the replica");
    }

    /// Checks that the master serves a call, and what it returns.
    #[track_caller]
    fn writes<T: Debug + PartialEq>(&self, command: &str, expected: T, call: impl Fn(&ReplicatedClient) -> Result<T>) {
        let before = self.servers.master().calls(command).unwrap();
        assert_eq!(call(&self.client).unwrap(), expected, "{command}");
        assert_eq!(self.servers.master().calls(command).unwrap(), before + 1, "{command}: calls on the master");
        self.servers.wait_until_in_sync().unwrap();
    }
}

/// Checks that a call fails because of the type of the value, and that nothing was executed.
#[track_caller]
fn refused<T: Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error}");
    assert!(error.to_string().contains("WRONGTYPE") && error.node().is_some(), "{error}");
}

#[test]
fn strings_and_keys() {
    let scene = Scene::set();
    let once = || SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::EX(100));
    scene.writes("SET", true, |c| c.set_options("lock", "a", once()));
    scene.writes("SET", false, |c| c.set_options("lock", "b", once()));
    scene.writes("SET", Some("a".to_owned()), |c| c.set_options("lock", "c", SetOptions::default().get(true)));
    scene.writes("GETEX", Some("c".to_owned()), |c| c.get_ex("lock", Expiry::EX(10)));
    scene.writes("GETSET", Some("c".to_owned()), |c| c.getset("lock", "d"));
    scene.writes("PEXPIRE", true, |c| c.pexpire("text", Duration::from_secs(1000)));
    scene.writes("PEXPIRE", false, |c| c.pexpire("none", Duration::from_secs(1000)));
    scene.writes("EXPIREAT", true, |c| c.expire_at("text", 4_000_000_000));
    scene.reads("EXPIRETIME", IntegerReplyOrNoOp::IntegerReply(4_000_000_000), |c| c.expire_time("text"));
    scene.writes("PEXPIREAT", true, |c| c.pexpire_at("text", 4_000_000_000_001));
    let millis = IntegerReplyOrNoOp::IntegerReply(4_000_000_000_001);
    scene.reads("PEXPIRETIME", millis, |c| c.pexpire_time("text"));
    scene.reads("PTTL", true, |c| {
        Ok(matches!(c.pttl("text")?, IntegerReplyOrNoOp::IntegerReply(left) if left > 1_000_000_000))
    });
    scene.reads("PTTL", IntegerReplyOrNoOp::NotExists, |c| c.pttl("none"));
    scene.writes("SET", (), |c| c.set_json_ex("json", &[1, 2], Duration::from_nanos(99_999_000_001)));
    scene.reads("GET", Some(vec![1, 2]), |c| c.get_json::<Vec<u8>>("json"));
    scene.reads("TTL", true, |c| {
        Ok(matches!(c.ttl("json")?, IntegerReplyOrNoOp::IntegerReply(left) if (1..=100).contains(&left)))
    });
    refused(scene.client.get_ex::<String>("hash", Expiry::EX(10)));
    refused(scene.client.getset::<String>("hash", 1));
    refused(scene.client.set_options::<String>("hash", 1, SetOptions::default().get(true)));
    let zero = scene.client.set_json_ex("json", &1, Duration::ZERO).unwrap_err();
    assert_eq!((zero.kind(), zero.may_have_executed()), (ErrorKind::Server, false));
}

#[test]
fn hashes_and_sorted_sets() {
    let scene = Scene::set();
    scene.reads("HMGET", (1, None), |c| c.hmget::<(u8, Option<u8>)>("hash", &["a", "x"]));
    scene.reads("HGETALL", HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]), |c| c.hgetall("hash"));
    scene.reads("HKEYS", vec!["a".to_owned(), "b".to_owned()], |c| c.hkeys("hash"));
    scene.reads("HVALS", vec![1, 2], |c| c.hvals("hash"));
    scene.writes("HINCRBY", 4, |c| c.hincr("hash", "a", 3));
    scene.writes("HINCRBYFLOAT", 2.5, |c| c.hincr("hash", "b", 0.5));
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let scores = |all: &[(&str, f64)]| all.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect::<Vec<_>>();
    scene.reads("ZCOUNT", 2, |c| c.zcount("sorted", 2, "+inf"));
    scene.reads("ZRANK", Some(0), |c| c.zrank("sorted", "m1"));
    scene.reads("ZREVRANK", Some(2), |c| c.zrevrank("sorted", "m1"));
    scene.reads("ZREVRANK", None, |c| c.zrevrank("sorted", "none"));
    scene.reads("ZRANGE", scores(&[("m1", 1.0)]), |c| c.zrange_withscores("sorted", 0, 0));
    scene.reads("ZREVRANGE", names(&["m3", "m2"]), |c| c.zrevrange("sorted", 0, 1));
    scene.reads("ZREVRANGE", scores(&[("m3", 3.0)]), |c| c.zrevrange_withscores("sorted", 0, 0));
    scene.reads("ZRANGEBYSCORE", names(&["m1", "m2"]), |c| c.zrangebyscore("sorted", "-inf", 2));
    scene.reads("ZRANGEBYSCORE", scores(&[("m2", 2.0)]), |c| c.zrangebyscore_withscores("sorted", 2, "(3"));
    scene.reads("ZRANGEBYSCORE", names(&["m2"]), |c| c.zrangebyscore_limit("sorted", 1, 3, 1, 1));
    scene.writes("ZINCRBY", 3.5, |c| c.zincr("sorted", "m1", 2.5));
    let c = &scene.client;
    refused(c.hmget::<Vec<String>>("text", "a"));
    refused(c.hgetall::<HashMap<String, String>>("text"));
    refused(c.hkeys::<Vec<String>>("text"));
    refused(c.hvals::<Vec<String>>("text"));
    refused(c.hincr::<i64>("text", "a", 1));
    refused(c.zincr("text", "m", 1));
    refused(c.zcount("text", 1, 2));
    refused(c.zrank("text", "m"));
    refused(c.zrevrank("text", "m"));
    refused(c.zrevrange::<Vec<String>>("text", 0, -1));
    refused(c.zrangebyscore::<Vec<String>>("text", 0, 1));
}

#[test]
fn streams() {
    let scene = Scene::set();
    let fields = [("f", "w")];
    scene.writes("XADD", "2-1".to_owned(), |c| c.xadd("stream", "2-1", &fields));
    let existing = StreamAddOptions::default().nomkstream();
    scene.writes("XADD", None, |c| c.xadd_options("none", "*", &fields, &existing));
    scene.reads("XLEN", 2, |c| c.xlen("stream"));
    let ids = |reply: redis::streams::StreamRangeReply| reply.ids.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
    scene.reads("XRANGE", vec!["1-1".to_owned(), "2-1".to_owned()], |c| c.xrange("stream", "-", "+").map(ids));
    scene.reads("XRANGE", vec!["1-1".to_owned()], |c| c.xrange_count("stream", "-", "+", 1).map(ids));
    let first = |reply: Option<redis::streams::StreamReadReply>| reply.map(|reply| reply.keys[0].ids[0].id.clone());
    scene.reads("XREAD", Some("2-1".to_owned()), |c| c.xread(&["stream"], &["1-1"]).map(first));
    scene.reads("XREAD", None, |c| c.xread(&["stream"], &["2-1"]).map(first));
    let soon = StreamReadOptions::default().count(1).block(1);
    scene.reads("XREAD", None, |c| c.xread_options(&["stream"], &["2-1"], &soon).map(first));
    scene.writes("XGROUP|CREATE", (), |c| c.xgroup_create_mkstream("stream", "group", "0"));
    let read = |c: &ReplicatedClient| c.xreadgroup("group", "one", &["stream"], &[">"]).map(first);
    scene.writes("XREADGROUP", Some("1-1".to_owned()), read);
    scene.writes("XREADGROUP", None, read);
    let again = StreamReadOptions::default().group("group", "one").count(1);
    scene.writes("XREADGROUP", Some("2-1".to_owned()), |c| c.xread_options(&["stream"], &["1-1"], &again).map(first));
    scene.writes("XACK", 1, |c| c.xack("stream", "group", &["1-1", "9-9"]));
    let c = &scene.client;
    refused(c.xadd("text", "*", &fields));
    refused(c.xlen("text"));
    refused(c.xrange("text", "-", "+"));
    refused(c.xread(&["text"], &["0"]));
    refused(c.xack("text", "group", &["1-1"]));
    refused(c.xgroup_create_mkstream("text", "group", "0"));
}

fn calls(server: &Server, commands: [&str; 2]) -> [u64; 2] {
    commands.map(|command| server.calls(command).unwrap())
}

#[test]
fn a_read_only_script_stays_on_the_replica_that_does_not_know_it() {
    let servers = ReplicaSet::start(2).unwrap();
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    client.set("k", "value").unwrap();
    servers.wait_until_in_sync().unwrap();
    let script = Script::new("return redis.call('GET', KEYS[1]) .. ARGV[1]");
    for _ in 0..2 {
        // Each replica gets its turn.
        for _ in servers.replicas() {
            assert_eq!(client.eval_ro::<String>(script.key("k").arg("!")).unwrap(), "value!");
        }
    }
    for replica in servers.replicas() {
        assert_eq!(calls(replica, ["EVALSHA_RO", "EVAL_RO"]), [2, 1]);
    }
    assert_eq!(calls(servers.master(), ["EVALSHA_RO", "EVAL_RO"]), [0, 0]);
    // Known on the master alone: the replica answers all the same, and not the master.
    let other = Script::new("return 7");
    redis::cmd("SCRIPT").arg("LOAD").arg("return 7").exec(&mut servers.master().connection().unwrap()).unwrap();
    assert_eq!(client.eval_ro::<u8>(other.prepare_invoke()).unwrap(), 7);
    assert_eq!(calls(servers.master(), ["EVALSHA_RO", "EVAL_RO"]), [0, 0]);
    assert_eq!(client.read_from(ReadFrom::Master).eval_ro::<u8>(&other.prepare_invoke()).unwrap(), 7);
    assert_eq!(calls(servers.master(), ["EVALSHA_RO", "EVAL_RO"]), [1, 0]);
    let session = client.session();
    session.set("k", "mine").unwrap();
    let own = Script::new("return redis.call('GET', KEYS[1])");
    assert_eq!(session.eval_ro::<String>(own.key("k")).unwrap(), "mine");
    let writes = client.eval_ro::<()>(Script::new("return redis.call('SET', KEYS[1], 1)").key("k")).unwrap_err();
    assert_eq!(writes.kind(), ErrorKind::Server, "{writes}");
    assert_eq!(client.read_from(ReadFrom::Master).get::<String>("k").unwrap(), "mine");
}

#[test]
fn a_script_that_writes_runs_on_the_master_once() {
    let servers = ReplicaSet::start(1).unwrap();
    let client = servers.client_builder().build().unwrap();
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for sum in [5, 10] {
        assert_eq!(client.eval::<i64>(script.key("n").arg(5)).unwrap(), sum);
    }
    assert_eq!(calls(servers.master(), ["EVALSHA", "EVAL"]), [2, 1]);
    client.hset("hash", "a", 1).unwrap();
    let error = client.eval::<i64>(script.key("hash").arg(5)).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, true), "{error}");
    assert_eq!(servers.master().calls("EVAL").unwrap(), 1);
    // A script that gives the code by itself has been executed.
    let liar = Script::new("redis.call('INCR', KEYS[1]) return redis.error_reply('NOSCRIPT of my own')");
    redis::cmd("SCRIPT").arg("LOAD").arg("return 1").exec(&mut servers.master().connection().unwrap()).unwrap();
    for runs in 1..=2 {
        let error = client.eval::<i64>(liar.key("liar")).unwrap_err();
        assert!(error.may_have_executed(), "{error}");
        assert_eq!(client.read_from(ReadFrom::Master).get::<i64>("liar").unwrap(), runs);
    }
}
