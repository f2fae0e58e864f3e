//! Calls that block by their own argument on a node that is replaced, removed or gone.

use std::time::{Duration, Instant};

use redis::Value;
use redis_replicated::testing::{FaultProxy, NetworkFault, Sentinels, Server};
use redis_replicated::{Error, ErrorKind, ReadFrom, ReplicatedClient, Result};

use super::{Ended, SECOND, own, spawn};
use crate::support::{places, promote, set_with_key, wait_until};

type Blocked = Vec<(&'static str, Ended<Result<Value>>)>;

fn pop(time: u32) -> redis::Cmd {
    redis::cmd("BLPOP").arg("jobs").arg(time).clone()
}

/// Blocks on the master in each way there is.
fn block_on_master(client: &ReplicatedClient) -> Blocked {
    let mut blocked = Blocked::new();
    let mut add = |what, call: fn(&ReplicatedClient) -> Result<Value>| {
        let client = client.clone();
        blocked.push((what, spawn(move || call(&client))));
    };
    add("query, 0", |client| client.query(pop(0)));
    add("query, 30", |client| client.query(pop(30)));
    add("connection, 0", |client| pop(0).query(&mut client.connection()).map_err(own));
    add("pipeline, 0", |client| client.query_pipeline(redis::pipe().set("n", 1).add_command(pop(0))));
    add("pipeline, twice 20", |client| client.query_pipeline(redis::pipe().add_command(pop(20)).add_command(pop(20))));
    add("pinned, 0", |client| {
        let mut connection = client.connection();
        redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
        pop(0).query(&mut connection).map_err(own)
    });
    add("session, 0", |client| client.session().query(pop(0)));
    add("confirmed, 0", |client| client.acknowledged_by(1, 60 * SECOND).query(pop(0)));
    add("WAIT 9 0", |client| client.query(redis::cmd("WAIT").arg(9).arg(0)));
    blocked
}

fn wait_until_blocked(server: &Server, count: usize) {
    let blocked = || server.info("clients", "blocked_clients").unwrap().unwrap();
    wait_until("they are blocked", || blocked() == count.to_string());
}

/// All end soon after `since`: in a second, and other tests use the processors.
fn assert_end(blocked: Blocked, since: Instant, check: impl Fn(&str, &Error)) {
    let end = since + 3 * SECOND;
    for (what, ended) in blocked {
        let left = end.saturating_duration_since(Instant::now());
        let (_, done) = ended.recv_timeout(left).unwrap_or_else(|_| panic!("{what}: not back in time"));
        check(what, &done.unwrap_err());
    }
}

fn assert_in_doubt(what: &str, error: &Error) {
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{what}: {error}");
}

#[test]
fn calls_that_block_on_a_frozen_master_end_once_another_took_over() {
    let servers = set_with_key(2);
    let client = servers.client_builder().pool_size(20).build().unwrap();
    let blocked = block_on_master(&client);
    wait_until_blocked(servers.master(), blocked.len());
    servers.master().pause().unwrap();
    promote(servers.replica(0));
    wait_until("it is known", || places(&client).0 == Some(servers.replica(0).addr()));
    assert_end(blocked, Instant::now(), assert_in_doubt);
    servers.master().resume().unwrap();
}

#[test]
fn calls_that_block_on_a_master_end_once_sentinels_replaced_it() {
    let servers = set_with_key(2);
    let sentinels = Sentinels::start(&servers, 3).unwrap();
    let builder = ReplicatedClient::builder().sentinel(sentinels.service(), sentinels.urls());
    let client = builder.pool_size(20).build().unwrap();
    client.set("n", 1).unwrap();
    let blocked = block_on_master(&client);
    wait_until_blocked(servers.master(), blocked.len());
    sentinels.fail_over().unwrap();
    let old = servers.master().addr();
    wait_until("it is known", || places(&client).0.is_some_and(|master| master != old));
    assert_end(blocked, Instant::now(), assert_in_doubt);
}

#[test]
fn reads_that_block_on_a_replica_end_when_it_is_removed_or_silent() {
    for removed in [true, false] {
        let servers = set_with_key(1);
        let proxy = FaultProxy::start(&servers.replica(0).addr()).unwrap();
        let builder = ReplicatedClient::builder().master(servers.master().url()).replica(proxy.url());
        let client = builder.read_from(ReadFrom::Replica).build().unwrap();
        wait_until("it serves", || client.get::<String>("k").is_ok());
        let read = |time: u32| redis::cmd("XREAD").arg("BLOCK").arg(time).arg("STREAMS").arg("s").arg("$").clone();
        let of = |command: redis::Cmd| {
            let client = client.clone();
            spawn(move || client.query::<Value>(&command))
        };
        let piped = client.clone();
        let piped = spawn(move || piped.query_pipeline(redis::pipe().get("k").add_command(read(0))));
        let blocked = vec![("0", of(read(0))), ("30 s", of(read(30_000))), ("pipeline", piped)];
        wait_until_blocked(servers.replica(0), 3);
        if removed {
            client.deadline(Duration::from_millis(200)).remove_replica(&proxy.addr()).unwrap();
        } else {
            proxy.set(NetworkFault::BlackHole).unwrap();
            wait_until("it is ejected", || client.snapshot().nodes[1].ejected);
        }
        let expected = if removed { ErrorKind::Unavailable } else { ErrorKind::Interrupted };
        assert_end(blocked, Instant::now(), |what, error| {
            assert_eq!((error.kind(), error.may_have_executed()), (expected, false), "{what}: {error}");
        });
    }
}
