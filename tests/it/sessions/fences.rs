//! Sessions by fences: a counter among the data, for servers that do not tell how far they are.

use std::time::Duration;

use redis::Commands;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet};
use redis_replicated::{Builder, ErrorKind, ReadFrom, ReplicatedClient, SessionMode};

use crate::sessions::{check_errors_of_the_application, check_every_way_to_read, succeed, write_in_doubt};
use crate::support::{Distant, as_user, set_with_key, wait_until};

/// All that fences need, and no `INFO`.
const RIGHTS: [&str; 4] = ["~*", "-@all", "+@read", "+@write"];
const CONTROL: [&str; 4] = ["+multi", "+exec", "+hello", "+wait"];

fn fenced(builder: Builder) -> Builder {
    builder.session_mode(SessionMode::Fence)
}

fn strict_user(servers: &ReplicaSet) -> Builder {
    fenced(as_user(servers, &[RIGHTS, CONTROL].concat()))
}

#[test]
fn every_way_to_read_takes_part() {
    check_every_way_to_read(SessionMode::Fence);
}

#[test]
fn errors_of_the_application_come_back_as_without_a_session() {
    check_errors_of_the_application(SessionMode::Fence);
}

#[test]
fn a_user_without_info_reads_what_it_wrote() {
    let set = Distant::start(2);
    let client = strict_user(&set.servers).build().unwrap();
    let session = client.session();
    for n in 0..100 {
        session.set("n", n).unwrap();
        assert_eq!(session.get::<i32>("n").unwrap(), n);
    }
    set.servers.wait_until_in_sync().unwrap();
    set.servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    (0..50).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 99));
    assert_eq!(set.servers.master().calls("EXEC").unwrap(), 0, "replicas that have it serve it");
    (0..2).for_each(|replica| set.freeze(replica));
    session.set("n", 100).unwrap();
    (0..20).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 100));
    let elsewhere = strict_user(&set.servers).build().unwrap().resume(&session.token().unwrap());
    assert_eq!(elsewhere.get::<i32>("n").unwrap(), 100);
    elsewhere.set("n", 101).unwrap();
    assert_eq!(elsewhere.get::<i32>("n").unwrap(), 101);
    assert_eq!(
        elsewhere.acknowledged_by(1, Duration::from_millis(20)).set("n", 1).unwrap_err().acknowledged(),
        Some(0)
    );
}

#[test]
fn a_lost_write_is_told_once_by_a_read() {
    let set = Distant::start(1);
    let client = strict_user(&set.servers).build().unwrap();
    let session = client.session().deadline(Duration::from_secs(20));
    session.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    session.set("n", 2).unwrap();
    set.servers.master().pause().unwrap();
    succeed(set.servers.replica(0), &[]);
    let mut told = Vec::new();
    wait_until("the session goes on", || match session.get::<i32>("n") {
        Ok(value) => value == 1 && !told.is_empty(),
        Err(error) => {
            told.push(error.kind());
            false
        }
    });
    assert_eq!(told, [ErrorKind::WriteLost]);
    session.set("n", 3).unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), 3);
    set.servers.master().resume().unwrap();
}

#[test]
fn a_write_whose_fence_cannot_be_raised_is_executed_without_it() {
    let servers = set_with_key(1);
    let keys = ["~app:*", "+@all", "-info"];
    let session = fenced(as_user(&servers, &keys)).build().unwrap().session();
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    for n in 1..20 {
        session.set("app:n", n).unwrap();
        assert_eq!(session.get::<i32>("app:n").unwrap(), n, "the master serves it");
    }
    let both: (i32,) = session.query_pipeline(redis::pipe().atomic().set("app:n", 20).ignore().get("app:n")).unwrap();
    assert_eq!(both, (20,));
    let mut connection = session.connection();
    redis::cmd("WATCH").arg("app:n").exec(&mut connection).unwrap();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    redis::cmd("INCR").arg("app:n").exec(&mut connection).unwrap();
    assert_eq!(redis::cmd("EXEC").query::<(i32,)>(&mut connection).unwrap(), (21,));
    assert_eq!(session.get::<i32>("app:n").unwrap(), 21);
    assert_eq!(servers.master().calls("SET").unwrap(), 20, "each once");
    assert_eq!(servers.replica(0).calls("GET").unwrap(), 0);
    let error = session.set("other", 1).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "its own rights: {error}");
}

