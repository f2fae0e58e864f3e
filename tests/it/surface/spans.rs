//! The span of each call, and the log of slow calls.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_replicated::observe::{Event, Interest, Observer};
use redis_replicated::testing::{FaultProxy, NetworkFault};
use redis_replicated::{ReadFrom, ReplicatedClient};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber, subscriber};

use crate::support::{addrs, set_with_key, wait_until_set_is};

/// The fields of a span or of an event.
type Fields = BTreeMap<&'static str, String>;

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// Keeps the spans of calls, and events.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Fields>>>,
    events: Arc<Mutex<Vec<Fields>>>,
    entered: Arc<AtomicU64>,
    exited: Arc<AtomicU64>,
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        *metadata.level() <= Level::DEBUG && target.starts_with("redis_replicated::")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        assert_eq!(attributes.metadata().target(), "redis_replicated::call");
        let (mut fields, mut spans) = (Fields::new(), self.spans.lock().unwrap());
        attributes.record(&mut Reader(&mut fields));
        spans.push(fields);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut Reader(&mut self.spans.lock().unwrap()[span.into_u64() as usize - 1]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        self.events.lock().unwrap().push(fields);
    }

    fn enter(&self, _: &Id) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _: &Id) {
        self.exited.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn each_call_is_a_span_by_the_semantic_conventions() {
    let servers = set_with_key(1);
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let collector = Collector::default();
    subscriber::with_default(collector.clone(), || {
        client.get::<String>("k").unwrap();
        client.query::<i64>(redis::cmd("LLEN").arg("k")).unwrap_err();
        let _: Vec<i64> = client.query_pipeline(redis::pipe().atomic().incr("n", 1).incr("n", 1)).unwrap();
    });
    client.get::<String>("k").unwrap();
    let spans = collector.spans.lock().unwrap().clone();
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let [get, llen, multi] = &spans[..] else { panic!("{spans:#?}") };
    let (replica, master) = (servers.replica(0).addr(), servers.master().addr());
    let port = replica.port().unwrap().to_string();
    let expected = [
        ("otel.name", "GET"),
        ("otel.kind", "client"),
        ("db.system.name", "redis"),
        ("db.operation.name", "GET"),
        ("db.namespace", "0"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ];
    assert_eq!(*get, Fields::from(expected.map(|(name, value)| (name, value.to_owned()))));
    assert_eq!((llen["db.response.status_code"].as_str(), llen["error.type"].as_str()), ("WRONGTYPE", "WRONGTYPE"));
    assert_eq!(llen["otel.status_code"], "ERROR");
    assert_eq!((multi["otel.name"].as_str(), multi["db.operation.batch.size"].as_str()), ("MULTI", "2"));
    assert_eq!(multi["server.port"], master.port().unwrap().to_string());
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((count(&collector.entered), count(&collector.exited)), (3, 3));
}

#[test]
fn a_call_on_a_pinned_connection_is_one_span() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &[]);
    let collector = Collector::default();
    subscriber::with_default(collector.clone(), || {
        let mut connection = client.connection();
        redis::cmd("WATCH").arg("k").exec(&mut connection).unwrap();
        redis::cmd("UNWATCH").exec(&mut connection).unwrap();
        client.dedicated(redis_replicated::Target::Master).unwrap();
    });
    let spans = collector.spans.lock().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span["otel.name"].as_str()).collect();
    assert_eq!(names, ["WATCH", "UNWATCH"]);
    assert!(spans.iter().all(|span| span.contains_key("server.port")), "{spans:#?}");
}

#[test]
fn a_span_says_how_often_its_call_was_retried() {
    let mut servers = set_with_key(1);
    let client = servers.client_builder().monitor_interval(Duration::ZERO).build().unwrap();
    client.get::<String>("k").unwrap();
    servers.replica_mut(0).stop();
    let collector = Collector::default();
    subscriber::with_default(collector.clone(), || client.get::<String>("k").unwrap());
    let spans = collector.spans.lock().unwrap();
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    let retries: u32 = span["redis.client.operation.retry_attempts"].parse().unwrap();
    assert!(retries >= 1 && span["server.port"] == servers.master().addr().port().unwrap().to_string(), "{span:?}");
    assert!(!span.contains_key("error.type"), "{span:?}");
}

/// Panics in its first event.
#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn observe(&self, _: &Event<'_>) {
        panic!("an observer of a test panics, on purpose");
    }

    fn interest(&self) -> Interest {
        Interest::CALLS
    }
}

#[test]
fn a_panic_of_an_observer_is_logged_once_for_its_thread() {
    let servers = set_with_key(0);
    let client = servers.client_builder().observer(Panics).build().unwrap();
    let collector = Collector::default();
    subscriber::with_default(collector.clone(), || {
        (0..3).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    });
    let events = collector.events.lock().unwrap();
    let told: Vec<_> =
        events.iter().filter(|event| event.get("event").is_some_and(|name| name == "observer_panicked")).collect();
    let [event] = &told[..] else { panic!("{told:?}") };
    assert_eq!(event["reason"], "an observer of a test panics, on purpose");
}

/// Counts slow calls and others.
#[derive(Debug, Default)]
struct Slow(AtomicU64, AtomicU64);

impl Observer for Slow {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Call(call) = event {
            if call.is_slow() { &self.0 } else { &self.1 }.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn interest(&self) -> Interest {
        Interest::CALLS
    }
}

#[test]
fn a_slow_call_is_told_with_where_its_time_went() {
    let servers = set_with_key(1);
    let proxy = FaultProxy::start(&servers.replica(0).addr()).unwrap();
    let slow = Arc::new(Slow::default());
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(proxy.url());
    let builder = builder.slow_call(Duration::from_millis(60)).observer(Arc::clone(&slow)).read_from(ReadFrom::Replica);
    // One slot, so that the second read finds the connection of the first one.
    let client = builder.monitor_interval(Duration::ZERO).pool_size(1).build().unwrap();
    client.get::<String>("k").unwrap();
    let collector = Collector::default();
    subscriber::with_default(collector.clone(), || {
        client.set("secret", "secret").unwrap();
        proxy.set(NetworkFault::Delay(Duration::from_millis(100))).unwrap();
        client.get::<String>("k").unwrap();
    });
    let events = collector.events.lock().unwrap();
    let told: Vec<_> =
        events.iter().filter(|event| event.get("event").is_some_and(|name| name == "slow_call")).collect();
    let line = told.iter().find(|line| line["node"] == proxy.addr().to_string()).expect("the slow read");
    assert_eq!((line["command"].as_str(), line["attempts"].as_str(), line["error"].as_str()), ("GET", "1", "none"));
    // Of the time for the reply, and of no other.
    let millis = |name: &str| line[name].trim_end_matches(" ms").parse::<f64>().unwrap();
    assert!(millis("took") >= 100.0 && millis("replying") >= 100.0, "{line:?}");
    assert!(["pausing", "waiting", "connecting", "sending"].iter().all(|part| millis(part) == 0.0), "{line:?}");
    assert!(!format!("{events:?}").contains("secret"), "{events:?}");
    assert!(slow.0.load(Ordering::Relaxed) >= 1 && slow.1.load(Ordering::Relaxed) >= 1, "{slow:?}");
}
