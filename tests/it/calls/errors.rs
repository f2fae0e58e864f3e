//! What callers get to know: the kind, the node, whether a write may have been applied; never a password.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use redis::Commands;
use redis_replicated::testing::{ReplicaSet, free_port};
use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient, Target};

use crate::support::{Fake, never_answer, read_some, set_with_key, wait_until};

/// Must be shown in no form of an error: passwords, arguments and values are made of it.
const SECRET: &str = "s3cret-value";
const SHORT: Duration = Duration::from_millis(200);

/// What a printer of chains shows, such as `{:#}` of anyhow.
fn chain(error: &dyn StdError) -> String {
    let mut shown = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        write!(shown, ": {cause}").unwrap();
        next = cause.source();
    }
    shown
}

/// Checks that the chain gives the reason once and in words, and that no form of the error shows a value or a secret.
fn check(what: &str, error: &Error, kind: ErrorKind, reason: &str) {
    let shown = chain(error);
    assert_eq!(error.kind(), kind, "{what}: {shown}");
    assert_eq!(shown.matches(reason).count(), 1, "{what}: {reason:?} once in {shown:?}");
    let as_redis = redis::RedisError::from(error.clone());
    let cause = error.as_redis().map(|cause| format!("{cause} {cause:?} {:?} {}", cause.detail(), chain(cause)));
    let forms = [
        shown,
        format!("{error:?}"),
        format!("{error:#?}"),
        format!("{as_redis} {as_redis:?}"),
        chain(&as_redis),
        cause.unwrap_or_default(),
    ];
    for form in &forms {
        assert!(!form.contains(SECRET), "{what}: {form}");
    }
    for form in &forms[..4] {
        let has_number = ["os error", "temporarily unavailable", "Resource"].iter().any(|text| form.contains(text));
        assert!(!has_number, "{what}: {form}");
    }
}

fn client_of(master: impl Into<redis_replicated::Endpoint>) -> ReplicatedClient {
    ReplicatedClient::builder().master(master).deadline(2 * SHORT).build().unwrap()
}

#[test]
fn every_mistake_with_a_connection_has_its_reason_in_words() {
    use ErrorKind::{Checkout, Server, Unavailable};
    let nobody = ("127.0.0.1", free_port().unwrap());
    let client = client_of(nobody);
    check("wrong port, write", &client.set("k", SECRET).unwrap_err(), Checkout, "connection refused");
    check("wrong port, read", &client.get::<String>("k").unwrap_err(), Checkout, "connection refused");
    let dedicated = client.dedicated(Target::Master).err().unwrap();
    check("wrong port, dedicated", &dedicated, Checkout, "connection refused");
    let client = client_of(nobody).dedicated(Target::Node(format!("127.0.0.1:{}", nobody.1).parse().unwrap()));
    check("wrong port, dedicated to a node", &client.err().unwrap(), Checkout, "connection refused");
    let (one, other) = (("127.0.0.1", free_port().unwrap()), ("127.0.0.1", free_port().unwrap()));
    let client = ReplicatedClient::builder().master(one).replica(other).deadline(2 * SHORT).build().unwrap();
    check("wrong ports, a replica", &client.dedicated(Target::Replica).err().unwrap(), Checkout, "connection refused");
    let unnamed = client_of("no-such-host.invalid:6379");
    let error = unnamed.deadline(10 * SHORT).set("k", SECRET).unwrap_err();
    check("wrong name", &error, error.kind(), "host name");

    let servers = ReplicaSet::setup().replicas(1).password("right").start().unwrap();
    let wrong = client_of(servers.master().url().replace("right", SECRET));
    check("wrong password, write", &wrong.set("k", SECRET).unwrap_err(), Server, "WRONGPASS");
    check("wrong password, read", &wrong.get::<String>("k").unwrap_err(), Server, "WRONGPASS");
    let none = client_of(servers.master().addr());
    check("no password", &none.set("k", SECRET).unwrap_err(), Server, "NOAUTH");
    let (master, replica) = (servers.master().addr(), servers.replica(0).addr());
    let swapped = client_of(servers.replica(0).url());
    let error = swapped.set("k", SECRET).unwrap_err();
    check("a replica named as the master", &error, Unavailable, &format!("{replica} is a replica of {master}"));
    let shown = swapped.snapshot().to_string();
    let line = shown.lines().find(|line| line.starts_with(&replica.to_string())).unwrap();
    assert!(line.contains("replica") && line.contains("wrong role, assigned master"), "{shown}");
    let alone = ReplicatedClient::builder().master(servers.master().url()).read_from(ReadFrom::Replica);
    let error = alone.deadline(SHORT).build().unwrap().get::<String>("k").unwrap_err();
    check("no replica", &error, Unavailable, "no node may serve GET (read from Replica)");
}

