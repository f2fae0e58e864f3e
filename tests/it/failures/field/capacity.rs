//! Servers without room, and logins that changed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redis::Connection;
use redis_replicated::testing::{ReplicaSet, Sentinels, Server};
use redis_replicated::{Error, ReplicatedClient};

use crate::support::{as_user, configure, set_with_key, wait_until};

/// What became of the calls of several threads.
#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    reads: AtomicUsize,
    writes: AtomicI64,
    failed: Mutex<Vec<Error>>,
}

impl Load {
    /// Reads and counts up on so many threads each, while `act` runs.
    fn run(client: &ReplicatedClient, threads: usize, act: impl FnOnce(&Self)) -> Self {
        /// Also when `act` panics: the scope would wait for ever.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let load = Self::default();
        thread::scope(|scope| {
            let _stop = Stop(&load.stop);
            for _ in 0..threads {
                scope.spawn(|| {
                    load.repeat(|| client.get::<String>("k").map(|_| _ = load.reads.fetch_add(1, Ordering::SeqCst)));
                });
                scope.spawn(|| {
                    load.repeat(|| client.incr("n").map(|_| _ = load.writes.fetch_add(1, Ordering::SeqCst)));
                });
            }
            act(&load);
        });
        load
    }

    fn repeat(&self, call: impl Fn() -> Result<(), Error>) {
        while !self.stop.load(Ordering::SeqCst) {
            if let Err(error) = call() {
                self.failed.lock().unwrap().push(error);
            }
        }
    }

    /// Waits until so many more calls of both kinds have succeeded.
    fn flow(&self, calls: usize) {
        let count = || (self.reads.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst));
        let (reads, writes) = count();
        let target = (reads + calls, writes + i64::try_from(calls).unwrap());
        wait_until("calls flow", || count().0 >= target.0 && count().1 >= target.1);
    }

    fn assert_none_failed(&self, what: &str) {
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{what}: {} failed, first {}", failed.len(), failed[0]);
    }
}

/// Lets a server have no clients but those that it has, and so many more.
fn leave_room_for(server: &Server, more: usize) {
    let all: String = redis::cmd("CLIENT").arg("LIST").query(&mut server.connection().unwrap()).unwrap();
    configure(server, "maxclients", all.lines().count() - 1 + more);
}

fn counted(connection: &mut Connection) -> i64 {
    redis::cmd("GET").arg("n").query(connection).unwrap()
}

#[test]
fn a_client_that_fills_the_servers_itself_is_served_without_a_monitor() {
    let servers = set_with_key(2);
    let mut direct = servers.master().connection().unwrap();
    servers.servers().iter().for_each(|server| leave_room_for(server, 3));
    let client = servers.client_builder().pool_size(30).monitor_interval(Duration::ZERO).build().unwrap();
    let load = Load::run(&client, 12, |load| load.flow(2000));
    load.assert_none_failed("full servers");
    assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "{}", client.snapshot());
    assert_eq!(counted(&mut direct), load.writes.into_inner(), "each is executed once");
}

#[test]
fn one_connection_serves_writes_on_a_master_that_is_full() {
    let servers = set_with_key(1);
    let mut direct = servers.master().connection().unwrap();
    let client = servers.client_builder().pool_size(1).build().unwrap();
    wait_until("all are known", || client.snapshot().nodes.iter().all(|node| node.replication.is_some()));
    let load = Load::run(&client, 3, |load| {
        load.flow(50);
        leave_room_for(servers.master(), 0);
        load.flow(1000);
    });
    load.assert_none_failed("a full master");
    assert_eq!(counted(&mut direct), load.writes.into_inner(), "each is executed once");
}

#[test]
fn found_nodes_serve_on_open_connections_after_their_password_changed() {
    let servers = ReplicaSet::setup().password("old").replicas(2).start().unwrap();
    let mut administrators: Vec<_> = servers.servers().iter().map(|server| server.connection().unwrap()).collect();
    redis::cmd("SET").arg("k").arg("v").exec(&mut administrators[0]).unwrap();
    servers.wait_until_in_sync().unwrap();
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let login = redis::RedisConnectionInfo::default().set_password("old");
    let clients = [
        ReplicatedClient::builder().discover([servers.master().url()]).pool_size(20).build().unwrap(),
        ReplicatedClient::builder()
            .sentinel(sentinels.service(), sentinels.urls())
            .login(login)
            .pool_size(20)
            .build()
            .unwrap(),
    ];
    for client in &clients {
        Load::run(client, 3, |load| load.flow(1000)).assert_none_failed("before");
    }
    for connection in &mut administrators {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg("requirepass").arg("new").arg("masterauth").arg("new").exec(connection).unwrap();
    }
    for client in &clients {
        // More threads than connections are open.
        Load::run(client, 10, |load| load.flow(2000)).assert_none_failed("password changed");
        assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "{}", client.snapshot());
    }
}

#[test]
fn a_user_deleted_on_one_replica_fails_no_read() {
    let servers = set_with_key(2);
    let client = as_user(&servers, &["~*", "&*", "+@all"]).pool_size(20).build().unwrap();
    let mut direct = servers.replica(0).connection().unwrap();
    let load = Load::run(&client, 4, |load| {
        load.flow(500);
        redis::cmd("ACL").arg("DELUSER").arg("app").exec(&mut direct).unwrap();
        load.flow(1000);
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER").arg("app").arg("on").arg(">secret").arg("~*").arg("+@all").exec(&mut direct).unwrap();
        let is_back = |node: &redis_replicated::NodeSnapshot| !node.ejected;
        wait_until("it is back", || client.snapshot().nodes.iter().all(is_back));
        load.flow(500);
    });
    load.assert_none_failed("DELUSER");
}
