//! What the crate tells through `tracing`: each event once, not once for each call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::Sentinels;
use redis_replicated::{Description, NodeAddr, ReadFrom, ReplicatedClient, Result, TopologyProvider};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, subscriber};

use crate::support::{Load, addrs, follow, promote, set_with_key, wait_until, wait_until_set_is};

/// An event: its name and its fields.
#[derive(Clone, Debug)]
struct Line {
    name: &'static str,
    target: &'static str,
    level: Level,
    fields: BTreeMap<&'static str, String>,
}

/// All events of this program. Other tests run beside these ones: who looks for an event looks for its own nodes.
static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());
/// Clients that are used in the middle of the event that their writes go to this node.
static LISTENERS: Mutex<Vec<(NodeAddr, ReplicatedClient)>> = Mutex::new(Vec::new());
static LISTEN: Once = Once::new();

struct Collector;

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("redis_replicated")
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line {
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            fields: BTreeMap::new(),
        };
        event.record(&mut line);
        let wanted = |(to, _): &(NodeAddr, _)| line.name == "failover" && line.fields["to"] == to.to_string();
        let mut listeners = LISTENERS.lock().unwrap();
        let client = listeners.iter().position(wanted).map(|index| listeners.swap_remove(index).1);
        drop(listeners);
        // Somebody may use the client to write the event down.
        let is_usable = client.map(|client| client.refresh().is_ok() && client.set("event", line.name).is_ok());
        line.fields.insert("is_usable", format!("{is_usable:?}"));
        LINES.lock().unwrap().push(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn listen() {
    LISTEN.call_once(|| subscriber::set_global_default(Collector).unwrap());
}

/// The events of this name in which a field has, or contains, this text.
fn events(name: &str, field: &str, text: &str) -> Vec<Line> {
    let lines = LINES.lock().unwrap();
    let is_meant = |line: &&Line| line.name == name && line.fields.get(field).is_some_and(|value| value.contains(text));
    lines.iter().filter(is_meant).cloned().collect()
}

fn count(name: &str, node: &NodeAddr) -> usize {
    events(name, "node", &node.to_string()).len()
}

#[test]
fn an_outage_is_told_once_and_its_end_once() {
    listen();
    let mut servers = set_with_key(2);
    let replica = servers.replica(0).addr();
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    servers.replica_mut(0).stop();
    wait_until("the ejection", || count("node_ejected", &replica) == 1);
    let failed = client.snapshot().nodes[1].failed;
    // Calls to that node only fail, and probes go on beside them.
    let dedicated = client.deadline(Duration::from_secs(2));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert_eq!(dedicated.get::<String>("k").unwrap(), "v");
                }
                let _ = dedicated.dedicated(redis_replicated::Target::Node(replica.clone()));
            });
        }
    });
    assert!(client.snapshot().nodes[1].ejected && client.snapshot().nodes[1].failed <= failed + 8);
    assert_eq!((count("node_ejected", &replica), count("node_returned", &replica)), (1, 0));
    let told = events("node_ejected", "node", &replica.to_string()).remove(0);
    assert_eq!(told.level, Level::WARN);
    assert_eq!(told.fields["outcome"], "unreachable");
    assert!(told.fields.contains_key("cool_down"), "{told:?}");
    servers.replica_mut(0).restart().unwrap();
    wait_until("the return", || count("node_returned", &replica) == 1);
    let told = events("node_returned", "node", &replica.to_string()).remove(0);
    assert_eq!(told.level, Level::INFO);
    assert_eq!(count("node_ejected", &replica), 1);
}

#[test]
fn thousands_of_failing_calls_are_one_event() {
    listen();
    let mut servers = set_with_key(1);
    let replica = servers.replica(0).addr();
    let client = servers.client_builder().monitor_interval(Duration::ZERO).read_from(ReadFrom::Replica).build();
    let patient = client.unwrap();
    assert_eq!(patient.get::<String>("k").unwrap(), "v");
    let client = patient.deadline(Duration::from_millis(30));
    servers.replica_mut(0).stop();
    let failed = || client.snapshot().nodes[1].failed;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| while failed() < 2000 && client.get::<String>("k").is_err() {});
        }
    });
    assert_eq!(count("node_ejected", &replica), 1, "{} failed", failed());
    servers.replica_mut(0).restart().unwrap();
    wait_until("it serves again", || patient.get::<Option<String>>("k").is_ok());
    assert_eq!((count("node_ejected", &replica), count("node_returned", &replica)), (1, 1));
}

