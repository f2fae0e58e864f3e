//! Rights that are missing, on one node or on all, and memory that is used up: what is put around a command does not fail
//! it.

use std::time::Duration;

use redis_replicated::testing::Server;
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient, SessionMode, redis};

use crate::support::{as_user, check_that_nobody_is_blamed, configure, set_with_key};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_right_that_one_replica_lacks_is_found_on_another_node() {
    let servers = set_with_key(2);
    let all = &["~*", "+@all"][..];
    let builder = as_user(&servers, all);
    let forbid = |server: &Server, right: &str| {
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER").arg("app").arg(right).exec(&mut server.connection().unwrap()).unwrap();
    };
    forbid(servers.replica(0), "-get");
    let client = builder.build().unwrap();
    for handle in [client.clone(), client.read_from(ReadFrom::Replica), client.session()] {
        (0..20).for_each(|_| assert_eq!(handle.get::<String>("k").unwrap(), "v"));
    }
    assert_eq!(servers.master().calls("GET").unwrap(), 0, "the other replica has the right");
    check_that_nobody_is_blamed(&client);
    servers.servers().iter().for_each(|server| forbid(server, "-get"));
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    let error = client.get::<String>("k").unwrap_err();
    assert_eq!((error.kind(), error.as_redis().unwrap().code()), (ErrorKind::Server, Some("NOPERM")));
    let refused = |server: &Server| server.errors("NOPERM").unwrap();
    assert_eq!(servers.servers().iter().map(refused).sum::<u64>(), 2, "two nodes were asked");
    check_that_nobody_is_blamed(&client);
}

#[test]
fn a_new_client_finds_the_node_that_has_the_right() {
    let servers = set_with_key(1);
    let builder = || as_user(&servers, &["~*", "+@all"]);
    let _ = builder();
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("app").arg("-get").exec(&mut servers.replica(0).connection().unwrap()).unwrap();
    for _ in 0..20 {
        let url = |server: &Server| format!("redis://app:secret@{}", server.addr());
        let builder = ReplicatedClient::builder().master(url(servers.master())).replica(url(servers.replica(0)));
        assert_eq!(builder.build().unwrap().get::<String>("k").unwrap(), "v");
    }
}

#[test]
fn reads_of_sessions_go_on_where_memory_is_used_up() {
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let servers = set_with_key(0);
        let client = servers.client_builder().session_mode(mode).build().unwrap();
        let session = client.session();
        session.set("n", 1).unwrap();
        configure(servers.master(), "maxmemory", 1);
        let bounded = client.max_staleness(Duration::from_secs(1));
        servers.master().reset_counts().unwrap();
        for _ in 0..50 {
            assert_eq!(client.get::<i64>("n").unwrap(), 1);
            assert_eq!(session.get::<i64>("n").unwrap(), 1, "{mode:?}");
            assert_eq!(bounded.get::<i64>("n").unwrap(), 1);
        }
        assert!(servers.master().calls("MULTI").unwrap() <= 2, "remembered");
        let error = session.set("n", 2).unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error:?}");
        check_that_nobody_is_blamed(&client);
    }
}

#[test]
fn users_without_multi_or_exec_read_in_sessions() {
    for right in ["-multi", "-exec"] {
        let servers = set_with_key(1);
        let client = as_user(&servers, &["~*", "+@all", right]).build().unwrap();
        let session = client.session();
        session.set("n", 1).unwrap();
        servers.wait_until_in_sync().unwrap();
        let bounded = client.max_staleness(Duration::from_secs(1));
        for _ in 0..20 {
            assert_eq!(session.get::<i64>("n").unwrap(), 1, "{right}");
            assert_eq!(bounded.get::<i64>("n").unwrap(), 1, "{right}");
            assert_eq!(client.get::<i64>("n").unwrap(), 1, "{right}");
        }
        check_that_nobody_is_blamed(&client);
    }
}

#[test]
fn a_wait_that_is_refused_is_not_called_late() {
    for (mode, handle) in [(SessionMode::Strict, 0), (SessionMode::Strict, 1), (SessionMode::Fence, 1)] {
        let servers = set_with_key(1);
        let client = as_user(&servers, &["~*", "+@all", "-wait"]).session_mode(mode).build().unwrap();
        let client = if handle == 0 { client } else { client.session() };
        let error = client.acknowledged_by(1, LONG).set("n", 1).unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Unacknowledged, true), "{error:?}");
        assert!(error.acknowledged().is_none_or(|replicas| replicas == 0));
        assert_eq!(error.as_redis().unwrap().code(), Some("NOPERM"));
        let text = error.to_string();
        assert!(text.contains("SET was applied, but the server refused to wait") && text.contains("+wait"), "{text}");
        assert_eq!(client.get::<i64>("n").unwrap(), 1);
    }
}
