//! Metrics: an observer that counts through the facade of the crate `metrics`.

use std::sync::OnceLock;

use ::metrics::{Label, SharedString};

use self::failure::Failure;
use self::keys::{CallKey, ErrorKey, ReadKey, Retries};
use self::labels::Labels;
use self::metric::{
    CLOSED, CREATE_TIME, DURATION, EJECTION_DURATION, EJECTIONS, ERRORS, PROBES, READS, TIMEOUTS, WAIT_TIME, describe,
};
use self::node_series::WaitKey;
use self::nodes::Nodes;
use self::set_series::SetSeries;
use super::call::{AttemptEnded, CallEnded};
use super::connection::{ConnectionChange, ConnectionEvent};
use super::event::Event;
use super::interest::Interest;
use super::node::{NodeChange, NodeEvent};
use super::observer::Observer;
use super::topology::TopologyChange;
use crate::node::Outcome;
use crate::replication::Role;

mod failure;
mod family;
mod groups;
mod keys;
mod labels;
mod metric;
mod node_series;
mod nodes;
mod set_series;

pub use self::groups::MetricsGroups;

/// Counts and measures what happens in a client, through the facade of the crate [`metrics`](https://docs.rs/metrics) 0.24.
///
/// The names are those of the specification for Redis clients; what only routing has begins with `redis.client.routing`.
///
/// ```no_run
/// use redis_replicated::ReplicatedClient;
/// use redis_replicated::observe::MetricsObserver;
///
/// // First install a recorder, such as that of metrics-exporter-prometheus.
/// let client = ReplicatedClient::builder()
///     .master("redis://127.0.0.1:6379")
///     .replica("redis://127.0.0.1:6380")
///     .observer(MetricsObserver::new())
///     .build()?;
/// # Ok::<(), redis_replicated::Error>(())
/// ```
///
/// Install the recorder before the client is built: the observer registers the units and descriptions once, at the first event,
/// and keeps the handles of what each call changes. So a recorder that drops idle series would lose values.
/// Each client needs an observer of its own. Give these different [`label`](Self::label)s if one process has several clients.
///
/// # Metrics
///
/// All have the attributes `db.system.name` (`redis`) and `redis.client.library`. *Node* means `server.address` and
/// `server.port`; of a unix socket, the address is the path. *Pool* means `db.client.connection.pool.name`: the address of the
/// node. Counts have no unit for a recorder, times are in seconds.
///
/// | group | name | kind | attributes |
/// |---|---|---|---|
/// | command | `db.client.operation.duration` | histogram, s | node, `db.namespace`, `db.operation.name`, `redis.client.operation.retry_attempts`; of a failure `error.type`, `redis.client.errors.category`, `db.response.status_code` |
/// | resiliency | `redis.client.errors` | counter | node, `redis.client.errors.internal`, `redis.client.operation.retry_attempts`, `error.type`, `redis.client.errors.category`, `db.response.status_code` |
/// | connection-basic | `db.client.connection.count` | gauge | pool, `db.client.connection.state` (`idle`, `used`) |
/// | connection-basic | `db.client.connection.create_time` | histogram, s | pool |
/// | connection-advanced | `db.client.connection.pending_requests` | gauge | pool |
/// | connection-advanced | `db.client.connection.wait_time` | histogram, s | pool |
/// | connection-advanced | `db.client.connection.timeouts` | counter | pool |
/// | connection-advanced | `redis.client.connection.closed` | counter | pool, `redis.client.connection.close.reason` |
/// | routing | `redis.client.routing.reads` | counter | node, `redis.client.routing.role` (`master`, `replica`) |
/// | routing | `redis.client.routing.fallback_reads` | counter | `redis.client.routing.result` (`served`, `refused`) |
/// | routing | `redis.client.routing.retries` | counter | |
/// | routing | `redis.client.routing.budget_exhausted` | counter | |
/// | routing | `redis.client.routing.ejections` | counter | node, `error.type` (`failed`, `unreachable`, `not_serving`) |
/// | routing | `redis.client.routing.ejection.duration` | histogram, s | node |
/// | routing | `redis.client.routing.probes` | counter | node, `redis.client.routing.result` (`serves`, `fails`) |
/// | routing | `redis.client.routing.available` | gauge | node, `redis.client.routing.role` |
/// | routing | `redis.client.routing.topology_changes` | counter | |
/// | routing | `redis.client.routing.failovers` | counter | |
/// | routing | `redis.client.routing.failover.duration` | histogram, s | |
/// | routing | `redis.client.routing.replication.lag` | gauge, bytes | node |
/// | routing | `redis.client.routing.replication.delay` | gauge, s | node |
/// | routing | `redis.client.routing.session.reads` | counter | `redis.client.routing.proven_by` (`first`, `another`, `master`) |
/// | routing | `redis.client.routing.session.losses` | counter | `redis.client.routing.loss` (`write_lost`, `history_lost`, `unproven`) |
/// | routing | `redis.client.routing.staleness` | histogram, s | |
/// | routing | `redis.client.routing.shared.batch_size` | gauge | node |
/// | routing | `redis.client.routing.shared.wait` | gauge, s | node |
///
/// An error that the caller got is counted once, with `redis.client.errors.internal` `false`; each failed attempt after which
/// the call went on is counted with `true`. `error.type` is the code of the server's error, else the name of the
/// [`ErrorKind`](crate::ErrorKind). `redis.client.errors.category` is `network`, `tls`, `auth`, `server` or `other`.
///
/// Gauges are set in each round of the monitor ([`Builder::monitor_interval`](crate::Builder::monitor_interval)). Those of a
/// node that left the set are set to 0. While a replica has no history in common with the master, its lag and delay keep their
/// last values.
///
/// # How many series there are
///
/// No attribute contains a key, a value, or a name that somebody else invented: unknown commands and unknown codes of errors
/// are `OTHER`. Five and more retries count as 5. Series are kept for at most 64 nodes, with at most 256 combinations of
/// operation and failure and 128 kinds of errors each; what is beyond that is recorded as `OTHER`.
#[derive(Debug)]
pub struct MetricsObserver {
    groups: MetricsGroups,
    labels: Vec<Label>,
    series: OnceLock<Series>,
}