#[test]
fn a_failover_and_the_new_topology_are_told_once() {
    listen();
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let (old, new) = (servers.master().addr(), servers.replica(0).addr());
    wait_until("the first topology is told", || !events("topology_changed", "master", &old.to_string()).is_empty());
    LISTENERS.lock().unwrap().push((new.clone(), client.clone()));
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    client.set("k", "v").unwrap();
    wait_until_set_is(&client, &new, &[old.clone(), servers.replica(1).addr()]);
    wait_until("the failover is told", || !events("failover", "to", &new.to_string()).is_empty());
    let told = events("failover", "to", &new.to_string());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].level, Level::WARN);
    assert_eq!(told[0].fields["is_usable"], "Some(true)");
    assert!(told[0].fields["from"].contains(&old.to_string()), "{told:?}");
    wait_until("the topology is told", || !events("topology_changed", "master", &new.to_string()).is_empty());
    let changes = events("topology_changed", "master", &new.to_string());
    assert_eq!(changes.len(), 1, "{changes:?}");
    let generation: u64 = changes[0].fields["generation"].parse().unwrap();
    assert_eq!(generation, client.snapshot().generation);
    assert!(changes[0].fields["replicas"].contains(&old.to_string()), "{changes:?}");
    assert_eq!(count("role_changed", &new), 1);
}

#[test]
fn fallback_reads_are_told_once_in_ten_seconds() {
    listen();
    let mut servers = set_with_key(1);
    let master = servers.master().addr();
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &master, &addrs(servers.replicas()));
    assert_eq!(count("fallback", &master), 0);
    servers.replica_mut(0).stop();
    let start = Instant::now();
    for _ in 0..500 {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
    }
    let told = events("fallback", "node", &master.to_string());
    let most = 1 + start.elapsed().as_secs() / 10;
    assert!((1..=most).contains(&(told.len() as u64)), "{told:?}");
    assert_eq!(told[0].level, Level::WARN);
    assert_eq!(told[0].fields["reads"], "1");
}

/// Knows nothing, and says so again and again.
#[derive(Debug)]
struct Clueless(&'static str);

impl TopologyProvider for Clueless {
    fn describe(&self, _: Instant) -> Result<Description> {
        Ok(Description::new().master(self.0))
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(10)
    }
}

#[test]
fn a_provider_that_fails_is_told_once() {
    listen();
    let text = "clueless in events.rs";
    let client = ReplicatedClient::builder().provider(Clueless(text)).build().unwrap();
    for _ in 0..20 {
        assert!(client.refresh().unwrap_err().to_string().contains(text));
    }
    wait_until("it was told", || !events("provider_failed", "error", text).is_empty());
    // Once more would be after a tenth of a second.
    thread::sleep(Duration::from_millis(500));
    let told = events("provider_failed", "error", text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].level, Level::WARN);
}

#[test]
fn a_command_that_is_no_read_is_told_once() {
    listen();
    let servers = set_with_key(2);
    let client = servers.client_builder().classify("PSETEX", redis_replicated::Classification::Read).build().unwrap();
    for _ in 0..10 {
        client.query::<()>(redis::cmd("PSETEX").arg("t").arg(60_000).arg("v")).unwrap();
    }
    let told = events("command_reclassified", "command", "PSETEX");
    assert_eq!((told.len(), told[0].level), (1, Level::WARN));
    assert!(addrs(servers.replicas()).iter().any(|addr| told[0].fields["node"] == addr.to_string()));
}

#[test]
fn a_node_that_lacks_rights_is_told_once() {
    listen();
    let servers = set_with_key(2);
    let client = crate::support::as_user(&servers, &["~*", "+@all"]).build().unwrap();
    acl_without_get(servers.replica(0));
    let node = servers.replica(0).addr();
    wait_until("that node was asked", || {
        assert_eq!(client.get::<String>("k").unwrap(), "v");
        servers.replica(0).errors("NOPERM").unwrap() >= 3
    });
    let told = events("node_lacks_rights", "node", &node.to_string());
    assert_eq!((told.len(), told[0].level), (1, Level::WARN));
    assert!(told[0].fields["right"].contains("+get"), "{told:?}");
    servers.servers().iter().for_each(acl_without_get);
    assert!(client.get::<String>("k").is_err());
    assert_eq!(count("node_lacks_rights", &servers.replica(1).addr()), 0, "nobody else had it either");
}

fn acl_without_get(server: &redis_replicated::testing::Server) {
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("app").arg("-get").exec(&mut server.connection().unwrap()).unwrap();
}

/// All lines about these nodes.
fn lines_about(nodes: &[NodeAddr]) -> Vec<Line> {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let is_meant = |line: &&Line| line.fields.values().any(|value| names.iter().any(|name| value.contains(name)));
    LINES.lock().unwrap().iter().filter(is_meant).cloned().collect()
}

