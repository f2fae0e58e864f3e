//! Sessions where nodes disagree who is the master, or do not say what is needed.

use std::time::{Duration, Instant};

use redis::Commands;
use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient, SessionMode};

use crate::sessions::succeed;
use crate::support::{Distant, as_user, set_with_key, wait_until};

const ROUND: Duration = Duration::from_millis(100);

/// A process that has not noticed a failover, and keeps to the old master, must not serve what the new one has gone on from.
#[test]
fn a_token_of_a_successor_is_not_proven_by_the_former_master() {
    for parts in [false, true] {
        let servers = ReplicaSet::start(1).unwrap();
        let behind = servers.client_builder().monitor_interval(ROUND).build().unwrap();
        behind.set("n", 1).unwrap();
        servers.wait_until_in_sync().unwrap();
        succeed(servers.replica(0), &[]);
        if parts {
            servers.master().connection().unwrap().set::<_, _, ()>("other", 1).unwrap();
        }
        let ahead = ReplicatedClient::builder().master(servers.replica(0).url()).build().unwrap().session();
        ahead.set("n", 2).unwrap();
        let reader = behind.resume(&ahead.token().unwrap()).deadline(Duration::from_secs(2));
        let error = reader.get::<i32>("n").unwrap_err();
        assert_ne!(error.kind(), ErrorKind::WriteLost, "{error}: nothing is lost where it was written");
    }
}

/// What somebody else wrote, and the session only read, is told apart from its own writes.
#[test]
fn the_loss_of_what_was_only_read_is_told_as_such() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().monitor_interval(ROUND).build().unwrap();
    let (session, careless) = (client.session().deadline(Duration::from_secs(20)), client.session());
    session.set("own", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    client.set("n", 2).unwrap();
    assert_eq!(session.read_from(ReadFrom::Master).get::<i32>("n").unwrap(), 2);
    careless.set("m", 3).unwrap();
    set.servers.master().pause().unwrap();
    succeed(set.servers.replica(0), &[]);
    wait_until("the next master is found", || client.deadline(Duration::from_secs(5)).set("other", 1).is_ok());
    let error = session.get::<Option<i32>>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HistoryLost, "{error}");
    assert!(!error.may_have_executed() && error.node() == Some(&set.servers.replica(0).addr()));
    assert_eq!((session.get("n").unwrap(), session.get("own").unwrap()), (None::<i32>, Some(1)));
    let error = careless.deadline(Duration::from_secs(20)).get::<Option<i32>>("m").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WriteLost, "{error}");
    set.servers.master().resume().unwrap();
}

/// A replica that somebody promoted by mistake says that it is a master, and has lost what it never had.
#[test]
fn a_usurper_proves_no_loss() {
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let set = Distant::start(2);
        let client = set.servers.client_builder().session_mode(mode).monitor_interval(ROUND).build().unwrap();
        let session = client.session();
        session.set("n", 1).unwrap();
        set.servers.wait_until_in_sync().unwrap();
        (0..10).for_each(|_| assert_eq!(session.get::<i32>("n").unwrap(), 1));
        set.freeze(0);
        session.set("n", 2).unwrap();
        succeed(set.servers.replica(0), &[]);
        let end = Instant::now() + 10 * ROUND;
        while Instant::now() < end {
            assert_eq!(session.get::<i32>("n").unwrap(), 2, "{mode:?}");
        }
    }
}

#[test]
fn what_no_replica_can_prove_fails_at_once_where_only_replicas_are_read() {
    let servers = set_with_key(1);
    let session = servers.client_builder().build().unwrap().session().read_from(ReadFrom::Replica);
    assert_eq!(session.get::<String>("k").unwrap(), "v");
    let blocks = redis::cmd("XREAD").arg("BLOCK").arg(50).arg("STREAMS").arg("s").arg("$").to_owned();
    let error = session.deadline(Duration::from_secs(60)).query::<redis::Value>(&blocks).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("blocks can only be proven by the master"), "{error}");
}

