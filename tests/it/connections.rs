//! `connection()`: every command of the redis crate, routed; scans pinned to one node.

mod generations;
mod shared_endpoint;
pub mod sharing;
mod transactions;
mod wear;

use std::collections::HashSet;

use redis::{Commands, ConnectionLike, Iter, RedisResult};
use redis_replicated::strategy::RoundRobin;
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Error, ErrorKind, ReplicatedClient};

use crate::support::{calls_on_replicas, set_with_key};

/// A set of three replicas that hash their keys differently, with `count` keys `scan:N`.
fn many_keys(count: usize) -> (ReplicaSet, ReplicatedClient) {
    let servers = ReplicaSet::start(3).unwrap();
    let client = servers.client_builder().strategy(RoundRobin::new()).build().unwrap();
    let mut pipeline = redis::pipe();
    (0..count).for_each(|n| _ = pipeline.set(format!("scan:{n}"), n).ignore());
    (0..count).for_each(|n| _ = pipeline.hset("hash", format!("field-{n}"), n).ignore());
    client.query_pipeline::<()>(&pipeline).unwrap();
    servers.wait_until_in_sync().unwrap();
    (servers, client)
}

#[test]
fn a_scan_stays_on_the_node_of_its_first_page() {
    let (servers, client) = many_keys(2000);
    let mut connection = client.connection();
    for _ in 0..3 {
        let keys: Iter<'_, String> = connection.scan_match("scan:*").unwrap();
        let keys: HashSet<String> = keys.collect::<RedisResult<_>>().unwrap();
        assert_eq!(keys.len(), 2000);
    }
    let pages: Vec<u64> = servers.replicas().iter().map(|replica| replica.calls("SCAN").unwrap()).collect();
    assert!(pages.iter().all(|count| *count > 100), "the three scans began on different replicas: {pages:?}");
    let fields: Iter<'_, (String, usize)> = connection.hscan("hash").unwrap();
    assert_eq!(fields.collect::<RedisResult<Vec<_>>>().unwrap().len(), 2000);
    assert_eq!(servers.master().calls("SCAN").unwrap(), 0);
}

#[test]
fn interleaved_scans_keep_to_their_nodes() {
    let (_servers, client) = many_keys(500);
    let mut connection = client.connection();
    let mut open = vec![(String::from("0"), HashSet::new()); 4];
    let mut ended = 0;
    while ended < open.len() {
        for (cursor, seen) in open.iter_mut().filter(|(cursor, seen)| cursor != "0" || seen.is_empty()) {
            let mut command = redis::cmd("SCAN");
            command.arg(&*cursor).arg("MATCH").arg("scan:*");
            let (next, keys): (String, Vec<String>) = command.query(&mut connection).unwrap();
            seen.extend(keys);
            *cursor = next;
            ended += usize::from(cursor == "0");
        }
    }
    assert!(open.iter().all(|(_, seen)| seen.len() == 500));
}

#[test]
fn a_foreign_cursor_is_refused() {
    let (_servers, client) = many_keys(200);
    let mut connection = client.connection();
    let (cursor, _): (u64, Vec<String>) = redis::cmd("SCAN").arg(0).query(&mut connection).unwrap();
    assert_ne!(cursor, 0);
    for (command, message) in [
        (redis::cmd("SCAN").arg(cursor).to_owned(), "connection() or dedicated()"),
        (redis::cmd("HSCAN").arg("hash").arg(3).to_owned(), "connection() or dedicated()"),
    ] {
        let error = client.query::<redis::Value>(&command).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(message), "{error}");
        let error = command.query::<redis::Value>(&mut client.connection()).unwrap_err();
        let error = Error::of(&error).unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("dedicated()"), "{error}");
    }
    assert!(redis::cmd("SCAN").arg(cursor).query::<redis::Value>(&mut connection).is_ok(), "its own handle knows it");
    let first: (u64, Vec<String>) = client.query(redis::cmd("SCAN").arg(0)).unwrap();
    assert_eq!(first.1.len().min(1), 1);
}

