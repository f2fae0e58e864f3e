//! The series of one node.

use std::time::Duration;

use metrics::{Counter, Histogram};
use parking_lot::Mutex;

use super::family::Family;
use super::groups::MetricsGroups as Groups;
use super::kept::Kept;
use super::keys::{CallKey, ErrorKey};
use super::labels::Labels;
use super::metric::{AVAILABLE, BATCH_SIZE, BATCH_WAIT, CONNECTIONS, DELAY, LAG, Metric, PENDING, READS, WAIT_TIME};
use crate::addr::NodeAddr;
use crate::observe::node::NodeGauges;
use crate::replication::Role;

/// The series of one node. Those that each call changes are kept.
#[derive(Debug)]
pub(super) struct NodeSeries {
    /// `None`: these are the calls that reached no node, and those of nodes that are too many.
    pub(super) node: Option<NodeAddr>,
    pub(super) calls: Family<CallKey>,
    pub(super) errors: Family<ErrorKey>,
    master_reads: Kept<Counter>,
    replica_reads: Kept<Counter>,
    waits: Kept<Histogram>,
    labels: Labels,
    pool: Labels,
    shown: Mutex<Shown>,
}

/// What the gauges show.
#[derive(Debug, Default)]
struct Shown {
    role: Option<Role>,
    is_ejected: bool,
    has_connections: bool,
    has_lag: bool,
    has_delay: bool,
    has_batches: bool,
    /// The requests, the batches and the waits of the shared connections, one round of the monitor ago.
    shared: (u64, u64, Duration),
    /// The node left the set.
    has_left: bool,
}

impl NodeSeries {
    pub(super) fn new(node: Option<NodeAddr>, common: &Labels) -> Self {
        let (labels, pool) = match &node {
            Some(node) => (common.at(node), common.of_pool(node)),
            None => (common.clone(), common.clone()),
        };
        Self {
            node,
            calls: Family::new(labels.clone()),
            errors: Family::new(labels.clone()),
            master_reads: Kept::default(),
            replica_reads: Kept::default(),
            waits: Kept::default(),
            labels,
            pool,
            shown: Mutex::default(),
        }
    }

    /// Counts a read that the node served in this role.
    #[inline]
    pub(super) fn count_read(&self, of: Role) {
        let reads = if of == Role::Master { &self.master_reads } else { &self.replica_reads };
        reads.get(|| READS.counter(self.labels.with([role(of)]))).increment(1);
    }

    /// Records how long an attempt waited for a connection.
    #[inline]
    pub(super) fn record_wait(&self, time: Duration) {
        self.waits.get(|| WAIT_TIME.histogram(self.pool.alone())).record(time);
    }

    /// Shows the role that the topology assigned to the node.
    pub(super) fn assign(&self, role: Role, groups: Groups) {
        let before = self.change(|shown| shown.role.replace(role)).flatten();
        if before != Some(role) {
            self.show_role(before, groups);
        }
    }

    /// Shows whether the node is ejected.
    pub(super) fn eject(&self, is_ejected: bool, groups: Groups) {
        self.change(|shown| shown.is_ejected = is_ejected);
        self.show_role(None, groups);
    }

    /// Shows the gauges of a node of the set.
    pub(super) fn show(&self, gauges: &NodeGauges, groups: Groups) {
        let Some(role) = gauges.assigned_role else { return };
        let shared = (gauges.shared_requests, gauges.shared_batches, gauges.shared_waited);
        let changed = self.change(|shown| {
            // The set has not got it yet, or no more: these gauges were read before.
            shown.role?;
            shown.is_ejected = gauges.ejected;
            shown.has_connections = true;
            let had = (shown.has_lag, shown.has_delay);
            shown.has_lag |= gauges.lag_bytes.is_some();
            shown.has_delay |= gauges.lag_time.is_some();
            let before = std::mem::replace(&mut shown.shared, shared);
            let batches = shared.1.saturating_sub(before.1);
            shown.has_batches |= batches > 0;
            let (requests, waited) = (shared.0.saturating_sub(before.0), shared.2.saturating_sub(before.2));
            Some((shown.role.replace(role), had, (requests as f64, batches as f64, waited.as_secs_f64())))
        });
        let Some((before, had, (requests, batches, waited))) = changed.flatten() else { return };
        self.show_role(before.filter(|before| *before != role), groups);
        if groups.contains(CONNECTIONS.group) {
            self.show_connections(gauges.idle, gauges.used);
        }
        if groups.contains(PENDING.group) {
            self.show_pool(PENDING, f64::from(gauges.waiting));
        }
        if groups.contains(LAG.group) {
            let is_replica = role == Role::Replica;
            // Of a replica without a common history it is not known: the last value stays.
            let lag = gauges.lag_bytes.map(|bytes| bytes as f64).or((had.0 && !is_replica).then_some(0.0));
            lag.into_iter().for_each(|lag| self.show_node(LAG, lag));
            let delay = gauges.lag_time.or((had.1 && !is_replica).then_some(Duration::ZERO));
            delay.into_iter().for_each(|delay| self.show_node(DELAY, delay.as_secs_f64()));
        }
        if groups.contains(BATCH_SIZE.group) && batches > 0.0 {
            self.show_node(BATCH_SIZE, requests / batches);
            self.show_node(BATCH_WAIT, waited / batches);
        }
    }

