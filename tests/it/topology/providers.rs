//! Providers of the user's own, and sets that are named: what is said of a set, and what becomes of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server, free_port};
use redis_replicated::{
    Builder, Description, Endpoint, Error, ErrorKind, NodeAddr, ReadFrom, RefreshTrigger, ReplicatedClient, Result,
    Role, TopologyProvider,
};

use crate::support::{Load, addrs, follow_port, places, promote, set_with_key, wait_until, wait_until_set_is};

/// What a [`Scripted`] provider does when it is asked.
#[derive(Clone, Debug)]
enum Says {
    Set(Description),
    /// The two in turn.
    InTurn(Description, Description),
    Panics,
    Fails,
    /// Takes longer than it may.
    Sleeps,
}

#[derive(Debug)]
struct State {
    says: Mutex<Says>,
    asked: AtomicUsize,
    trigger: Mutex<Option<RefreshTrigger>>,
    interval: Duration,
}

/// Says what the test wants it to say.
#[derive(Clone, Debug)]
struct Scripted(Arc<State>);

impl Scripted {
    fn new(says: Says, interval: Duration) -> Self {
        let (says, asked, trigger) = (Mutex::new(says), AtomicUsize::new(0), Mutex::new(None));
        Self(Arc::new(State { says, asked, trigger, interval }))
    }

    fn builder(&self) -> Builder {
        ReplicatedClient::builder().provider(self.clone())
    }

    fn say(&self, says: Says) {
        *self.0.says.lock().unwrap() = says;
    }

    fn trigger(&self) -> RefreshTrigger {
        self.0.trigger.lock().unwrap().clone().unwrap()
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Waits until it was asked so many times more.
    fn wait_for(&self, times: usize) {
        let before = self.asked();
        wait_until("the provider is asked", || self.asked() >= before + times);
    }
}

impl TopologyProvider for Scripted {
    fn describe(&self, _: Instant) -> Result<Description> {
        let turn = self.0.asked.fetch_add(1, Ordering::SeqCst);
        let says = self.0.says.lock().unwrap().clone();
        match says {
            Says::Set(description) => Ok(description),
            Says::InTurn(one, other) => Ok(if turn.is_multiple_of(2) { one } else { other }),
            Says::Panics => panic!("on purpose"),
            Says::Fails => Err(Error::topology("no idea")),
            Says::Sleeps => {
                // A provider that takes its time: that is what is tested.
                thread::sleep(Duration::from_secs(3));
                Err(Error::topology("slept"))
            }
        }
    }

    fn interval(&self) -> Duration {
        self.0.interval
    }

