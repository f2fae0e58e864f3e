//! WATCH, MULTI and `redis::transaction`: pinned to one connection to the master, never leaked to its next user.

use redis::{Commands, RedisResult, Value};
use redis_replicated::{Error, ErrorKind, ReplicatedClient};

use crate::support::set_with_key;

/// A client whose pools hold one connection, so that whatever is left on it meets the next user.
fn narrow(servers: &redis_replicated::testing::ReplicaSet) -> ReplicatedClient {
    servers
        .client_builder()
        .monitor_interval(std::time::Duration::ZERO)
        .pool_size(1)
        .shared_connections(0)
        .checkout_timeout(std::time::Duration::from_millis(50))
        .build()
        .unwrap()
}

#[test]
fn a_transaction_runs_on_one_connection_to_the_master() {
    let servers = set_with_key(1);
    let client = narrow(&servers);
    let mut connection = client.connection();
    let mut rounds = 0;
    let sum: (i64,) = redis::transaction(&mut connection, &["n"], |connection, pipeline| {
        rounds += 1;
        let old: Option<i64> = connection.get("n")?;
        if rounds == 1 {
            // Another writer comes between.
            redis::cmd("SET").arg("n").arg(41).exec(&mut servers.master().connection().unwrap()).unwrap();
        }
        pipeline.set("n", old.unwrap_or(0) + 1).ignore().get("n").query(connection)
    })
    .unwrap();
    assert_eq!((sum.0, rounds), (42, 2));
    assert_eq!(servers.replica(0).calls("GET").unwrap(), 0, "reads of a transaction see the master");
    client.set("after", "1").unwrap();
    let connections = servers.master().info("clients", "connected_clients").unwrap();
    assert_eq!(
        connections.as_deref(),
        Some("2"),
        "one pooled, one of the question itself: the connection was given back"
    );
}

#[test]
fn a_watch_is_never_leaked_to_the_next_user() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    let failed: RedisResult<()> = redis::transaction(&mut client.connection(), &["k"], |_, _| {
        Err((redis::ErrorKind::Client, "the closure fails without UNWATCH").into())
    });
    assert!(failed.is_err());
    redis::cmd("SET").arg("k").arg("changed").exec(&mut servers.master().connection().unwrap()).unwrap();
    let done: Option<(i64,)> = client.query_pipeline(redis::pipe().atomic().incr("n", 1)).unwrap();
    assert_eq!(done, Some((1,)), "the watch of another user cancelled this transaction");
}

#[test]
fn an_open_transaction_is_never_leaked_to_the_next_user() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    let queued: Value = redis::cmd("SET").arg("k").arg("x").query(&mut connection).unwrap();
    assert_eq!(queued, Value::SimpleString("QUEUED".into()));
    let busy = client.set("other", "1").unwrap_err();
    assert_eq!((busy.kind(), busy.may_have_executed()), (ErrorKind::Checkout, false), "the only connection is pinned");
    drop(connection);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn a_panic_closes_the_connection() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut connection = client.connection();
        redis::cmd("MULTI").exec(&mut connection).unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    client.set("k", "w").unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "w");
}

#[test]
fn a_transaction_driven_by_hand_works_step_by_step() {
    let servers = set_with_key(1);
    let mut connection = narrow(&servers).connection();
    let run = |connection: &mut redis_replicated::RoutedConnection, line: &str| -> RedisResult<Value> {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = command.arg(word));
        command.query(connection)
    };
    assert_eq!(run(&mut connection, "UNWATCH").unwrap(), Value::Okay);
    assert_eq!(run(&mut connection, "EXEC").unwrap_err().code(), Some("ERR"), "EXEC without MULTI");
    run(&mut connection, "WATCH k").unwrap();
    run(&mut connection, "MULTI").unwrap();
    run(&mut connection, "INCR n").unwrap();
    assert_eq!(run(&mut connection, "EXEC").unwrap(), Value::Array(vec![Value::Int(1)]));
    run(&mut connection, "MULTI").unwrap();
    run(&mut connection, "INCR n").unwrap();
    run(&mut connection, "DISCARD").unwrap();
    let value: String = connection.get("n").unwrap_or_default();
    assert!(value == "1" || value.is_empty(), "back to a replica, which may lag: {value}");
    assert_eq!(servers.replica(0).calls("GET").unwrap(), 1);
}