/// A bound that no replica can keep is refused with the reason, and does not spin until the deadline.
#[test]
fn a_bound_that_no_replica_can_keep_fails_at_once_where_only_replicas_are_read() {
    let servers = set_with_key(1);
    let client = servers.client_builder().deadline(Duration::from_secs(60)).build().unwrap();
    let unwatched = servers.client_builder().monitor_interval(Duration::ZERO).deadline(Duration::from_secs(60));
    let unwatched = unwatched.build().unwrap();
    let bounded = |client: &ReplicatedClient, millis| client.max_staleness(Duration::from_millis(millis));
    for (handle, why) in [(bounded(&client, 49), "is 50 ms"), (bounded(&unwatched, 5_000), "without a monitor")] {
        let start = Instant::now();
        let error = handle.read_from(ReadFrom::Replica).get::<String>("k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(why) && start.elapsed() < Duration::from_secs(10), "{error}");
        // It is not asked for what it cannot prove.
        servers.replica(0).reset_counts().unwrap();
        assert_eq!(handle.get::<String>("k").unwrap(), "v");
        assert_eq!(servers.replica(0).calls("GET").unwrap(), 0);
        assert_eq!(handle.explain(&redis::Cmd::get("k")).candidates(), [servers.master().addr()]);
    }
}

#[test]
fn explain_says_which_replicas_cannot_prove_a_read() {
    let set = Distant::start(2);
    let client = set.servers.client_builder().build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    session.set("n", 2).unwrap();
    let lagging = set.servers.replica(0).addr();
    wait_until("it is known that one lags behind", || {
        assert_eq!(session.get::<i32>("n").unwrap(), 2);
        let decision = session.explain(&redis::Cmd::get("n"));
        decision.excluded().contains(&(lagging.clone(), redis_replicated::Exclusion::Unproven))
            && !decision.candidates().contains(&lagging)
    });
    assert_eq!(client.explain(&redis::Cmd::get("n")).candidates().len(), 2, "of a plain read, nothing is asked");
}

#[test]
fn the_reason_of_a_silent_replica_is_told() {
    let servers = set_with_key(1);
    let builder = as_user(&servers, &["~*", "+@all", "-info"]);
    let session = builder.deadline(Duration::from_secs(60)).build().unwrap().session();
    let start = Instant::now();
    let error = session.read_from(ReadFrom::Replica).get::<String>("k").unwrap_err();
    assert_eq!((error.kind(), error.as_redis().unwrap().code()), (ErrorKind::Unproven, Some("NOPERM")));
    assert!(error.to_string().contains("lacks +info") && start.elapsed() < Duration::from_secs(10), "{error}");
}

#[test]
fn a_pinned_connection_survives_what_the_session_is_told() {
    let set = Distant::start(1);
    let session = set.servers.client_builder().build().unwrap().session();
    set.freeze(0);
    let handle = session.acknowledged_by(1, Duration::from_millis(20));
    let mut connection = handle.connection();
    redis::cmd("WATCH").arg("n").exec(&mut connection).unwrap();
    let error = redis::cmd("SET").arg("other").arg(1).exec(&mut connection).unwrap_err();
    assert_eq!(redis_replicated::Error::of(&error).unwrap().kind(), ErrorKind::Unacknowledged);
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    redis::cmd("INCR").arg("n").exec(&mut connection).unwrap();
    let error = redis::cmd("EXEC").exec(&mut connection).unwrap_err();
    assert_eq!(redis_replicated::Error::of(&error).unwrap().kind(), ErrorKind::Unacknowledged, "it was executed");
    wait_until("it is there", || session.get::<i32>("n").unwrap() == 1);
}

#[test]
fn sessions_are_the_same_over_resp3() {
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let set = Distant::start(1);
        let url = |server: &Server| format!("{}/?protocol=resp3", server.url());
        let builder = ReplicatedClient::builder().master(url(set.servers.master()));
        let client = builder.replica(url(set.servers.replica(0))).session_mode(mode).build().unwrap();
        let session = client.session();
        session.hset("h", "field", 1).unwrap();
        set.servers.wait_until_in_sync().unwrap();
        set.freeze(0);
        session.hset("h", "field", 2).unwrap();
        let all: std::collections::HashMap<String, i32> = session.hget_all("h").unwrap();
        assert_eq!(all["field"], 2);
        assert_eq!(session.query_pipeline::<(i32, i32)>(redis::pipe().hget("h", "field").hlen("h")).unwrap(), (2, 1));
        let atomic: (i32, i32) =
            session.query_pipeline(redis::pipe().atomic().incr("n", 1).hget("h", "field")).unwrap();
        assert_eq!(atomic, (1, 2));
        let error = session.acknowledged_by(1, Duration::from_millis(20)).set("n", 2).unwrap_err();
        assert_eq!(error.acknowledged(), Some(0));
        assert_eq!(session.get::<i32>("n").unwrap(), 2);
    }
}