    /// Sets all gauges to 0: the node left the set.
    pub(super) fn leave(&self, groups: Groups) {
        let shown = std::mem::replace(&mut *self.shown.lock(), Shown { has_left: true, ..Shown::default() });
        if let Some(role) = shown.role.filter(|_| groups.contains(AVAILABLE.group)) {
            self.show_available(role, 0.0);
        }
        if shown.has_connections && groups.contains(CONNECTIONS.group) {
            self.show_connections(0, 0);
        }
        if shown.has_connections && groups.contains(PENDING.group) {
            self.show_pool(PENDING, 0.0);
        }
        for (metric, is_shown) in [
            (LAG, shown.has_lag),
            (DELAY, shown.has_delay),
            (BATCH_SIZE, shown.has_batches),
            (BATCH_WAIT, shown.has_batches),
        ] {
            if is_shown && groups.contains(metric.group) {
                self.show_node(metric, 0.0);
            }
        }
    }

    /// Changes what is shown, of a node that has not left.
    // The lock is not held while values are set: a recorder may use the client.
    fn change<T>(&self, change: impl FnOnce(&mut Shown) -> T) -> Option<T> {
        let mut shown = self.shown.lock();
        (!shown.has_left).then(|| change(&mut shown))
    }

    /// Shows whether the node is available in its role, and that it is not in its role of `before`.
    fn show_role(&self, before: Option<Role>, groups: Groups) {
        if !groups.contains(AVAILABLE.group) {
            return;
        }
        before.into_iter().for_each(|before| self.show_available(before, 0.0));
        if let Some((Some(role), is_ejected)) = self.change(|shown| (shown.role, shown.is_ejected)) {
            self.show_available(role, if is_ejected { 0.0 } else { 1.0 });
        }
    }

    fn show_available(&self, of: Role, value: f64) {
        AVAILABLE.gauge(self.labels.with([role(of)])).set(value);
    }

    fn show_connections(&self, idle: u32, used: u32) {
        for (state, count) in [("idle", idle), ("used", used)] {
            let labels = self.pool.with([("db.client.connection.state", state)]);
            CONNECTIONS.gauge(labels).set(f64::from(count));
        }
    }

    fn show_pool(&self, metric: Metric, value: f64) {
        metric.gauge(self.pool.alone()).set(value);
    }

    fn show_node(&self, metric: Metric, value: f64) {
        metric.gauge(self.labels.alone()).set(value);
    }
}

/// The attribute of a role.
fn role(role: Role) -> (&'static str, String) {
    ("redis.client.routing.role", role.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Groups, Labels, NodeSeries};
    use crate::node::SyncState;
    use crate::observe::node::NodeGauges;
    use crate::replication::Role;
    use metrics::{
        Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
    };
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    /// Keeps the last value of each gauge, by the end of its name and its last attribute.
    #[derive(Clone, Debug, Default)]
    struct Gauges(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Last(Gauges, String);

    impl GaugeFn for Last {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}

        fn set(&self, value: f64) {
            self.0.0.lock().insert(self.1.clone(), value);
        }
    }

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let name = key.name().rsplit('.').next().unwrap_or_default();
            let last = key.labels().last().map(metrics::Label::value).unwrap_or_default();
            Gauge::from_arc(Arc::new(Last(self.clone(), format!("{name} {last}"))))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    fn gauges(role: Role, shared: (u64, u64), waited: Duration) -> NodeGauges {
        let lag = (role == Role::Replica).then_some(70);
        NodeGauges {
            assigned_role: Some(role),
            sync_state: SyncState::InSync,
            ejected: false,
            in_flight: 3,
            used: 2,
            idle: 4,
            waiting: 1,
            pool_size: 10,
            shared: 1,
            lag_bytes: lag,
            lag_time: lag.map(Duration::from_millis),
            heartbeat: None,
            shared_requests: shared.0,
            shared_batches: shared.1,
            shared_waited: waited,
        }
    }

    #[test]
    fn gauges_follow_the_role_and_are_zero_once_the_node_has_left() {
        let recorder = Gauges::default();
        let series = NodeSeries::new(Some("a:1".parse().unwrap()), &Labels::common(&[]));
        let after = |change: &dyn Fn()| {
            with_local_recorder(&recorder, change);
            recorder.0.lock().clone()
        };
        let show = |role, shared, waited| series.show(&gauges(role, shared, waited), Groups::ALL);
        let first = after(&|| show(Role::Replica, (8, 2), Duration::from_micros(60)));
        let expected = [
            ("available replica", 1.0),
            ("batch_size 1", 4.0),
            ("count idle", 4.0),
            ("count used", 2.0),
            ("delay 1", 0.07),
            ("lag 1", 70.0),
            ("pending_requests a:1", 1.0),
            ("wait 1", 0.000_03),
        ];
        assert_eq!(first, expected.map(|(name, value)| (name.to_owned(), value)).into());
        // One request in one batch more, which waited for 10 µs.
        let second = after(&|| show(Role::Replica, (9, 3), Duration::from_micros(70)));
        assert_eq!((second["batch_size 1"], second["wait 1"]), (1.0, 0.000_01));
        let idle = after(&|| show(Role::Replica, (9, 3), Duration::from_micros(70)));
        assert_eq!(idle, second, "without a batch there is no news");
        assert_eq!(after(&|| series.eject(true, Groups::ALL))["available replica"], 0.0);
        assert_eq!(after(&|| series.eject(false, Groups::ALL))["available replica"], 1.0);
        let master = after(&|| show(Role::Master, (9, 3), Duration::from_micros(70)));
        let names = ["available master", "available replica", "lag 1", "delay 1"];
        assert_eq!(names.map(|name| master[name]), [1.0, 0.0, 0.0, 0.0]);
        let left = after(&|| series.leave(Groups::ALL));
        assert!(left.len() == 9 && left.values().all(|value| *value == 0.0), "{left:?}");
        let late = after(&|| {
            show(Role::Master, (10, 4), Duration::from_micros(70));
            series.assign(Role::Master, Groups::ALL);
            series.eject(false, Groups::ALL);
        });
        assert_eq!(late, left, "what comes late shows nothing");
    }
}
