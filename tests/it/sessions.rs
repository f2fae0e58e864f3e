//! Sessions: what was written is read, from replicas where they have it.

mod confirmations;
mod cost;
mod fence_faults;
mod fences;
mod lineages;
mod outage;
mod staleness;

use std::thread;
use std::time::Duration;

use redis::{Commands, ConnectionLike, Iter, RedisResult};
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient, SessionMode, Token};

use crate::support::{Distant, as_user, calls_on_replicas, follow, promote, set_with_key, wait_until};

/// Writes 2 to `n` without anybody getting to know whether it was applied; the master stays silent.
pub fn write_in_doubt(session: &ReplicatedClient, proxy: &FaultProxy) {
    wait_until("a write is in doubt", || {
        proxy.set(NetworkFault::None).unwrap();
        proxy.cut();
        wait_until("the master is there", || session.set("n", 1).is_ok());
        proxy.set(NetworkFault::BlackHole).unwrap();
        // On a busy machine the connection may have been idle for so long that it is proven first.
        session.set("n", 2).unwrap_err().may_have_executed()
    });
}

/// Makes a replica the master, and others its replicas.
pub fn succeed(server: &Server, others: &[&Server]) {
    promote(server);
    others.iter().for_each(|other| follow(other, server));
}

fn gets(server: &Server) -> u64 {
    server.calls("GET").unwrap()
}

#[test]
fn what_was_written_is_read_from_replicas_that_have_it() {
    let set = Distant::start(2);
    set.proxies.iter().for_each(|proxy| proxy.set(NetworkFault::Delay(Duration::from_millis(3))).unwrap());
    let session = set.servers.client_builder().build().unwrap().session();
    for n in 0..300 {
        session.set("n", n).unwrap();
        assert_eq!(session.get::<i32>("n").unwrap(), n);
    }
    wait_until("both replicas have it", || {
        let before = gets(set.servers.master());
        assert_eq!(session.get::<i32>("n").unwrap(), 299);
        gets(set.servers.master()) == before
    });
    set.servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    (0..100).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 299));
    assert_eq!((gets(set.servers.master()), calls_on_replicas(&set.servers, "GET")), (0, 100));
}

#[test]
fn a_replica_that_lags_behind_is_passed_over() {
    let set = Distant::start(2);
    let client = set.servers.client_builder().build().unwrap();
    let (plain, session) = (client.clone(), client.session());
    session.set("n", 0).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    session.set("n", 1).unwrap();
    (0..50).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 1));
    let stale = (0..50).filter(|_| plain.get::<i32>("n").unwrap() == 0).count();
    assert!(stale > 0, "without a session it is seen");
    set.freeze(1);
    session.set("n", 2).unwrap();
    (0..50).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 2));
    let error = session.read_from(ReadFrom::Replica).deadline(Duration::from_millis(200)).get::<i32>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().ends_with("GET: does not prove to have what the session has seen, or to be fresh enough"),
        "{error}"
    );
    assert!(client.snapshot().nodes.iter().all(|node| !node.ejected && node.failed == 0), "nothing is wrong with them");
}

#[test]
fn every_way_to_read_takes_part() {
    check_every_way_to_read(SessionMode::Strict);
}