/// The series of a client.
#[derive(Debug)]
struct Series {
    groups: MetricsGroups,
    common: Labels,
    set: Option<SetSeries>,
    nodes: Nodes,
}

impl MetricsObserver {
    /// Makes an observer for all groups.
    #[must_use]
    pub fn new() -> Self {
        Self { groups: MetricsGroups::ALL, labels: Vec::new(), series: OnceLock::new() }
    }

    /// Sets which groups are wanted. Default: all. Events that no group needs are not made.
    #[must_use]
    pub fn groups(self, groups: MetricsGroups) -> Self {
        Self { groups, ..self }
    }

    /// Adds an attribute to all series, to tell several clients of one process apart. Default: none.
    ///
    /// ```
    /// use redis_replicated::observe::MetricsObserver;
    ///
    /// let observer = MetricsObserver::new().label("client", "baskets");
    /// ```
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push(Label::new(SharedString::from(name.into()), SharedString::from(value.into())));
        self
    }

    #[inline]
    fn series(&self) -> &Series {
        match self.series.get() {
            Some(series) => series,
            None => self.begin(),
        }
    }

    #[cold]
    fn begin(&self) -> &Series {
        // Outside of the lock: a recorder may use the client.
        describe(self.groups);
        let series = Series::new(self.groups, Labels::common(&self.labels));
        self.series.get_or_init(|| series)
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, event: &Event<'_>) {
        let series = self.series();
        match event {
            Event::Call(call) => series.record_call(call),
            Event::Attempt(attempt) => series.record_attempt(attempt),
            Event::Connection(connection) => series.record_connection(connection),
            Event::Node(node) => series.record_node(node),
            Event::Topology(topology) => series.record_topology(topology.change()),
            Event::Session(session) => {
                series.set.iter().for_each(|set| set.count_session(session.change()));
            }
        }
    }

    fn interest(&self) -> Interest {
        self.groups.interest()
    }
}

impl Series {
    fn new(groups: MetricsGroups, common: Labels) -> Self {
        let set = groups.contains(MetricsGroups::ROUTING).then(|| SetSeries::new(common.clone()));
        Self { groups, set, nodes: Nodes::new(common.clone()), common }
    }