/// What a person reads: the event and its values, by a subscriber that knows `Debug` only.
fn text_of(line: &Line) -> String {
    let fields = line.fields.iter().filter(|(name, _)| !["event", "is_usable", "message"].contains(name));
    let values: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {}", line.fields.get("event").map_or("-", String::as_str), values.join(" "))
}

#[test]
fn a_promotion_by_hand_under_load_is_a_few_lines_that_mislead_nobody() {
    listen();
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build().unwrap();
    let (old, new, other) = (servers.master().addr(), servers.replica(0).addr(), servers.replica(1).addr());
    let all = [old.clone(), new.clone(), other.clone()];
    wait_until_set_is(&client, &old, &addrs(servers.replicas()));
    Load::run(&client, 4, |load| {
        servers.master_mut().stop();
        promote(servers.replica(0));
        wait_until_set_is(&client, &new, &[old.clone(), other.clone()]);
        follow(servers.replica(1), servers.replica(0));
        client.set("k", "v").unwrap();
        let is_in_sync =
            |node: &redis_replicated::NodeSnapshot| node.addr != other || node.sync_state.to_string() == "in sync";
        wait_until("the replica follows", || client.snapshot().nodes.iter().all(is_in_sync));
        load.flow(2000);
    });
    // Whatever is wrongly told of a state, is told by now.
    thread::sleep(Duration::from_millis(2500));
    let lines = lines_about(&all);
    let texts: Vec<String> = lines.iter().map(text_of).collect();
    let count = |text: &str| texts.iter().filter(|line| line.starts_with(text)).count();
    assert_eq!(count(&format!("topology_changed generation=1 master={old} replicas={new},{other}")), 1, "{texts:#?}");
    assert_eq!((count("topology_changed"), count("failover")), (2, 1), "{texts:#?}");
    assert_eq!(count(&format!("failover from={old} to={new}")), 1, "{texts:#?}");
    let resumed = lines.iter().filter(|line| line.name == "writes_resumed");
    assert!(resumed.map(|line| &line.fields["master"]).eq([&new.to_string()]), "{texts:#?}");
    assert_eq!(count(&format!("role_changed node={new} role=master")), 1, "{texts:#?}");
    let is_about = |line: &&String| line.contains(&format!("node={new}"));
    let others = texts.iter().filter(is_about).filter(|line| !line.starts_with("role_changed")).collect::<Vec<_>>();
    assert!(others.iter().all(|line| line.starts_with("fallback")), "of the promoted one: {texts:#?}");
    assert!(!texts.iter().any(|line| line.contains("diverged")), "{texts:#?}");
    assert_eq!(count("node_ejected"), 1, "the dead master: {texts:#?}");
    for line in &lines {
        assert_eq!(line.target, "redis_replicated::events", "{line:?}");
        assert_eq!(line.fields["event"], line.name, "{line:?}");
        let is_plain = |value: &str| {
            !["Some(", "None", "\"", "[", "Unreachable", "Duration"].iter().any(|bad| value.contains(bad))
        };
        let shown = line.fields.iter().filter(|(name, _)| **name != "is_usable");
        shown.for_each(|(name, value)| assert!(is_plain(value), "{name}: {value}"));
    }
}

#[test]
fn a_failover_by_sentinels_is_told_in_order_and_the_first_set_once() {
    listen();
    let mut servers = set_with_key(2);
    let sentinels = Sentinels::start(&servers, 3).unwrap();
    let client = ReplicatedClient::builder().sentinel("main", sentinels.urls());
    let client = client.deadline(Duration::from_secs(20)).build().unwrap();
    let named = format!("{client:?}");
    assert!(
        named.contains("nodes: [Node") || named.contains("sentinels: [127"),
        "nothing is said of where it looks: {named}"
    );
    let old = servers.master().addr();
    wait_until_set_is(&client, &old, &addrs(servers.replicas()));
    wait_until("the first set is told", || !events("topology_changed", "master", &old.to_string()).is_empty());
    let all = addrs(servers.replicas()).into_iter().chain([old.clone()]).collect::<Vec<_>>();
    servers.master_mut().stop();
    client.set("k", "v").unwrap();
    wait_until("it is told", || !events("failover", "from", &old.to_string()).is_empty());
    // Whatever is wrongly told, is told by now.
    thread::sleep(Duration::from_millis(2500));
    let texts: Vec<String> = lines_about(&all).iter().map(text_of).collect();
    let at = |name: &str| {
        texts.iter().position(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {texts:#?}"))
    };
    assert!(at("topology_changed") < at("node_ejected") && at("node_ejected") < at("failover"), "{texts:#?}");
    // On a busy machine Sentinels may choose twice.
    let count = |name: &str| texts.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(count("topology_changed"), 1 + count("failover"), "{texts:#?}");
    assert!(count("failover") > 1 || !texts.iter().any(|line| line.contains("diverged")), "{texts:#?}");
}