pub fn check_every_way_to_read(mode: SessionMode) {
    let set = Distant::start(1);
    let client = set.servers.client_builder().session_mode(mode).build().unwrap();
    let session = client.session();
    client.rpush("list", &["a"]).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    session.set("n", 1).unwrap();
    assert_eq!(session.query::<i32>(&redis::Cmd::get("n")).unwrap(), 1);
    assert_eq!(session.query_pipeline::<(i32, i32)>(redis::pipe().get("n").exists("n")).unwrap(), (1, 1));
    let mut connection = session.connection();
    assert_eq!(connection.get::<_, i32>("n").unwrap(), 1);
    let atomic: (i32, i32) = redis::pipe().atomic().incr("n", 1).get("n").query(&mut connection).unwrap();
    assert_eq!(atomic, (2, 2));
    assert_eq!(session.get::<i32>("n").unwrap(), 2);
    redis::cmd("EVAL").arg("redis.call('SET', KEYS[1], 3)").arg(1).arg("n").exec(&mut connection).unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), 3);
    connection.set::<_, _, ()>("scan:1", 1).unwrap();
    let keys: Iter<'_, String> = connection.scan_match("scan:*").unwrap();
    assert_eq!(keys.collect::<RedisResult<Vec<_>>>().unwrap(), ["scan:1"]);
    let script = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])";
    assert_eq!(session.query::<i32>(redis::cmd("EVAL_RO").arg(script).arg(1).arg("n")).unwrap(), 3);
    // A hand-driven transaction: what it wrote is known from EXEC on.
    redis::cmd("WATCH").arg("n").exec(&mut connection).unwrap();
    assert_eq!(connection.get::<_, i32>("n").unwrap(), 3);
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    redis::cmd("SET").arg("n").arg(4).exec(&mut connection).unwrap();
    let done: Vec<String> = redis::cmd("EXEC").query(&mut connection).unwrap();
    assert_eq!(done, ["OK"], "the watch held");
    assert_eq!(session.get::<i32>("n").unwrap(), 4);
    assert_eq!(calls_on_replicas(&set.servers, "SET"), 0);
}

#[test]
fn errors_of_the_application_come_back_as_without_a_session() {
    check_errors_of_the_application(SessionMode::Strict);
}

pub fn check_errors_of_the_application(mode: SessionMode) {
    let servers = set_with_key(1);
    let client = servers.client_builder().session_mode(mode).build().unwrap();
    let session = client.session();
    session.set("other", 1).unwrap();
    servers.wait_until_in_sync().unwrap();
    for handle in [&client, &session] {
        let texts = [
            handle.lrange::<Vec<String>>("k", 0, -1).unwrap_err(),
            handle.query::<String>(redis::cmd("GET").arg("k").arg("too many")).unwrap_err(),
            handle.query::<String>(redis::cmd("EVAL_RO").arg("return redis.call('SET', 'a', 1)").arg(0)).unwrap_err(),
            handle.query_pipeline::<(String, Vec<String>)>(redis::pipe().get("k").lrange("k", 0, -1)).unwrap_err(),
            handle.query::<i64>(redis::cmd("INCRBY").arg("k").arg(1)).unwrap_err(),
        ]
        .map(|error| {
            assert_eq!(error.kind(), ErrorKind::Server, "{error}");
            error.to_string().split_once(": ").unwrap().1.to_owned()
        });
        let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(texts[0], format!("LRANGE was answered with {wrong_type}"));
        assert_eq!(texts[1], "GET was answered with ERR wrong number of arguments for 'get' command");
        assert!(handle.snapshot().nodes.iter().all(|node| node.failed == 0));
    }
    let raw = |handle: &ReplicatedClient| {
        let mut connection = handle.connection();
        let wrong = redis::cmd("LRANGE").arg("k").arg(0).arg(1).query::<Vec<String>>(&mut connection).unwrap_err();
        let arity = redis::cmd("GET").query::<String>(&mut connection).unwrap_err();
        (wrong.to_string(), arity.to_string())
    };
    assert_eq!(raw(&session), raw(&client));
}

#[test]
fn a_session_travels_as_a_token_and_stays_apart_from_others() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().build().unwrap();
    assert!(client.token().is_none());
    let session = client.session();
    session.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    session.clone().read_from(ReadFrom::Any).set("n", 2).unwrap();
    let text = session.token().unwrap().to_string();
    assert!(text.len() <= 48);
    let elsewhere = set.servers.client_builder().build().unwrap().resume(&text.parse::<Token>().unwrap());
    assert_eq!(elsewhere.get::<i32>("n").unwrap(), 2);
    wait_until("a session that has not seen it may read the old value", || {
        client.session().get::<i32>("n").unwrap() == 1
    });
    assert_eq!(elsewhere.token(), Some(elsewhere.token().unwrap().merge(session.token().unwrap())));
}