    fn watch(&self, trigger: RefreshTrigger) {
        *self.0.trigger.lock().unwrap() = Some(trigger);
    }
}

fn set_of(master: &NodeAddr, replicas: &[NodeAddr]) -> Description {
    replicas.iter().fold(Description::new().master(master), |described, replica| described.replica(replica))
}

/// How often a provider may be asked in this time, however often somebody wants it.
fn most_in(time: Duration) -> usize {
    2 + usize::try_from(time.as_millis() / 20).unwrap()
}

const NEVER: Duration = Duration::MAX;
const OFTEN: Duration = Duration::from_millis(20);

#[test]
fn what_a_provider_says_is_followed() {
    let servers = set_with_key(2);
    let (master, replicas) = (servers.master().addr(), addrs(servers.replicas()));
    let provider = Scripted::new(Says::Set(set_of(&master, &replicas[..1])), NEVER);
    let client = provider.builder().build().unwrap();
    wait_until_set_is(&client, &master, &replicas[..1]);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    provider.say(Says::Set(set_of(&master, &replicas)));
    provider.trigger().fire();
    wait_until_set_is(&client, &master, &replicas);
    provider.say(Says::Set(set_of(&master, &replicas[1..])));
    client.refresh().unwrap();
    wait_until_set_is(&client, &master, &replicas[1..]);
    // A failover that the provider knows of.
    promote(servers.replica(1));
    provider.say(Says::Set(set_of(&replicas[1], std::slice::from_ref(&master))));
    provider.trigger().fire();
    wait_until_set_is(&client, &replicas[1], std::slice::from_ref(&master));
    client.set("k", "w").unwrap();
    assert_eq!(servers.replica(1).calls("SET").unwrap(), 2, "one as a replica");
    assert_eq!(client.snapshot().nodes.len(), 2);
}

#[test]
fn nodes_without_roles_are_asked_for_them() {
    let servers = set_with_key(2);
    let all = servers.servers().iter().rev().map(|server| server.addr());
    let described = all.fold(Description::new(), |described, node| described.node(node));
    let client = Scripted::new(Says::Set(described), NEVER).builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    client.set("k", "v").unwrap();
}

#[test]
fn an_answer_that_says_less_than_is_known_changes_nothing() {
    let servers = set_with_key(1);
    let (master, replicas) = (servers.master().addr(), addrs(servers.replicas()));
    let good = Says::Set(set_of(&master, &replicas));
    let provider = Scripted::new(good.clone(), OFTEN);
    let client = provider.builder().build().unwrap();
    wait_until_set_is(&client, &master, &replicas);
    let generation = client.snapshot().generation;
    let masterless = Description::new().replica(&replicas[0]);
    let too_many = (1..=65).map(|port| NodeAddr::tcp("127.0.0.1", port));
    let too_many = too_many.fold(Description::new().master(&master), |described, node| described.replica(node));
    let unreadable = set_of(&master, &replicas).replica("no address");
    let databases = set_of(&master, &replicas).replica("redis://127.0.0.1:1/3");
    for (bad, said) in [
        (Says::Set(Description::new()), "no node"),
        (Says::Set(masterless), "no master"),
        (Says::Set(too_many), "66 nodes"),
        (Says::Set(unreadable), "no address"),
        (Says::Set(databases), "database"),
        (Says::Fails, "no idea"),
        (Says::Panics, "panicked"),
    ] {
        provider.say(bad);
        provider.wait_for(3);
        let error = client.refresh().unwrap_err();
        assert!(error.to_string().contains(said), "{error} does not say {said:?}");
        assert_eq!(error.kind(), ErrorKind::Topology, "{error}");
        assert_eq!(places(&client), (Some(master.clone()), replicas.clone()), "{said}");
        client.set("k", "v").unwrap();
        assert_eq!(client.snapshot().generation, generation, "{said}");
    }
    provider.say(good);
    client.refresh().unwrap();
}

#[test]
fn a_trigger_works_as_long_as_the_client_lives_and_not_more_often_than_needed() {
    let servers = set_with_key(0);
    let provider = Scripted::new(Says::Set(set_of(&servers.master().addr(), &[])), NEVER);
    let client = provider.builder().build().unwrap();
    wait_until("the first description", || client.snapshot().settled);
    let trigger = provider.trigger();
    assert!(trigger.is_alive());
    let (before, start) = (provider.asked(), Instant::now());
    while start.elapsed() < Duration::from_millis(300) {
        trigger.fire();
    }
    let (asked, most) = (provider.asked() - before, most_in(start.elapsed()));
    assert!((1..=most).contains(&asked), "asked {asked} times in {:?}", start.elapsed());
    drop(client);
    wait_until("the trigger is dead", || !trigger.is_alive());
    trigger.fire();
}

#[test]
fn a_provider_that_contradicts_the_nodes_does_not_move_the_master() {
    let servers = set_with_key(2);
    let (master, replicas) = (servers.master().addr(), addrs(servers.replicas()));
    let right = set_of(&master, &replicas);
    let wrong = set_of(&replicas[0], &[master.clone(), replicas[1].clone()]);
    let provider = Scripted::new(Says::Set(right.clone()), OFTEN);
    let client = provider.builder().build().unwrap();
    wait_until_set_is(&client, &master, &replicas);
    let generation = client.snapshot().generation;
    provider.say(Says::InTurn(wrong, right));
    let end = provider.asked() + 10;
    while provider.asked() < end {
        client.set("k", "v").unwrap();
        assert_eq!(places(&client).0.as_ref(), Some(&master));
    }
    // The order of the members may follow the description, the places may not.
    assert!(client.snapshot().generation - generation <= 20, "{}", client.snapshot());
    assert!(servers.replicas().iter().all(|replica| replica.errors("READONLY").unwrap() == 0));
}

#[test]
fn a_provider_that_names_a_replica_from_the_start_leads_no_write_there() {
    let servers = set_with_key(1);
    let (master, replica) = (servers.master().addr(), servers.replica(0).addr());
    let provider = Scripted::new(Says::Set(set_of(&replica, std::slice::from_ref(&master))), OFTEN);
    let client = provider.builder().deadline(Duration::from_millis(300)).build().unwrap();
    let error = client.set("k", "x").unwrap_err();
    assert!(!error.may_have_executed(), "{error}");
    assert_eq!(servers.replica(0).errors("READONLY").unwrap(), 0);
    provider.say(Says::Set(set_of(&master, &[replica])));
    client.deadline(Duration::from_secs(10)).set("k", "x").unwrap();
}

#[test]
fn a_master_that_became_a_replica_serves_as_one_though_its_successor_is_dead() {
    let mut servers = set_with_key(1);
    let (old, new) = (servers.master().addr(), servers.replica(0).addr());
    let provider = Scripted::new(Says::Set(set_of(&old, std::slice::from_ref(&new))), OFTEN);
    let client = provider.builder().build().unwrap();
    wait_until_set_is(&client, &old, std::slice::from_ref(&new));
    provider.say(Says::Set(set_of(&new, std::slice::from_ref(&old))));
    servers.replica_mut(0).stop();
    follow_port(servers.master(), new.port().unwrap());
    let assigned = |role| client.snapshot().nodes.iter().any(|node| node.addr == old && node.assigned_role == role);
    wait_until("the old master is a replica", || assigned(Role::Replica));
    assert_eq!(client.read_from(ReadFrom::Replica).get::<String>("k").unwrap(), "v");
    promote(servers.master());
    provider.say(Says::Set(set_of(&old, &[new])));
    client.deadline(Duration::from_secs(10)).set("k", "x").unwrap();
}

#[test]
fn a_login_is_used_wherever_only_an_address_was_given() {
    let setup = redis_replicated::testing::ReplicaSet::setup().replicas(2).password("secret");
    let servers = setup.start().unwrap();
    let port = |index: usize| servers.servers()[index].addr().port().unwrap();
    let described = Description::new()
        .master(("127.0.0.1", port(0)))
        .replica(("127.0.0.1".to_owned(), port(1)))
        .replica(format!("127.0.0.1:{}", port(2)));
    let provider = Scripted::new(Says::Set(described), NEVER);
    let login = redis::RedisConnectionInfo::default().set_password("secret").set_db(3);
    let client = provider.builder().login(login).build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    for _ in 0..10 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "{}", client.snapshot());
}

