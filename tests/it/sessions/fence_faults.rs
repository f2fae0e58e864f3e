//! What fences have to prove when servers lose, evict and refuse: instances that once read old data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use redis::Commands;
use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient, Result, SessionMode};

use crate::sessions::write_in_doubt;
use crate::support::{Distant, Fake, configure, set_with_key, wait_until};

fn fenced(servers: &ReplicaSet) -> ReplicatedClient {
    servers.client_builder().session_mode(SessionMode::Fence).build().unwrap()
}

/// Reads `n` until it is `value`; returns what was told before, and fails if anything else is read.
fn told_before(session: &ReplicatedClient, value: i32) -> Vec<ErrorKind> {
    let mut told = Vec::new();
    wait_until("the session goes on", || match session.get::<i32>("n") {
        Ok(read) => {
            assert_eq!(read, value, "after {told:?}");
            true
        }
        Err(error) => {
            told.push(error.kind());
            false
        }
    });
    told
}

fn evict_fences(server: &Server) {
    let mut direct = server.connection().unwrap();
    let fences: Vec<String> = direct.keys("redis-replicated:fence:*").unwrap();
    direct.del::<_, ()>(fences).unwrap();
}

#[test]
fn a_strict_token_keeps_its_demand_in_a_fenced_client_and_the_other_way_round() {
    for (from, to) in [(SessionMode::Strict, SessionMode::Fence), (SessionMode::Fence, SessionMode::Strict)] {
        let set = Distant::start(1);
        let builder = |mode| set.servers.client_builder().session_mode(mode).build().unwrap();
        let session = builder(from).session();
        session.set("n", 1).unwrap();
        set.servers.wait_until_in_sync().unwrap();
        set.freeze(0);
        session.set("n", 2).unwrap();
        let there = builder(to).resume(&session.token().unwrap());
        let read: Vec<i32> = (0..5).map(|_| there.get("n").unwrap()).collect();
        assert_eq!(read, [2; 5], "{from:?} in {to:?}");
        there.set("n", 3).unwrap();
        let read: Vec<i32> = (0..5).map(|_| there.get("n").unwrap()).collect();
        assert_eq!(read, [3; 5], "{from:?} in {to:?}");
    }
}

#[test]
fn a_token_whose_write_was_lost_is_told_in_a_client_of_either_mode() {
    for (from, to) in [(SessionMode::Strict, SessionMode::Fence), (SessionMode::Fence, SessionMode::Strict)] {
        let mut servers = set_with_key(0);
        let session = servers.client_builder().session_mode(from).build().unwrap().session();
        session.set("n", 1).unwrap();
        redis::cmd("SAVE").exec(&mut servers.master().connection().unwrap()).unwrap();
        session.set("n", 2).unwrap();
        let token = session.token().unwrap();
        servers.master_mut().restart().unwrap();
        let there = servers.client_builder().session_mode(to).build().unwrap().resume(&token);
        let told = told_before(&there, 1);
        assert!(matches!(told[..], [ErrorKind::WriteLost | ErrorKind::Unproven]), "{from:?} in {to:?}: {told:?}");
    }
}

#[test]
fn an_evicted_fence_is_told_and_the_next_write_is_read() {
    let set = Distant::start(1);
    let session = fenced(&set.servers).session();
    session.set("n", 3).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    evict_fences(set.servers.master());
    session.set("n", 4).unwrap();
    assert_eq!(session.get::<i32>("n").unwrap_err().kind(), ErrorKind::Unproven);
    let read: Vec<i32> = (0..5).map(|_| session.get("n").unwrap()).collect();
    assert_eq!(read, [4; 5]);
    evict_fences(set.servers.master());
    assert_eq!(session.get::<i32>("n").unwrap_err().kind(), ErrorKind::Unproven);
    let read: Vec<i32> = (0..5).map(|_| session.get("n").unwrap()).collect();
    assert_eq!(read, [4; 5]);
}

