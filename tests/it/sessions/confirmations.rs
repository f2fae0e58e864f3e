//! `acknowledged_by`: writes that replicas have confirmed.

use std::time::{Duration, Instant};

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Error, ErrorKind, SessionMode};

use crate::support::{Distant, set_with_key};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(30);

fn waits(servers: &ReplicaSet) -> u64 {
    servers.master().calls("WAIT").unwrap()
}

#[test]
fn writes_are_confirmed_and_reads_do_not_wait() {
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let servers = set_with_key(2);
        let client = servers.client_builder().session_mode(mode).build().unwrap();
        for handle in [client.acknowledged_by(2, LONG), client.session().acknowledged_by(2, LONG)] {
            servers.master().reset_counts().unwrap();
            handle.set("n", 1).unwrap();
            assert_eq!(handle.incr("n").unwrap(), 2);
            assert_eq!(handle.get::<i32>("n").unwrap(), 2, "they have it");
            assert_eq!(handle.query_pipeline::<(i32, i32)>(redis::pipe().incr("n", 1).incr("n", 1)).unwrap(), (3, 4));
            assert_eq!(handle.query_pipeline::<(i32,)>(redis::pipe().atomic().incr("n", 1)).unwrap(), (5,));
            let mut connection = handle.connection();
            redis::cmd("SET").arg("n").arg(6).exec(&mut connection).unwrap();
            redis::cmd("MULTI").exec(&mut connection).unwrap();
            redis::cmd("INCR").arg("n").exec(&mut connection).unwrap();
            assert_eq!(redis::cmd("EXEC").query::<(i32,)>(&mut connection).unwrap(), (7,));
            handle.ping().unwrap();
            assert_eq!(waits(&servers), 6, "one for each write, one for each transaction");
        }
        client.acknowledged_by(2, LONG).acknowledged_by(0, LONG).set("n", 1).unwrap();
        assert_eq!(waits(&servers), 6, "0 replicas: no wait");
    }
}

#[test]
fn too_few_are_counted_and_the_write_is_applied() {
    let set = Distant::start(2);
    let client = set.servers.client_builder().build().unwrap();
    client.acknowledged_by(2, LONG).set("n", 1).unwrap();
    set.freeze(0);
    for handle in [client.acknowledged_by(2, SHORT), client.session().acknowledged_by(2, SHORT)] {
        let error = handle.set("n", 2).unwrap_err();
        assert_eq!((error.kind(), error.acknowledged()), (ErrorKind::Unacknowledged, Some(1)));
        assert!(error.may_have_executed() && error.node() == Some(&set.servers.master().addr()));
        let text =
            format!("{}: SET was applied, but only 1 of 2 replicas confirmed it in time", set.servers.master().addr());
        assert_eq!(error.to_string(), text);
        assert_eq!(redis::Cmd::get("n").query::<i32>(&mut set.servers.master().connection().unwrap()).unwrap(), 2);
        let error = redis::cmd("INCR").arg("n").query::<i32>(&mut handle.connection()).unwrap_err();
        assert_eq!(Error::of(&error).unwrap().acknowledged(), Some(1));
        let error = handle.query_pipeline::<()>(redis::pipe().atomic().set("n", 1)).unwrap_err();
        assert_eq!(error.acknowledged(), Some(1));
    }
    client.acknowledged_by(1, LONG).set("n", 3).unwrap();
}

#[test]
fn an_error_of_the_application_comes_first() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().build().unwrap();
    client.set("k", "v").unwrap();
    set.freeze(0);
    let handle = client.acknowledged_by(1, SHORT);
    let error = handle.incr("k").unwrap_err();
    assert_eq!((error.kind(), error.acknowledged()), (ErrorKind::Server, None));
    let error = handle.query_pipeline::<()>(redis::pipe().set("a", 1).incr("k", 1)).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, true));
}

#[test]
fn the_wait_comes_on_top_of_the_limits() {
    let set = Distant::start(1);
    let limit = Duration::from_millis(300);
    let client = set.servers.client_builder().response_timeout(limit).build().unwrap().deadline(limit);
    client.set("warm", 1).unwrap();
    set.freeze(0);
    let start = Instant::now();
    let error = client.acknowledged_by(1, 2 * limit).set("n", 1).unwrap_err();
    assert_eq!(error.acknowledged(), Some(0), "{error}");
    assert!(start.elapsed() >= 2 * limit);
}

#[test]
fn a_transaction_that_was_not_executed_needs_no_confirmation() {
    let servers = set_with_key(0);
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let client = servers.client_builder().session_mode(mode).build().unwrap();
        for handle in [client.acknowledged_by(1, SHORT), client.session().acknowledged_by(1, SHORT)] {
            let mut connection = handle.connection();
            redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
            client.set("k", "changed").unwrap();
            let done: Option<(String,)> = redis::pipe().atomic().set("k", 1).query(&mut connection).unwrap();
            assert_eq!(done, None);
            redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
            client.set("k", "changed").unwrap();
            redis::cmd("MULTI").exec(&mut connection).unwrap();
            redis::cmd("SET").arg("k").arg(1).exec(&mut connection).unwrap();
            assert_eq!(redis::cmd("EXEC").query::<Option<(String,)>>(&mut connection).unwrap(), None);
        }
    }
}

#[test]
fn a_limit_of_all_times_waits_as_long_as_it_takes() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    client.acknowledged_by(1, Duration::MAX).set("n", 1).unwrap();
}
