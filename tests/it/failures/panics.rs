//! A panic of somebody else's code ends no watching, and a system that starts no thread is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis_replicated::strategy::{Candidates, Strategy};
use redis_replicated::{
    Description, ErrorKind, Node, ReadFrom, RefreshTrigger, ReplicatedClient, Result, TopologyProvider,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, subscriber};

use crate::support::{Fake, addrs, follow, promote, read_some, set_with_key, wait_until, wait_until_set_is};

/// Set in a process that runs one test and nothing else.
const ALONE: &str = "REDIS_REPLICATED_TEST_RUNS_ALONE";

/// Runs an ignored test of this file in a process of its own: its subscriber is global, and what it does may end the process.
fn run_alone(test: &str, environment: &[(&str, &str)]) {
    let test = format!("failures::panics::{test}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &test, "--ignored", "--test-threads", "1"]).env(ALONE, "1");
    let run = command.envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{}: {said}{errors}", run.status);
}

fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Panics at every event, or at the first one of each name.
struct Panicking {
    always: bool,
    seen: Mutex<Vec<String>>,
}

struct Name(String);

impl Visit for Name {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "event" {
            self.0 = format!("{value:?}");
        }
    }
}

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Subscriber for Panicking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut name = Name(event.metadata().name().to_owned());
        event.record(&mut name);
        let is_first = {
            let mut seen = self.seen.lock().unwrap();
            let is_first = !seen.contains(&name.0);
            seen.push(name.0.clone());
            is_first
        };
        let is_about_panics = name.0 == "monitor_panicked";
        TOLD.lock().unwrap().push(name.0);
        assert!(!self.always && (!is_first || is_about_panics), "on purpose, by a subscriber");
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An outage, its end and a failover are noticed.
fn check_that_the_watching_goes_on(client: &ReplicatedClient, servers: &mut redis_replicated::testing::ReplicaSet) {
    let (old, new, other) = (servers.master().addr(), servers.replica(0).addr(), servers.replica(1).addr());
    wait_until_set_is(client, &old, &addrs(servers.replicas()));
    let is_ejected = || client.snapshot().nodes.iter().any(|node| node.addr == other && node.ejected);
    for _ in 0..2 {
        servers.replica_mut(1).stop();
        wait_until("the outage is noticed", is_ejected);
        servers.replica_mut(1).restart().unwrap();
        wait_until("its end is noticed", || !is_ejected());
    }
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    wait_until_set_is(client, &new, &[old, other]);
    client.set("k", "v").unwrap();
}