#[test]
fn without_the_right_to_multi_nothing_is_said_that_is_not_so() {
    let servers = set_with_key(1);
    let session = fenced(as_user(&servers, &["~*", "-@all", "+@read", "+@write", "+hello"])).build().unwrap().session();
    for n in 1..4 {
        assert_eq!(session.incr("n").unwrap(), n);
        assert_eq!(session.get::<i64>("n").unwrap(), n);
    }
}

#[test]
fn a_flushed_fence_is_told_once() {
    let servers = set_with_key(1);
    let session = servers.client_builder().session_mode(SessionMode::Fence).build().unwrap().session();
    session.set("a", 1).unwrap();
    session.query::<()>(&redis::cmd("FLUSHALL")).unwrap();
    assert_eq!(session.get::<Option<i32>>("a").unwrap_err().kind(), ErrorKind::Unproven);
    assert_eq!(session.get::<Option<i32>>("a").unwrap(), None);
}

#[test]
fn a_fence_expires_and_is_one_for_a_session() {
    let servers = set_with_key(0);
    let session = servers.client_builder().session_mode(SessionMode::Fence).build().unwrap().session();
    (0..5).for_each(|n| session.set("n", n).unwrap());
    let mut direct = servers.master().connection().unwrap();
    let fences: Vec<String> = direct.keys("redis-replicated:fence:*").unwrap();
    assert_eq!(fences.len(), 1);
    assert!(direct.get::<_, u64>(&fences[0]).unwrap() > 5);
    let ttl: i64 = direct.pttl(&fences[0]).unwrap();
    assert!((1..=600_000).contains(&ttl), "{ttl}");
    direct.del::<_, ()>(&fences[0]).unwrap();
    assert_eq!(session.get::<i32>("n").unwrap_err().kind(), ErrorKind::Unproven, "it was evicted");
    assert_eq!(session.get::<i32>("n").unwrap(), 4);
}

#[test]
fn a_write_in_doubt_leaves_reads_to_the_master() {
    let servers = set_with_key(1);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url()).replica(servers.replica(0).url());
    let builder = builder.response_timeout(Duration::from_millis(200)).session_mode(SessionMode::Fence);
    let client = builder.build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    write_in_doubt(&session, &proxy);
    assert_eq!(session.read_from(ReadFrom::Replica).get::<i32>("n").unwrap_err().kind(), ErrorKind::Unavailable);
    proxy.set(NetworkFault::None).unwrap();
    proxy.cut();
    wait_until("the master is back", || client.set("other", 1).is_ok());
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    wait_until("a fence is raised that ends the doubt", || {
        session.get::<i32>("n").unwrap();
        servers.master().calls("INCRBY").unwrap() == 1
    });
    servers.wait_until_in_sync().unwrap();
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    (0..10).for_each(|_| assert!(session.get::<i32>("n").unwrap() > 0));
    // The fence is read as well.
    assert_eq!(servers.replica(0).calls("GET").unwrap(), 20);
    assert_eq!((servers.master().calls("INCRBY").unwrap(), servers.master().calls("GET").unwrap()), (0, 0));
}

#[test]
fn a_blocking_read_of_a_session_that_has_seen_nothing_goes_to_a_replica() {
    let servers = ReplicaSet::start(1).unwrap();
    let _: String = redis::cmd("XADD")
        .arg("s")
        .arg("*")
        .arg("a")
        .arg(1)
        .query(&mut servers.master().connection().unwrap())
        .unwrap();
    servers.wait_until_in_sync().unwrap();
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(servers.replicas()[0].url());
    let client = fenced(builder).build().unwrap();
    wait_until("all is known", || client.get::<Option<String>>("k").is_ok());
    let session = client.session();
    let read = redis::cmd("XREAD").arg("BLOCK").arg(10).arg("STREAMS").arg("s").arg(0).to_owned();
    session.query::<redis::Value>(&read).unwrap();
    assert_eq!(servers.master().calls("XREAD").unwrap(), 0);
}