#[test]
fn a_node_named_twice_counts_once() {
    let servers = set_with_key(1);
    let named_so = |server: &redis_replicated::testing::Server| format!("localhost:{}", server.addr().port().unwrap());
    let builder = servers.client_builder().replicas(servers.servers().iter().map(named_so));
    let client = builder.build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    for _ in 0..10 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    assert_eq!(servers.replica(0).calls("GET").unwrap(), 10);
    let named_first = ReplicatedClient::builder().master(named_so(servers.master())).replicas(addrs(servers.servers()));
    let client = named_first.build().unwrap();
    let master = NodeAddr::tcp("localhost", servers.master().addr().port().unwrap());
    wait_until_set_is(&client, &master, &addrs(servers.replicas()));
    client.set("k", "w").unwrap();
}

#[test]
fn nobody_hurries_a_provider_because_nodes_are_dead() {
    let dead = NodeAddr::tcp("127.0.0.1", free_port().unwrap());
    let provider = Scripted::new(Says::Set(set_of(&dead, &[])), Duration::ZERO);
    let client = provider.builder().deadline(Duration::from_millis(100)).build().unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| while start.elapsed() < Duration::from_millis(500) && client.set("k", "v").is_err() {});
        }
    });
    let (asked, most) = (provider.asked(), most_in(start.elapsed()));
    assert!((1..=most).contains(&asked), "asked {asked} times in {:?}", start.elapsed());
    assert_eq!(client.snapshot().nodes[0].role, Role::Master);
}

