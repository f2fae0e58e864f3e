//! Counters and histograms, from the events of a client.
//!
//! The names are those of the feature `metrics`. This is a selection; add what you need.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use redis_replicated::observe::{
    AttemptEnded, CallEnded, Event, Interest, NodeChange, NodeEvent, Observer, SessionChange, TopologyChange,
};
use redis_replicated::{Error, ErrorKind, NodeAddr, Outcome};

/// Upper bounds of the buckets, in seconds. A GET takes 20 to 500 µs; 3 s is the default deadline.
const CALLS: [f64; 16] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0];
/// For failovers and ejections, in seconds.
const EPISODES: [f64; 11] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Records what happens in a client.
#[derive(Debug)]
pub struct OpenTelemetryObserver {
    duration: Histogram<f64>,
    errors: Counter<u64>,
    reads: Counter<u64>,
    retries: Counter<u64>,
    ejections: Counter<u64>,
    ejection_duration: Histogram<f64>,
    failovers: Counter<u64>,
    failover_duration: Histogram<f64>,
    losses: Counter<u64>,
}

impl OpenTelemetryObserver {
    /// Makes the instruments.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let counter = |name, unit| meter.u64_counter(name).with_unit(unit).build();
        let histogram =
            |name, bounds: &[f64]| meter.f64_histogram(name).with_unit("s").with_boundaries(bounds.to_vec()).build();
        Self {
            duration: histogram("db.client.operation.duration", &CALLS),
            errors: counter("redis.client.errors", "{error}"),
            reads: counter("redis.client.routing.reads", "{read}"),
            retries: counter("redis.client.routing.retries", "{retry}"),
            ejections: counter("redis.client.routing.ejections", "{ejection}"),
            ejection_duration: histogram("redis.client.routing.ejection.duration", &EPISODES),
            failovers: counter("redis.client.routing.failovers", "{failover}"),
            failover_duration: histogram("redis.client.routing.failover.duration", &EPISODES),
            losses: counter("redis.client.routing.session.losses", "{loss}"),
        }
    }

    fn record_call(&self, call: &CallEnded<'_>) {
        let node = call.node().map(node_attributes).unwrap_or_default();
        let retries = KeyValue::new("redis.client.operation.retry_attempts", i64::from(call.retries()));
        let mut attributes = node.clone();
        attributes.push(KeyValue::new("db.system.name", "redis"));
        attributes.push(KeyValue::new("db.namespace", call.database().to_string()));
        // One of few names: an unknown command is OTHER.
        attributes.push(KeyValue::new("db.operation.name", call.operation()));
        attributes.push(retries);
        if let Some(kind) = call.error_kind() {
            attributes.push(error_type(kind));
            self.count_error(&node, kind, false);
        }
        self.duration.record(call.took().as_secs_f64(), &attributes);
        if call.retries() > 0 {
            self.retries.add(call.retries().into(), &[]);
        }
        if let Some(role) = call.role().filter(|_| call.is_read() && call.error().is_none()) {
            self.reads.add(1, &with(node, KeyValue::new("redis.client.routing.role", role.to_string())));
        }
    }

    fn record_attempt(&self, attempt: &AttemptEnded<'_>) {
        // The error of the last attempt is that of the call.
        if let Some(kind) = attempt.error().filter(|_| !attempt.is_last()).map(Error::kind) {
            self.count_error(&node_attributes(attempt.node()), kind, true);
        }
    }

    fn count_error(&self, node: &[KeyValue], kind: ErrorKind, is_internal: bool) {
        let internal = KeyValue::new("redis.client.errors.internal", is_internal);
        self.errors.add(1, &with(with(node.to_vec(), error_type(kind)), internal));
    }

    fn record_node(&self, event: &NodeEvent<'_>) {
        let node = node_attributes(event.node());
        match event.change() {
            NodeChange::Ejected { outcome, .. } => {
                let why = match outcome {
                    Outcome::Failed => "failed",
                    Outcome::Unreachable => "unreachable",
                    Outcome::NotServing => "not_serving",
                    _ => "other",
                };
                self.ejections.add(1, &with(node, KeyValue::new("error.type", why)));
            }
            NodeChange::Returned { after, .. } => self.ejection_duration.record(after.as_secs_f64(), &node),
            // Gauges are read by callbacks: see `gauges`.
            _ => {}
        }
    }

    fn record_topology(&self, change: TopologyChange<'_>) {
        match change {
            TopologyChange::Failover { .. } => self.failovers.add(1, &[]),
            TopologyChange::WritesResumed { after, .. } => self.failover_duration.record(after.as_secs_f64(), &[]),
            _ => {}
        }
    }

    fn record_session(&self, change: SessionChange) {
        let loss = match change {
            SessionChange::WriteLost => "write_lost",
            SessionChange::HistoryLost => "history_lost",
            SessionChange::Unproven => "unproven",
            _ => return,
        };
        self.losses.add(1, &[KeyValue::new("redis.client.routing.loss", loss)]);
    }
}

impl Observer for OpenTelemetryObserver {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Call(call) => self.record_call(call),
            Event::Attempt(attempt) => self.record_attempt(attempt),
            Event::Node(node) => self.record_node(node),
            Event::Topology(topology) => self.record_topology(topology.change()),
            Event::Session(session) => self.record_session(session.change()),
            _ => {}
        }
    }

    fn interest(&self) -> Interest {
        Interest::CALLS | Interest::ATTEMPTS | Interest::NODES | Interest::TOPOLOGY | Interest::SESSIONS
    }
}

/// Returns `server.address` and `server.port`; of a unix socket, its path alone.
pub(crate) fn node_attributes(node: &NodeAddr) -> Vec<KeyValue> {
    match node.host().zip(node.port()) {
        Some((host, port)) => {
            vec![KeyValue::new("server.address", host.to_owned()), KeyValue::new("server.port", i64::from(port))]
        }
        None => vec![KeyValue::new("server.address", node.to_string())],
    }
}

/// The kind, not the server's code: a script may invent codes, and each would be a series.
fn error_type(kind: ErrorKind) -> KeyValue {
    KeyValue::new("error.type", format!("{kind:?}"))
}

fn with(mut attributes: Vec<KeyValue>, one: KeyValue) -> Vec<KeyValue> {
    attributes.push(one);
    attributes
}