#[test]
fn steps_of_a_transaction_are_refused_where_no_connection_is_kept() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    for step in ["WATCH", "MULTI", "EXEC", "DISCARD", "UNWATCH"] {
        let error = client.query::<Value>(redis::cmd(step).arg("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("connection()"), "{error}");
    }
    // A pipeline may open one, and is then closed with its connection.
    client.query_pipeline::<Value>(redis::pipe().cmd("WATCH").arg("k").get("k")).unwrap();
    redis::cmd("SET").arg("k").arg("x").exec(&mut servers.master().connection().unwrap()).unwrap();
    let done: Option<(i64,)> = client.query_pipeline(redis::pipe().atomic().incr("n", 1)).unwrap();
    assert_eq!(done, Some((1,)));
}

#[test]
fn what_relied_on_a_lost_connection_fails_once() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    let mut connection = client.connection();
    let kill = || {
        redis::cmd("CLIENT")
            .arg("KILL")
            .arg("TYPE")
            .arg("normal")
            .arg("SKIPME")
            .arg("yes")
            .query::<i64>(&mut servers.master().connection().unwrap())
            .unwrap()
    };
    redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
    assert_eq!(kill(), 1);
    let lost = connection.get::<_, String>("k").unwrap_err();
    assert_eq!(Error::of(&lost).map(Error::kind), Some(ErrorKind::Interrupted));
    let unguarded = redis::pipe().atomic().set("k", "x").query::<()>(&mut connection).unwrap_err();
    assert!(unguarded.to_string().contains("the connection of this transaction was lost"), "{unguarded}");
    assert_eq!(connection.get::<_, String>("k").unwrap(), "v");
    redis::pipe().atomic().set("k", "x").query::<()>(&mut connection).unwrap();

    redis::cmd("MULTI").exec(&mut connection).unwrap();
    assert_eq!(kill(), 1);
    assert!(redis::cmd("INCR").arg("n").exec(&mut connection).is_err());
    let unqueued = redis::cmd("INCR").arg("n").exec(&mut connection).unwrap_err();
    assert_eq!(
        Error::of(&unqueued).map(|error| (error.kind(), error.may_have_executed())),
        Some((ErrorKind::Interrupted, false))
    );
    assert!(redis::cmd("EXEC").exec(&mut connection).is_err());
    assert_eq!(client.get::<Option<i64>>("n").unwrap(), None);
    redis::cmd("INCR").arg("n").exec(&mut connection).unwrap();
}

#[test]
fn a_transaction_that_was_not_queued_says_why() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    let pipeline = redis::pipe().atomic().set("k", "x").cmd("INCR").to_owned();
    let error = pipeline.query::<()>(&mut client.connection()).unwrap_err();
    assert_eq!(error.kind(), redis::ErrorKind::Server(redis::ServerErrorKind::ExecAbort));
    assert!(error.to_string().contains("command 1: ERR wrong number of arguments for 'incr' command"), "{error}");
    let error = client.query_pipeline::<()>(&pipeline).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false));
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn a_refused_multi_is_an_error_that_tells_that_commands_ran() {
    let servers = set_with_key(0);
    let acl = |words: &[&str]| {
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg("half")
            .arg(words)
            .exec(&mut servers.master().connection().unwrap())
            .unwrap()
    };
    acl(&["on", ">pw", "~*", "+@all", "-multi"]);
    let url = servers.master().url().replace("redis://", "redis://half:pw@");
    let client = ReplicatedClient::builder().master(url).build().unwrap();
    let error = client.query_pipeline::<()>(redis::pipe().atomic().set("k", "x")).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, true));
    assert_eq!(error.as_redis().and_then(redis::RedisError::code), Some("NOPERM"));
    assert_eq!(client.get::<String>("k").unwrap(), "x", "without MULTI the server ran it at once");
    assert!(!error.to_string().contains("pw"));
}

#[test]
fn a_failed_discard_and_steps_inside_a_transaction_reach_nobody_else() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    assert!(redis::cmd("DISCARD").arg("x").exec(&mut connection).is_err());
    drop(connection);
    assert_eq!(client.get::<String>("k").unwrap(), "v", "the next user's command was queued");
    let nested = redis::pipe().atomic().cmd("EXEC").cmd("WATCH").arg("k").to_owned();
    assert_eq!(client.query_pipeline::<Value>(&nested).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn scans_go_on_inside_a_transaction_and_not_across_its_border() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let mut fields = redis::pipe();
    (0..600).for_each(|n| _ = fields.hset("big", n, n).ignore());
    client.query_pipeline::<()>(&fields).unwrap();
    servers.wait_until_in_sync().unwrap();
    let mut connection = client.connection();
    let seen: usize = redis::transaction(&mut connection, &["big"], |connection, _| {
        Ok(Some(connection.hscan::<_, (String, String)>("big")?.count()))
    })
    .unwrap();
    assert_eq!(seen, 600);
    let (cursor, _): (u64, Value) = redis::cmd("HSCAN").arg("big").arg(0).query(&mut connection).unwrap();
    redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
    let foreign = redis::cmd("HSCAN").arg("big").arg(cursor).query::<Value>(&mut connection).unwrap_err();
    assert_eq!(
        Error::of(&foreign).map(Error::kind),
        Some(ErrorKind::Refused),
        "a replica's cursor means nothing on the master"
    );
}

#[test]
fn a_pipeline_does_not_run_outside_of_the_transaction_that_was_lost() {
    let servers = set_with_key(0);
    let client = narrow(&servers);
    let kill = || {
        let mut admin = servers.master().connection().unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query::<i64>(&mut admin).unwrap()
    };
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    kill();
    assert!(redis::cmd("INCR").arg("n").exec(&mut connection).is_err());
    assert!(redis::pipe().incr("n", 1).incr("n", 1).query::<()>(&mut connection).is_err());
    redis::cmd("DISCARD").exec(&mut connection).unwrap();
    redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
    kill();
    // The reply to EXEC is lost: that is in doubt, and the handle is free again.
    let lost = redis::pipe().atomic().incr("n", 1).query::<()>(&mut connection).unwrap_err();
    assert_eq!(
        Error::of(&lost).map(|error| (error.kind(), error.may_have_executed())),
        Some((ErrorKind::Interrupted, true))
    );
    assert_eq!(connection.get::<_, Option<i64>>("n").unwrap(), None);
    redis::pipe().atomic().incr("n", 1).query::<()>(&mut connection).unwrap();
}