#[test]
fn a_write_in_doubt_that_was_read_is_read_again() {
    let set = Distant::start(1);
    let proxy = FaultProxy::start(&set.servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder().master(proxy.url()).replica(set.servers.replica(0).url());
    let builder = builder.response_timeout(Duration::from_millis(200)).session_mode(SessionMode::Fence);
    let session = builder.build().unwrap().session();
    session.set("n", 0).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    write_in_doubt(&session, &proxy);
    proxy.set(NetworkFault::None).unwrap();
    proxy.cut();
    let mut last = 0;
    wait_until("the master is back", || {
        session.get("n").is_ok_and(|read: i32| std::mem::replace(&mut last, read) == 0)
    });
    assert!(last >= 1, "the frozen replica has 0");
    for _ in 0..50 {
        // It may be applied at any time, but not taken back.
        let read: i32 = session.get("n").unwrap();
        assert!(read >= last, "{read} after {last}");
        last = read;
    }
}

/// A master that saved, took another write, was killed, and starts again from what it had saved.
fn go_back(servers: &mut ReplicaSet, session: &ReplicatedClient) {
    session.set("n", 1).unwrap();
    servers.wait_until_in_sync().unwrap();
    redis::cmd("BGSAVE").exec(&mut servers.master().connection().unwrap()).unwrap();
    wait_until("it is saved", || {
        let field = |name| servers.master().info("persistence", name).unwrap().unwrap();
        field("rdb_bgsave_in_progress") == "0"
            && field("rdb_last_save_time") != "0"
            && field("rdb_changes_since_last_save") == "0"
    });
    session.set("n", 2).unwrap();
    servers.wait_until_in_sync().unwrap();
    assert_eq!(session.get::<i32>("n").unwrap(), 2);
    servers.master_mut().restart().unwrap();
}

#[test]
fn a_restart_from_an_older_snapshot_is_told_by_a_read() {
    let mut servers = set_with_key(1);
    let session = fenced(&servers).session().read_from(ReadFrom::MasterPreferred);
    go_back(&mut servers, &session);
    // A replica that has not followed yet still has what the master lost.
    let mut told = Vec::new();
    wait_until("it is told", || {
        match session.get::<i32>("n") {
            Ok(read) => assert_eq!(read, if told.is_empty() { 2 } else { 1 }),
            Err(error) => told.push(error.kind()),
        }
        told.contains(&ErrorKind::WriteLost)
    });
    assert_eq!(session.get::<i32>("n").unwrap(), 1);
}

#[test]
fn as_many_writes_as_were_lost_do_not_make_up_for_them() {
    let mut servers = set_with_key(1);
    let session = fenced(&servers).session();
    go_back(&mut servers, &session);
    wait_until("a write is taken", || session.set("other", 1).is_ok());
    assert_eq!(told_before(&session, 1), [ErrorKind::WriteLost]);
    session.set("n", 5).unwrap();
    assert_eq!(told_before(&session, 5), []);
    assert_eq!(session.get::<i32>("other").unwrap(), 1);
}

#[test]
fn commands_that_need_no_memory_succeed_without_memory() {
    let set = Distant::start(1);
    let session = fenced(&set.servers).session();
    session.set("n", 1).unwrap();
    session.set("other", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.freeze(0);
    configure(set.servers.master(), "maxmemory", 1);
    session.query::<()>(redis::cmd("EXPIRE").arg("n").arg(1000)).unwrap();
    assert!(session.query::<i64>(redis::cmd("TTL").arg("n")).unwrap() > 0, "the master serves it");
    session.query::<()>(&redis::Cmd::del("n")).unwrap();
    (0..10).for_each(|_| assert_eq!(session.get::<Option<i32>>("n").unwrap(), None));
    let gone: (i32,) = session.query_pipeline(redis::pipe().del("other")).unwrap();
    assert_eq!((gone, session.get::<Option<i32>>("other").unwrap()), ((1,), None));
    let error = session.set("n", 2).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error}");
    configure(set.servers.master(), "maxmemory", 0);
    set.proxies[0].set(NetworkFault::None).unwrap();
    set.proxies[0].cut();
    set.servers.wait_until_in_sync().unwrap();
    wait_until("a fence is raised, and replicas serve again", || {
        set.servers.master().reset_counts().unwrap();
        assert_eq!(session.get::<Option<i32>>("n").unwrap(), None);
        set.servers.master().calls("GET").unwrap() == 0
    });
}

/// A relay before a server that makes it say it is Dragonfly.
fn as_dragonfly(server: &Server) -> Fake {
    let port = server.addr().port().unwrap();
    Fake::raw(move |client| {
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut asks, &mut asked));
        let (mut replies, mut answers) = (server, client);
        let mut chunk = vec![0; 65536];
        while let Ok(count @ 1..) = replies.read(&mut chunk) {
            // A pair of the same number of parts.
            let text = String::from_utf8_lossy(&chunk[..count]);
            let said = text.replace("$5\r\nproto\r\n:2\r\n", "$17\r\ndragonfly_version\r\n$8\r\ndf-v1.40\r\n");
            if answers.write_all(said.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn servers_that_replicate_without_order_are_read_on_the_master() {
    let servers = set_with_key(2);
    let fakes: Vec<Fake> = servers.servers().iter().map(as_dragonfly).collect();
    let builder = ReplicatedClient::builder().master(fakes[0].url()).replicas(fakes[1..].iter().map(Fake::url));
    let client = builder.session_mode(SessionMode::Fence).build().unwrap();
    let session = client.session();
    session.set("n", 1).unwrap();
    servers.wait_until_in_sync().unwrap();
    let read = |session: &ReplicatedClient| -> Result<i32> { session.get("n") };
    assert_eq!(read(&session).unwrap(), 1);
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    (0..50).for_each(|_| assert_eq!(read(&session).unwrap(), 1));
    assert_eq!(servers.master().calls("EXEC").unwrap(), 50);
    assert!(servers.replicas().iter().all(|replica| replica.calls("EXEC").unwrap() == 0));
    let error = read(&session.read_from(ReadFrom::Replica)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(client.get::<i32>("n").unwrap(), 1, "without a session replicas serve");
}