#[test]
fn a_subscriber_that_panics_once_at_each_event_ends_no_watching() {
    run_alone("with_a_subscriber_that_panics_at_first", &[]);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn with_a_subscriber_that_panics_at_first() {
    if !is_alone() {
        return;
    }
    subscriber::set_global_default(Panicking { always: false, seen: Mutex::default() }).unwrap();
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build().unwrap();
    check_that_the_watching_goes_on(&client, &mut servers);
    let told = TOLD.lock().unwrap().clone();
    let count = |name: &str| told.iter().filter(|told| *told == name).count();
    assert!(count("node_ejected") >= 2 && count("failover") == 1, "{told:?}");
    assert!((1..=8).contains(&count("monitor_panicked")), "once for each place: {told:?}");
}

#[test]
fn a_subscriber_that_always_panics_ends_no_watching() {
    run_alone("with_a_subscriber_that_always_panics", &[]);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn with_a_subscriber_that_always_panics() {
    if !is_alone() {
        return;
    }
    subscriber::set_global_default(Panicking { always: true, seen: Mutex::default() }).unwrap();
    let mut servers = set_with_key(2);
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build().unwrap();
    check_that_the_watching_goes_on(&client, &mut servers);
}

/// Panics wherever it is asked, until it is told to work.
#[derive(Clone, Debug)]
struct Moody {
    works: Arc<AtomicBool>,
    master: String,
}

impl TopologyProvider for Moody {
    fn describe(&self, _: Instant) -> Result<Description> {
        assert!(self.works.load(Ordering::SeqCst), "on purpose, by a provider");
        Ok(Description::new().master(&self.master))
    }

    fn interval(&self) -> Duration {
        panic!("on purpose, by a provider: interval");
    }

    fn watch(&self, _: RefreshTrigger) {
        panic!("on purpose, by a provider: watch");
    }
}

#[test]
fn a_provider_that_panics_everywhere_is_asked_again() {
    let servers = set_with_key(0);
    let works = Arc::new(AtomicBool::new(false));
    let provider = Moody { works: Arc::clone(&works), master: servers.master().url() };
    let client = ReplicatedClient::builder().provider(provider).deadline(Duration::from_secs(10)).build().unwrap();
    assert!(client.refresh().unwrap_err().to_string().contains("the provider panicked"));
    works.store(true, Ordering::SeqCst);
    client.set("k", "v").unwrap();
}

#[test]
fn a_map_of_addresses_that_panics_at_first_is_asked_again() {
    let servers = set_with_key(1);
    let calls = AtomicUsize::new(0);
    let map = move |addr: &redis_replicated::NodeAddr| {
        assert!(calls.fetch_add(1, Ordering::SeqCst) >= 2, "on purpose, by a map");
        addr.clone()
    };
    let client = ReplicatedClient::builder().discover([servers.replica(0).url()]).map_address(map);
    let client = client.deadline(Duration::from_secs(10)).build().unwrap();
    client.set("k", "v").unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
}

/// Panics at the first choice.
#[derive(Debug, Default)]
struct Clumsy(AtomicBool);

impl Strategy for Clumsy {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        assert!(self.0.swap(true, Ordering::SeqCst), "on purpose, by a strategy");
        candidates.at(0)
    }
}

#[test]
fn a_strategy_that_panics_leaves_nothing_behind() {
    let servers = set_with_key(2);
    let client = servers.client_builder().strategy(Clumsy::default()).read_from(ReadFrom::Any).pool_size(1);
    let client = client.build().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| client.get::<String>("k"))).is_err());
    let is_idle = |node: &redis_replicated::NodeSnapshot| node.in_flight == 0 && node.connections_in_use == 0;
    assert!(client.snapshot().nodes.iter().all(is_idle), "{}", client.snapshot());
    (0..10).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
}

/// A reply of arrays within arrays.
fn nested(depth: usize) -> Vec<u8> {
    [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat()
}

#[test]
fn a_reply_nested_deep_overflows_no_stack() {
    run_alone("a_reply_nested_deep", &[]);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn a_reply_nested_deep() {
    if !is_alone() {
        return;
    }
    for (depth, is_read) in [(99, true), (100_000, false)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&asked);
        let deep = Fake::start("master", move |mut stream| {
            while read_some(&mut stream) > 0 {
                seen.fetch_add(1, Ordering::SeqCst);
                // To all questions of the monitor as well.
                if std::io::Write::write_all(&mut stream, &nested(depth)).is_err() {
                    return;
                }
            }
        });
        let client = ReplicatedClient::builder().master(deep.url()).monitor_interval(Duration::from_millis(20));
        let client =
            client.response_timeout(Duration::from_millis(100)).deadline(Duration::from_secs(1)).build().unwrap();
        wait_until("the monitor asks again and again", || asked.load(Ordering::SeqCst) > 5);
        let reply = client.query::<redis::Value>(redis::cmd("GET").arg("k"));
        assert!(reply.is_ok() || !is_read, "{depth} deep: {:?}", reply.map(drop));
        if depth > 100 {
            let error = client.get::<String>("k").unwrap_err();
            assert!(!error.to_string().is_empty() && error.kind() != ErrorKind::Conversion, "{error}");
        }
    }
}

#[test]
fn a_system_that_starts_no_thread_is_an_error_of_the_settings() {
    // A stack that no system has room for: the first thread cannot be started.
    run_alone("without_threads", &[("RUST_MIN_STACK", "70368744177664")]);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn without_threads() {
    if !is_alone() {
        return;
    }
    for interval in [Duration::ZERO, Duration::from_secs(1)] {
        let error = ReplicatedClient::builder().master("127.0.0.1:1").monitor_interval(interval).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = "no thread can be started: the system's limit of threads or of memory is reached";
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn absurd_times_do_not_panic() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    let long = client.deadline(Duration::MAX);
    assert_eq!(long.get::<String>("k").unwrap(), "v");
    let mut pipeline = redis::pipe();
    pipeline.rpush("q", 1).ignore();
    ["1e19", "1e300", "-1", "nan"].iter().for_each(|time| _ = pipeline.cmd("BLPOP").arg("q").arg(time));
    assert!(client.query_pipeline::<redis::Value>(&pipeline).is_err());
}
