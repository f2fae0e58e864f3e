//! Passwords that change while connections are open, and passwords that are wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis::Connection;
use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{Description, Error, ErrorKind, NodeAddr, ReplicatedClient, Result, TopologyProvider};

use super::traffic::Traffic;
use crate::support::{as_user, set_with_key, wait_until};

fn administrators(servers: &ReplicaSet) -> Vec<Connection> {
    servers.servers().iter().map(|server| server.connection().unwrap()).collect()
}

/// How many logins the server has refused.
fn refused(connection: &mut Connection) -> usize {
    redis::cmd("ACL").arg("LOG").query::<Vec<redis::Value>>(connection).unwrap().len()
}

/// How many connections the server has accepted, this one included.
fn accepted(connection: &mut Connection) -> u64 {
    let text: String = redis::cmd("INFO").arg("stats").query(connection).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    count.unwrap().parse().unwrap()
}

#[test]
fn open_connections_go_on_after_the_password_was_changed() {
    let servers = set_with_key(2);
    let mut administrators = administrators(&servers);
    let client = as_user(&servers, &["~*", "&*", "+@all"]).pool_size(24).shared_connections(0).build().unwrap();
    let change = |connection: &mut Connection| {
        redis::cmd("ACL").arg("SETUSER").arg("app").arg("resetpass").arg(">changed").exec(connection).unwrap();
    };
    let few = Traffic::run(&client, 4, |few| {
        few.flow(1000);
        administrators.iter_mut().for_each(change);
        few.flow(1000);
        // More connections are wanted now, and cannot be had.
        let many = Traffic::run(&client, 20, |many| many.flow(10_000));
        many.assert_untroubled("password changed, more threads");
    });
    few.assert_untroubled("password changed");
    assert!(administrators.iter_mut().map(refused).sum::<usize>() > 0, "no login was tried");
}

/// Names the nodes with a password that changes.
#[derive(Debug)]
struct Rotating {
    nodes: Vec<NodeAddr>,
    password: Mutex<String>,
    asked: AtomicUsize,
}

/// The test and the client share it.
#[derive(Clone, Debug)]
struct Shared(Arc<Rotating>);

impl Shared {
    fn new(servers: &ReplicaSet, password: &str) -> Self {
        let nodes = servers.servers().iter().map(Server::addr).collect();
        Self(Arc::new(Rotating { nodes, password: Mutex::new(password.to_owned()), asked: AtomicUsize::new(0) }))
    }

    fn name(&self, password: &str) {
        *self.0.password.lock().unwrap() = password.to_owned();
        let asked = self.0.asked.load(Ordering::SeqCst);
        // The first one may have begun before.
        wait_until("the provider is asked", || self.0.asked.load(Ordering::SeqCst) > asked + 1);
    }
}

impl TopologyProvider for Shared {
    fn describe(&self, _: Instant) -> Result<Description, Error> {
        let password = self.0.password.lock().unwrap().clone();
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let url = |addr: &NodeAddr| format!("redis://:{password}@{addr}");
        let described = Description::new().master(&*url(&self.0.nodes[0]));
        Ok(self.0.nodes[1..].iter().fold(described, |described, addr| described.replica(&*url(addr))))
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(50)
    }
}

fn set_password(connection: &mut Connection, password: &str) {
    let mut config = redis::cmd("CONFIG");
    config.arg("SET").arg("requirepass").arg(password).arg("masterauth").arg(password).exec(connection).unwrap();
}

/// Changes the password on the servers and in the provider, in this order or the other.
fn rotate(provider_first: bool) {
    let servers = ReplicaSet::setup().password("old").replicas(2).start().unwrap();
    let mut administrators = administrators(&servers);
    redis::cmd("SET").arg("k").arg("v").exec(&mut administrators[0]).unwrap();
    servers.wait_until_in_sync().unwrap();
    let provider = Shared::new(&servers, "old");
    let client = ReplicatedClient::builder().provider(provider.clone()).pool_size(24).build().unwrap();
    let few = Traffic::run(&client, 4, |few| {
        few.flow(1000);
        if provider_first {
            provider.name("new");
            few.flow(1000);
        }
        administrators.iter_mut().for_each(|connection| set_password(connection, "new"));
        few.flow(1000);
        provider.name("new");
        let many = Traffic::run(&client, 20, |many| many.flow(10_000));
        many.assert_untroubled("password rotated, more threads");
    });
    few.assert_untroubled("password rotated");
    // Not one of the old connections is left: each call needs a new one. A reply may get lost meanwhile.
    for connection in &mut administrators {
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(connection).unwrap();
    }
    let before: Vec<_> = administrators.iter_mut().map(accepted).collect();
    (0..50).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    // A write does not meet a dead connection that has been idle for so long.
    thread::sleep(Duration::from_millis(1050));
    client.set("k", "w").unwrap();
    let after: Vec<_> = administrators.iter_mut().map(accepted).collect();
    assert!(after[0] > before[0] && after[1..].iter().sum::<u64>() > before[1..].iter().sum(), "{before:?} {after:?}");
}

#[test]
fn no_call_fails_while_a_password_is_rotated_and_the_provider_names_the_new_one() {
    rotate(false);
}

#[test]
fn no_call_fails_though_the_provider_names_a_new_password_before_the_servers_know_it() {
    rotate(true);
}

#[test]
fn a_wrong_password_is_told_at_once_and_costs_few_connections() {
    let servers = ReplicaSet::setup().password("right").replicas(2).start().unwrap();
    let mut administrators = administrators(&servers);
    let url = |server: &Server| format!("redis://:wrong@{}", server.addr());
    let builder = || {
        let builder = ReplicatedClient::builder().master(url(servers.master()));
        builder.replicas(servers.replicas().iter().map(url))
    };
    let assert_told = |client: &ReplicatedClient| {
        for call in
            [|c: &ReplicatedClient| c.get::<Option<String>>("k").err(), |c: &ReplicatedClient| c.set("k", "v").err()]
        {
            let start = Instant::now();
            let error = call(client).unwrap();
            let took = start.elapsed();
            assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Server, false), "{error} after {took:?}");
            let said = error.as_redis().and_then(|cause| cause.code().map(str::to_owned));
            assert_eq!(said.as_deref(), Some("WRONGPASS"), "{error:#}");
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    };
    let client = builder().monitor_interval(Duration::ZERO).build().unwrap();
    let mut count = || administrators.iter_mut().map(accepted).collect::<Vec<_>>();
    let (start, before) = (Instant::now(), count());
    let error = client.get::<Option<String>>("k").unwrap_err();
    let (took, after) = (start.elapsed(), count());
    let cost: Vec<_> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    println!("a read with a wrong password: {cost:?} connections, {:?} after {took:?}", error.kind());
    // One for the read; after the fault the set may be looked at as well.
    assert!(cost.iter().all(|cost| *cost <= 2) && cost.iter().sum::<u64>() > 0, "{cost:?} connections");
    (0..5).for_each(|_| assert_told(&client));
    let cost: Vec<_> = count().iter().zip(&before).map(|(after, before)| after - before).collect();
    assert!(cost.iter().all(|cost| *cost <= 22), "{cost:?} connections for eleven calls");
    assert_told(&builder().build().unwrap());
}