#[test]
fn what_was_read_once_is_read_again() {
    let set = Distant::start(2);
    let client = set.servers.client_builder().build().unwrap();
    client.set("n", 0).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    client.set("n", 1).unwrap();
    let fresh = set.servers.replica(1);
    wait_until("one has it", || redis::Cmd::get("n").query::<i32>(&mut fresh.connection().unwrap()).unwrap() == 1);
    for _ in 0..20 {
        let session = client.session();
        let first: i32 = session.get("n").unwrap();
        (0..10).for_each(|_| assert!(session.get::<i32>("n").unwrap() >= first));
    }
}

#[test]
fn a_lost_write_is_told_once_and_then_the_session_goes_on() {
    let set = Distant::start(2);
    let client = set.servers.client_builder().build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    (0..2).for_each(|replica| set.freeze(replica));
    session.set("n", 2).unwrap();
    let token = session.token().unwrap();
    // Nobody has it but the old master.
    set.servers.master().pause().unwrap();
    succeed(set.servers.replica(0), &[set.servers.replica(1)]);
    let patient = session.deadline(Duration::from_secs(20));
    let mut told = Vec::new();
    wait_until("the session goes on", || match patient.get::<i32>("n") {
        Ok(value) => value == 1 && !told.is_empty(),
        Err(error) => {
            told.push(error);
            false
        }
    });
    assert_eq!(told.iter().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::WriteLost], "{told:?}");
    assert_eq!(told[0].node(), Some(&set.servers.replica(0).addr()));
    assert!(!told[0].may_have_executed());
    let late = client.resume(&token).deadline(Duration::from_secs(20));
    assert_eq!(late.get::<i32>("n").unwrap_err().kind(), ErrorKind::WriteLost, "each session for itself");
    set.servers.master().resume().unwrap();
}

#[test]
fn a_write_that_finds_out_keeps_its_result() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().build().unwrap();
    let session = client.session().deadline(Duration::from_secs(20));
    session.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    session.set("n", 2).unwrap();
    set.servers.master().pause().unwrap();
    succeed(set.servers.replica(0), &[]);
    let mut connection = session.connection();
    wait_until("the next master is found", || client.deadline(Duration::from_secs(5)).set("other", 1).is_ok());
    assert_eq!(session.incr("n").unwrap(), 2);
    let error = Error::of(&connection.get::<_, i32>("n").unwrap_err()).unwrap().clone();
    assert_eq!(error.kind(), ErrorKind::WriteLost);
    assert_eq!(connection.get::<_, i32>("n").unwrap(), 2);
    assert!(connection.is_open());
    set.servers.master().resume().unwrap();
}

#[test]
fn tokens_outlive_a_clean_failover_and_are_served_by_replicas() {
    let servers = ReplicaSet::start(3).unwrap();
    let client = servers.client_builder().monitor_interval(Duration::from_millis(100)).build().unwrap();
    let tokens: Vec<(i32, Token)> = (0..100)
        .map(|n| {
            let session = client.session();
            session.set(format!("n{n}"), n).unwrap();
            (n, session.token().unwrap())
        })
        .collect();
    servers.wait_until_in_sync().unwrap();
    succeed(servers.replica(0), &[servers.master(), servers.replica(1), servers.replica(2)]);
    wait_until("the old master follows", || {
        servers.master().info("replication", "master_link_status").unwrap().as_deref() == Some("up")
    });
    let next = servers.replica(0).addr();
    wait_until("the next master is known", || {
        let snapshot = client.snapshot();
        snapshot.settled
            && snapshot
                .nodes
                .iter()
                .any(|node| node.addr == next && node.assigned_role == redis_replicated::Role::Master)
            && snapshot.nodes.iter().all(|node| node.sync_state == redis_replicated::SyncState::InSync)
    });
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    for (n, token) in &tokens {
        assert_eq!(client.resume(token).get::<i32>(format!("n{n}")).unwrap(), *n);
    }
    assert!(gets(servers.replica(0)) <= 5, "{} of 100 went to the master", gets(servers.replica(0)));
}