#[test]
fn a_refresh_does_not_wait_for_another_one_past_its_deadline() {
    let provider = Scripted::new(Says::Sleeps, NEVER);
    let client = provider.builder().build().unwrap();
    wait_until("the provider is asked", || provider.asked() == 1);
    let start = Instant::now();
    let error = client.deadline(Duration::from_millis(100)).refresh().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Topology);
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    assert_eq!(provider.asked(), 1, "one at a time");
}

/// Describes the servers with this login and this weight of the replicas.
fn described(servers: &ReplicaSet, password: &str, weight: u32) -> Description {
    let node = |server: &Server| Endpoint::from(format!("redis://app:{password}@{}", server.addr()));
    let described = Description::new().master(node(servers.master()));
    servers.replicas().iter().fold(described, |described, replica| described.replica(node(replica).weight(weight)))
}

fn on_all(servers: &ReplicaSet, command: &[&str]) {
    for server in servers.servers() {
        redis::cmd(command[0]).arg(&command[1..]).exec(&mut server.connection().unwrap()).unwrap();
    }
}

#[test]
fn a_new_login_and_a_new_weight_are_taken_over_at_once() {
    let servers = set_with_key(1);
    on_all(&servers, &["ACL", "SETUSER", "app", "on", "~*", "&*", "+@all", ">old"]);
    let provider = Scripted::new(Says::Set(described(&servers, "old", 1)), NEVER);
    let client = provider.builder().build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    wait_until("the set is known", || client.snapshot().nodes.len() == 2 && client.get::<String>("k").is_ok());
    // The password is rotated: first there are two, then the new one alone.
    on_all(&servers, &["ACL", "SETUSER", "app", ">new"]);
    provider.say(Says::Set(described(&servers, "new", 3)));
    let generation = client.snapshot().generation;
    let (_, failed) = Load::run(&client, 2, |load| {
        provider.trigger().fire();
        wait_until("the description is taken over", || client.snapshot().nodes.iter().any(|node| node.weight == 3));
        on_all(&servers, &["ACL", "SETUSER", "app", "<old"]);
        load.flow(500);
    });
    assert_eq!(failed, Vec::<String>::new());
    // More threads need more connections, which log in anew.
    let (_, failed) = Load::run(&client, 8, |load| load.flow(500));
    assert_eq!(failed, Vec::<String>::new());
    on_all(&servers, &["CLIENT", "KILL", "USER", "app"]);
    wait_until("all are connected to again", || client.set("k", "v").is_ok() && client.get::<String>("k").is_ok());
    assert_eq!(client.snapshot().generation, generation, "they are the same nodes");
    // A weight set by hand stays until another one is described.
    let replica = servers.replica(0).addr();
    client.set_weight(&replica, 5).unwrap();
    client.refresh().unwrap();
    assert_eq!(client.snapshot().nodes[1].weight, 5);
}

#[test]
fn a_new_zone_makes_it_another_node() {
    let servers = set_with_key(1);
    let replica = |zone: &str| Endpoint::from(servers.replica(0).addr()).zone(zone);
    let described = |zone: &str| Description::new().master(servers.master().addr()).replica(replica(zone));
    let provider = Scripted::new(Says::Set(described("a")), NEVER);
    let client = provider.builder().build().unwrap();
    let has_zone = |zone: &str| client.snapshot().nodes.get(1).is_some_and(|node| node.zone.as_deref() == Some(zone));
    wait_until("it is in the one zone", || has_zone("a"));
    let (_, failed) = Load::run(&client, 2, |load| {
        provider.say(Says::Set(described("b")));
        provider.trigger().fire();
        wait_until("it is in the other zone", || has_zone("b"));
        load.flow(500);
    });
    assert_eq!(failed, Vec::<String>::new());
}