#[test]
fn every_limit_is_named_with_its_setting_and_its_time() {
    use ErrorKind::{Checkout, Interrupted};
    let hung = Fake::start("master", never_answer);
    let builder = || ReplicatedClient::builder().master(hung.url()).monitor_interval(Duration::ZERO);
    let client = builder().response_timeout(SHORT).build().unwrap();
    let limit = "no reply within 200 ms (response_timeout)";
    check("hung, response limit", &client.set("k", SECRET).unwrap_err(), Interrupted, limit);
    let error = client.query::<()>(redis::cmd("BLPOP").arg("k").arg("0.3")).unwrap_err();
    check("hung, blocking", &error, Interrupted, "no reply within 500 ms (response_timeout)");
    let error = builder().deadline(SHORT).build().unwrap().set("k", SECRET).unwrap_err();
    check("hung, deadline", &error, Interrupted, "no reply within 200 ms (deadline)");
    let unwatched =
        |url: String| ReplicatedClient::builder().master(url).monitor_interval(Duration::ZERO).build().unwrap();
    let silent = Fake::raw(never_answer);
    let client = ReplicatedClient::builder().master(silent.url()).monitor_interval(Duration::ZERO);
    let client = client.connect_timeout(SHORT).deadline(3 * SHORT / 2).build().unwrap();
    let error = client.set("k", SECRET).unwrap_err();
    check("no greeting", &error, Checkout, "could not connect within 200 ms (connect_timeout)");
    let closing = Fake::start("master", |mut stream| assert!(read_some(&mut stream) > 0));
    let error = unwatched(closing.url()).set("k", SECRET).unwrap_err();
    check("closed", &error, Interrupted, "SET got no complete reply: connection closed");
    let babbling = Fake::start("master", |mut stream| {
        read_some(&mut stream);
        let _ = stream.write_all(format!("{SECRET}\r\n").as_bytes());
    });
    let error = unwatched(babbling.url()).set("k", SECRET).unwrap_err();
    check("not the protocol", &error, Interrupted, "SET got no complete reply");
}

#[test]
fn a_full_pool_says_how_large_it_is_and_how_long_was_waited() {
    let servers = set_with_key(0);
    let client = servers.client_builder().pool_size(2).checkout_timeout(SHORT).deadline(2 * SHORT);
    let client = client.monitor_interval(Duration::ZERO).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| client.connection_for_a_while());
        }
        let is_full = || client.snapshot().nodes[0].connections_in_use == 2;
        wait_until("the pool is full", is_full);
        let error = client.get::<String>("k").unwrap_err();
        let reason = "all 2 connections of the pool stayed in use for 400 ms (deadline)";
        check("pool full", &error, ErrorKind::Checkout, reason);
        servers.master().connection().map(|mut own| redis::cmd("DEL").arg("wakes").exec(&mut own)).unwrap().unwrap();
        let mut own = servers.master().connection().unwrap();
        redis::cmd("RPUSH").arg("wakes").arg(1).arg(2).exec(&mut own).unwrap();
    });
}

trait HoldsAConnection {
    fn connection_for_a_while(&self);
}

impl HoldsAConnection for ReplicatedClient {
    fn connection_for_a_while(&self) {
        let mut connection = self.connection();
        redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
        redis::cmd("BLPOP").arg("wakes").arg(20).exec(&mut connection).unwrap();
    }
}

#[test]
fn errors_of_the_application_show_neither_values_nor_arguments() {
    use ErrorKind::{Conversion, Refused, Server};
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    client.set("k", SECRET).unwrap();
    let error = client.get::<u64>("k").unwrap_err();
    check("a value that is no number", &error, Conversion, "the reply to GET is a bulk string, which is no u64");
    let error = client.query::<Vec<(String, u8)>>(redis::cmd("GET").arg("k")).unwrap_err();
    check("a value that is no list", &error, Conversion, "which is no Vec<(String, u8)>");
    let pipeline = redis::pipe().get("k").get("k").to_owned();
    let error = client.query_pipeline::<(u64, u64)>(&pipeline).unwrap_err();
    check("values of a pipeline", &error, Conversion, "are no (u64, u64)");
    let error = client.incr("k").unwrap_err();
    check("wrong type", &error, Server, "ERR value is not an integer or out of range");
    let unknown = redis::cmd("NOSUCH").arg("a").arg(SECRET).to_owned();
    let error = client.query::<()>(&unknown).unwrap_err();
    check("an unknown command", &error, Server, "unknown command 'NOSUCH'");
    let unchanged = unknown.query::<()>(&mut client.connection()).unwrap_err();
    assert_eq!(unchanged.kind(), redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError));
    assert!(!format!("{unchanged:?} {:?} {}", unchanged.detail(), chain(&unchanged)).contains(SECRET), "{unchanged}");
    let many = redis::pipe().get("k").add_command(unknown.clone()).lpush("k", SECRET).to_owned();
    let error = client.query_pipeline::<()>(&many).unwrap_err();
    check("an unknown command in a pipeline", &error, Server, "unknown command 'NOSUCH' (command 1; 1 more failed)");
    let atomic = redis::pipe().atomic().set("k", SECRET).add_command(unknown).to_owned();
    check("in a transaction", &client.query_pipeline::<()>(&atomic).unwrap_err(), Server, "unknown command 'NOSUCH'");
    let mut config = redis::cmd("ACL");
    let error = client.query::<()>(config.arg("SETUSER").arg("app").arg(format!("#{SECRET}"))).unwrap_err();
    check("a bad password hash", &error, Server, "Error in ACL SETUSER modifier");
    let script = "return redis.error_reply('ERR no \\'' .. ARGV[1] .. '\\'')";
    let error = client.query::<()>(redis::cmd("EVAL").arg(script).arg(0).arg(SECRET)).unwrap_err();
    check("a script that repeats its argument", &error, Server, "ERR no '***'");
    let error = client.query::<()>(redis::cmd("AUTH").arg(SECRET)).unwrap_err();
    check("a refused command", &error, Refused, "AUTH would change a pooled connection");
}

#[test]
fn a_bad_address_is_shown_without_its_password() {
    for url in [format!("redis://:{SECRET}@127.0.0.1:port"), format!("http://me:{SECRET}@127.0.0.1:1")] {
        let error = ReplicatedClient::builder().master(url).build().unwrap_err();
        check("a bad address", &error, ErrorKind::Config, "bad address");
    }
}

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