    #[inline]
    fn record_call(&self, call: &CallEnded<'_>) {
        let retries = Retries::of(call.retries());
        let failure = call.error_kind().map(|_| Failure::of(call.error(), call.code()));
        let database = (call.attempts() > 0).then(|| call.database());
        self.nodes.with(call.node(), |node| {
            if self.groups.contains(DURATION.group) {
                let key = CallKey { operation: call.operation(), database, retries, failure };
                node.calls.with(key, |duration| duration.record(call.took()));
            }
            if let Some(failure) = failure.filter(|_| self.groups.contains(ERRORS.group)) {
                node.errors.with(ErrorKey { failure, retries, is_internal: false }, |errors| errors.increment(1));
            }
            if let Some(role) = call.role().filter(|_| call.is_read() && call.error().is_none())
                && self.groups.contains(READS.group)
            {
                node.reads.with(ReadKey(role), |reads| reads.increment(1));
            }
        });
        if let Some(set) = &self.set {
            set.count_call(call);
        }
    }

    #[inline]
    fn record_attempt(&self, attempt: &AttemptEnded<'_>) {
        // The call's own error is counted when the call ends.
        let handled = attempt.error().filter(|_| !attempt.is_last() && self.groups.contains(ERRORS.group));
        let waits = self.groups.contains(WAIT_TIME.group);
        if !waits && handled.is_none() {
            return;
        }
        self.nodes.with(Some(attempt.node()), |node| {
            if waits && node.node.is_some() {
                node.waits.with(WaitKey, |waits| waits.record(attempt.timing().waiting));
            }
            if let Some(error) = handled {
                let (failure, retries) = (Failure::of_attempt(error), Retries::of(attempt.number().saturating_sub(1)));
                node.errors.with(ErrorKey { failure, retries, is_internal: true }, |errors| errors.increment(1));
            }
        });
    }

    #[cold]
    fn record_connection(&self, event: &ConnectionEvent<'_>) {
        let pool = || self.common.of_pool(event.node());
        match event.change() {
            ConnectionChange::Opened { took } if self.groups.contains(CREATE_TIME.group) => {
                CREATE_TIME.histogram(pool().alone()).record(took);
            }
            ConnectionChange::Closed { reason } if self.groups.contains(CLOSED.group) => {
                let reason = ("redis.client.connection.close.reason", reason.to_string());
                CLOSED.counter(pool().with([reason])).increment(1);
            }
            ConnectionChange::Waited { timed_out: true, .. } if self.groups.contains(TIMEOUTS.group) => {
                TIMEOUTS.counter(pool().alone()).increment(1);
            }
            _ => {}
        }
    }

    #[cold]
    fn record_node(&self, event: &NodeEvent<'_>) {
        let groups = self.groups;
        let labels = || self.common.at(event.node());
        let counts = groups.contains(MetricsGroups::ROUTING);
        let change = event.change();
        match change {
            NodeChange::Ejected { outcome, .. } if counts => {
                EJECTIONS.counter(labels().with([("error.type", word(outcome))])).increment(1);
            }
            NodeChange::Returned { after } if counts => EJECTION_DURATION.histogram(labels().alone()).record(after),
            NodeChange::Probed { serves } if counts => {
                let result = if serves { "serves" } else { "fails" };
                PROBES.counter(labels().with([("redis.client.routing.result", result)])).increment(1);
            }
            _ => {}
        }
        let shows = matches!(change, NodeChange::Ejected { .. } | NodeChange::Returned { .. } | NodeChange::Gauges(_));
        if shows {
            self.nodes.with(Some(event.node()), |node| match change {
                _ if node.node.is_none() => {}
                NodeChange::Gauges(gauges) => node.show(&gauges, groups),
                _ => node.eject(matches!(change, NodeChange::Ejected { .. }), groups),
            });
        }
    }

    #[cold]
    fn record_topology(&self, change: TopologyChange<'_>) {
        if let TopologyChange::Changed { master, replicas, .. } = change {
            let nodes: Vec<_> = master.into_iter().chain(replicas.iter().copied()).collect();
            self.nodes.keep(&nodes).iter().for_each(|left| left.leave(self.groups));
            for node in nodes {
                let role = if Some(node) == master { Role::Master } else { Role::Replica };
                self.nodes.with(Some(node), |series| {
                    if series.node.is_some() {
                        series.assign(role, self.groups);
                    }
                });
            }
        }
        if let Some(set) = &self.set {
            set.count_change(change);
        }
    }
}

/// Returns the word for how a node failed.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Failed => "failed",
        Outcome::Unreachable => "unreachable",
        Outcome::NotServing => "not_serving",
    }
}