#[test]
fn a_replica_that_takes_itself_for_the_master_is_not_believed() {
    let servers = ReplicaSet::start(1).unwrap();
    let client = servers.client_builder().monitor_interval(Duration::from_secs(3600)).build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    servers.wait_until_in_sync().unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), 1);
    promote(servers.replica(0));
    redis::Cmd::set("n", 99).exec(&mut servers.replica(0).connection().unwrap()).unwrap();
    (0..20).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 1));
    follow(servers.replica(0), servers.master());
    servers.wait_until_in_sync().unwrap();
    session.set("n", 2).unwrap();
    (0..20).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 2));
}

#[test]
fn the_first_replica_loses_nothing() {
    let mut alone = ReplicaSet::start(0).unwrap();
    let late = ReplicaSet::start(0).unwrap();
    let builder = ReplicatedClient::builder().master(alone.master().url()).replica(late.master().url());
    let session = builder.monitor_interval(Duration::from_millis(200)).build().unwrap().session();
    session.set("n", 1).unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), 1);
    let addr = alone.master_mut().addr();
    let mut follow = redis::cmd("REPLICAOF");
    follow.arg(addr.host()).arg(addr.port());
    follow.exec(&mut late.master().connection().unwrap()).unwrap();
    wait_until("it follows", || {
        late.master().info("replication", "master_link_status").unwrap().as_deref() == Some("up")
    });
    assert_eq!(session.get::<i32>("n").unwrap(), 1, "its history has another name now");
    session.set("n", 2).unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), 2);
}

#[test]
fn an_in_doubt_write_leaves_reads_to_the_master_until_it_answers() {
    let servers = set_with_key(1);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url()).replica(servers.replica(0).url());
    let client = builder.response_timeout(Duration::from_millis(200)).build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    servers.wait_until_in_sync().unwrap();
    write_in_doubt(&session, &proxy);
    let error = session.read_from(ReadFrom::Replica).get::<i32>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    proxy.set(NetworkFault::None).unwrap();
    proxy.cut();
    wait_until("the master is back", || client.set("other", 1).is_ok());
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    let value: i32 = session.get("n").unwrap();
    assert_eq!((gets(servers.master()), gets(servers.replica(0))), (1, 0), "{value}");
    servers.wait_until_in_sync().unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), value);
    assert_eq!(gets(servers.replica(0)), 1);
}

#[test]
fn a_user_without_rights_gets_a_clear_error() {
    let servers = set_with_key(1);
    let client = as_user(&servers, &["~*", "+@all", "-info"]).build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    let session = client.session();
    session.set("n", 1).unwrap();
    let error = session.get::<i32>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unproven);
    assert!(error.to_string().contains("cannot prove the reply to GET: the user may not run INFO"), "{error}");
    assert_eq!(error.as_redis().unwrap().code(), Some("NOPERM"));
    assert_eq!(error.node(), Some(&servers.master().addr()));
}

#[test]
fn clones_of_a_session_share_it_between_threads() {
    let set = Distant::start(2);
    set.proxies.iter().for_each(|proxy| proxy.set(NetworkFault::Delay(Duration::from_millis(2))).unwrap());
    let session = set.servers.client_builder().build().unwrap().session();
    thread::scope(|scope| {
        for thread in 0..4 {
            let session = session.clone();
            scope.spawn(move || {
                for n in 1..100 {
                    session.set(format!("n{thread}"), n).unwrap();
                    assert_eq!(session.get::<i32>(format!("n{thread}")).unwrap(), n);
                }
            });
        }
    });
}
