//! What callers get to know: the kind, the node, whether a write may have been applied; never a password.

use std::io::Write;
use std::time::{Duration, Instant};

use redis::Commands;
use redis_replicated::testing::{ReplicaSet, free_port};
use redis_replicated::{Error, ErrorKind, ReplicatedClient};

use crate::support::{Fake, never_answer, read_some, set_with_key};

#[test]
fn application_errors_reach_the_caller_unchanged_and_eject_nobody() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    for _ in 0..1000 {
        let error = client.llen("k").unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false));
        assert_eq!(error.node(), Some(&servers.replica(0).addr()));
        assert_eq!(error.as_redis().and_then(redis::RedisError::code), Some("WRONGTYPE"));
    }
    let error = client.lpush("k", "x").unwrap_err();
    let words = "LPUSH was answered with WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(error.to_string(), format!("{}: {words}", servers.master().addr()));
    let unchanged = client.connection().llen::<_, usize>("k").unwrap_err();
    assert_eq!(unchanged.code(), Some("WRONGTYPE"));
    assert!(Error::of(&unchanged).is_none());
    assert!(client.snapshot().nodes.iter().all(|node| !node.ejected && node.failed == 0));
    assert_eq!(servers.master().calls("LLEN").unwrap(), 0);
}

#[test]
fn a_reply_of_another_type_is_a_conversion_error() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let error = client.get::<u64>("k").unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Conversion, false));
    let error = client.query::<u64>(redis::cmd("SET").arg("k").arg("w")).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Conversion, true));
    assert!(
        error.to_string().ends_with("the reply to SET is a status, which is no u64; the command was executed"),
        "{error}"
    );
    let error = client.query_pipeline::<Vec<u64>>(redis::pipe().get("k")).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Conversion, false));
}

#[test]
fn a_write_without_a_reply_is_in_doubt_and_sent_once() {
    let hung = Fake::start("master", never_answer);
    let client =
        ReplicatedClient::builder().master(hung.url()).response_timeout(Duration::from_millis(50)).build().unwrap();
    let error = client.set("k", "v").unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true));
    assert!(
        error.to_string().ends_with("SET got no reply within 50 ms (response_timeout); a write may have been applied"),
        "{error}"
    );
    let error = redis::RedisError::from(error);
    assert!(error.is_timeout());
    let read = client.deadline(Duration::from_millis(200)).get::<String>("k").unwrap_err();
    assert_eq!((read.kind(), read.may_have_executed()), (ErrorKind::Interrupted, false));

    let frames = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&frames);
    let cut = Fake::start("master", move |mut stream| {
        read_some(&mut stream);
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        stream.write_all(b"$100\r\ncut off").unwrap();
    });
    let client = ReplicatedClient::builder().master(cut.url()).monitor_interval(Duration::ZERO).build().unwrap();
    let error = client.incr("n").unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true));
    assert_eq!(frames.load(std::sync::atomic::Ordering::SeqCst), 1, "an increment in doubt was sent again");
}

#[test]
fn a_write_without_a_connection_was_not_executed() {
    let port = free_port().unwrap();
    let client =
        ReplicatedClient::builder().master(("127.0.0.1", port)).deadline(Duration::from_millis(150)).build().unwrap();
    let start = Instant::now();
    let error = client.set("k", "v").unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(100), "a node may come back within the deadline");
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Checkout, false));
    assert_eq!(error.to_string(), format!("127.0.0.1:{port}: could not connect: connection refused; nothing was sent"));
    assert!(error.as_redis().is_some_and(redis::RedisError::is_connection_refusal));
}

#[test]
fn a_refused_login_is_told_at_once_and_without_the_password() {
    let servers = ReplicaSet::setup().replicas(1).password("right").start().unwrap();
    let wrong = |server: &redis_replicated::testing::Server| server.url().replace("right", "wr-ong");
    let client =
        ReplicatedClient::builder().master(wrong(servers.master())).replica(wrong(servers.replica(0))).build().unwrap();
    let start = Instant::now();
    let error = client.set("k", "v").unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "waiting does not change a password");
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false));
    assert_eq!(error.as_redis().and_then(redis::RedisError::code), Some("WRONGPASS"));
    for text in
        [error.to_string(), format!("{error:?}"), format!("{client:?}"), format!("{:?}", servers.client_builder())]
    {
        assert!(!text.contains("wr-ong") && !text.contains("right"), "{text}");
    }
    let error = client.deadline(Duration::from_millis(100)).get::<String>("k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert_eq!(client.dedicated(redis_replicated::Target::Master).err().unwrap().kind(), ErrorKind::Server);
}

#[test]
fn a_failed_script_may_have_executed_and_a_refused_one_has_not() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    let half = "redis.call('SET', KEYS[1], 'half'); return redis.call('INCR', KEYS[1])";
    let error = client.query::<()>(redis::cmd("EVAL").arg(half).arg(1).arg("k")).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, true));
    assert_eq!(client.get::<String>("k").unwrap(), "half");
    let error = client.query::<()>(redis::cmd("EVALSHA").arg("0".repeat(40)).arg(0)).unwrap_err();
    assert!(!error.may_have_executed(), "{error}");
    let partly = client.query_pipeline::<()>(redis::pipe().set("k", "w").ignore().lpush("k", 1)).unwrap_err();
    assert_eq!((partly.kind(), partly.may_have_executed()), (ErrorKind::Server, true));
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1")
        .exec(&mut servers.master().connection().unwrap())
        .unwrap();
    let error = client.query_pipeline::<()>(redis::pipe().set("k", 1).set("k", 2)).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error}");
    assert_eq!(client.set("k", 1).unwrap_err().as_redis().and_then(redis::RedisError::code), Some("OOM"));
}