#[test]
fn a_scan_ends_with_an_error_when_its_node_is_gone() {
    let (mut servers, client) = many_keys(2000);
    let mut connection = client.deadline(std::time::Duration::from_millis(300)).connection();
    let mut keys: Iter<'_, String> = connection.scan().unwrap();
    keys.next().unwrap().unwrap();
    (0..3).for_each(|index| servers.replica_mut(index).stop());
    let error = keys.find_map(Result::err).unwrap();
    let error = Error::of(&error).unwrap();
    assert!(matches!(error.kind(), ErrorKind::Checkout | ErrorKind::Interrupted), "{error}");
    assert!(!error.may_have_executed());
    assert_eq!(servers.master().calls("SCAN").unwrap(), 0, "a cursor means nothing elsewhere");
}

#[test]
fn commands_of_the_redis_crate_are_routed() {
    let servers = set_with_key(2);
    let mut connection = servers.client_builder().build().unwrap().connection();
    let value: String = Commands::get(&mut connection, "k").unwrap();
    assert_eq!(value, "v");
    assert_eq!(redis::TypedCommands::strlen(&mut connection, "k").unwrap(), 1);
    redis::TypedCommands::set(&mut connection, "k", "w").unwrap();
    assert_eq!((calls_on_replicas(&servers, "GET"), calls_on_replicas(&servers, "STRLEN")), (1, 1));
    assert_eq!(servers.master().calls("SET").unwrap(), 2);
    assert!(connection.check_connection() && connection.is_open() && connection.supports_pipelining());
}

#[test]
fn a_script_is_loaded_and_run_on_the_master() {
    let servers = set_with_key(2);
    let mut connection = servers.client_builder().build().unwrap().connection();
    let script = redis::Script::new("return redis.call('INCR', KEYS[1])");
    assert_eq!(script.key("n").invoke::<i64>(&mut connection).unwrap(), 1);
    assert_eq!(script.key("n").invoke::<i64>(&mut connection).unwrap(), 2);
    assert_eq!(servers.master().calls("EVALSHA").unwrap(), 3);
    assert_eq!(calls_on_replicas(&servers, "EVALSHA"), 0);
}

#[test]
fn what_would_change_a_connection_is_refused() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let mut connection = client.connection();
    for command in
        ["SELECT 1", "AUTH x", "HELLO 3", "RESET", "SUBSCRIBE c", "MONITOR", "CLIENT REPLY OFF", "QUIT", "PSYNC ? -1"]
    {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = command.arg(word));
        let error = client.query::<redis::Value>(&command).unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Refused, false));
        assert!(error.to_string().contains("dedicated()"), "{error}");
        let refused = |error: redis::RedisError| Error::of(&error).map(Error::kind) == Some(ErrorKind::Refused);
        assert!(refused(command.query::<redis::Value>(&mut connection).unwrap_err()));
        let mut pipeline = redis::pipe();
        pipeline.set("k", "x").add_command(command);
        assert_eq!(client.query_pipeline::<redis::Value>(&pipeline).unwrap_err().kind(), ErrorKind::Refused);
    }
    let mut silent = redis::cmd("SET");
    silent.arg("k").arg("x").set_no_response(true);
    assert_eq!(client.query::<()>(&silent).unwrap_err().kind(), ErrorKind::Refused);
    assert!(silent.query::<()>(&mut connection).is_err());
    assert_eq!(client.get::<String>("k").unwrap(), "v", "nothing of it was sent");
}

#[test]
fn packed_bytes_that_are_not_whole_commands_are_refused() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    let mut connection = client.connection();
    let get = redis::cmd("GET").arg("k").get_packed_command();
    let twice = [get.clone(), get.clone()].concat();
    for bytes in [&b""[..], b"PING\r\n", &get[..get.len() - 1], &twice, b"*0\r\n", b"\xff\xff"] {
        let error = connection.req_packed_command(bytes).unwrap_err();
        assert_eq!(Error::of(&error).map(Error::kind), Some(ErrorKind::Refused));
    }
    for (offset, count) in [(0, 1), (0, 3), (1, 1), (3, 1), (usize::MAX, 1)] {
        let error = connection.req_packed_commands(&twice, offset, count).unwrap_err();
        assert_eq!(Error::of(&error).map(Error::kind), Some(ErrorKind::Refused), "{offset} {count}");
    }
    assert_eq!(connection.req_packed_commands(&twice, 0, 2).unwrap().len(), 2);
    assert!(client.query::<()>(&redis::Cmd::new()).is_err());
    assert!(client.query_pipeline::<()>(&redis::pipe()).is_err());
}
