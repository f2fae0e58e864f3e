//! The metrics: names, kinds, units and descriptions, and the groups to which they belong.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit, with_recorder};

use super::groups::MetricsGroups as Groups;

static METADATA: Metadata<'static> = Metadata::new("redis_replicated::observe", Level::INFO, Some(module_path!()));

/// One metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Metric {
    pub(super) group: Groups,
    kind: Kind,
    unit: Unit,
    name: &'static str,
    description: &'static str,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Defines a constant for each metric, and the list of all.
macro_rules! metrics {
    ($($constant:ident: $group:ident $kind:ident $unit:ident $name:literal $description:literal;)*) => {
        $(pub(super) const $constant: Metric = Metric {
            group: Groups::$group,
            kind: Kind::$kind,
            unit: Unit::$unit,
            name: $name,
            description: $description,
        };)*
        const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    DURATION: COMMAND Histogram Seconds "db.client.operation.duration"
        "How long calls took from the caller's view, with retries and pauses.";
    ERRORS: RESILIENCY Counter Count "redis.client.errors"
        "Errors: those that callers got, and those that a retry handled (redis.client.errors.internal).";
    CONNECTIONS: CONNECTION_BASIC Gauge Count "db.client.connection.count"
        "Open connections of the pool, by state.";
    CREATE_TIME: CONNECTION_BASIC Histogram Seconds "db.client.connection.create_time"
        "How long it took to open a connection, with TLS and the login.";
    PENDING: CONNECTION_ADVANCED Gauge Count "db.client.connection.pending_requests"
        "Calls that wait for a connection.";
    WAIT_TIME: CONNECTION_ADVANCED Histogram Seconds "db.client.connection.wait_time"
        "How long an attempt waited for a connection; 0 if one was free.";
    TIMEOUTS: CONNECTION_ADVANCED Counter Count "db.client.connection.timeouts"
        "Waits for a connection that ended without one, because the time was over.";
    CLOSED: CONNECTION_ADVANCED Counter Count "redis.client.connection.closed"
        "Connections that were closed, by reason.";
    READS: ROUTING Counter Count "redis.client.routing.reads"
        "Reads that a node served, by its role.";
    FALLBACK_READS: ROUTING Counter Count "redis.client.routing.fallback_reads"
        "Reads that no replica could serve: served by the master, or refused because it serves enough of them.";
    RETRIES: ROUTING Counter Count "redis.client.routing.retries"
        "Attempts beyond the first of a call.";
    BUDGET_EXHAUSTED: ROUTING Counter Count "redis.client.routing.budget_exhausted"
        "Calls that paused because the retry budget was empty.";
    EJECTIONS: ROUTING Counter Count "redis.client.routing.ejections"
        "Nodes that failed and were taken out of rotation.";
    EJECTION_DURATION: ROUTING Histogram Seconds "redis.client.routing.ejection.duration"
        "How long a node was out of rotation.";
    PROBES: ROUTING Counter Count "redis.client.routing.probes"
        "Probes of ejected nodes.";
    AVAILABLE: ROUTING Gauge Count "redis.client.routing.available"
        "1 if the node has this role and is not ejected, else 0.";
    TOPOLOGY_CHANGES: ROUTING Counter Count "redis.client.routing.topology_changes"
        "Changes of the set: nodes that joined, left or changed their roles.";
    FAILOVERS: ROUTING Counter Count "redis.client.routing.failovers"
        "How often writes went to another master.";
    FAILOVER_DURATION: ROUTING Histogram Seconds "redis.client.routing.failover.duration"
        "From the moment when the master was out until the new one answered the first write.";
    LAG: ROUTING Gauge Bytes "redis.client.routing.replication.lag"
        "How many bytes of the replication stream a replica is behind the master.";
    DELAY: ROUTING Gauge Seconds "redis.client.routing.replication.delay"
        "For how long a replica has been behind the master, as far as is known.";
    SESSION_READS: ROUTING Counter Count "redis.client.routing.session.reads"
        "Reads of sessions that were proven, by the node that proved them.";
    SESSION_LOSSES: ROUTING Counter Count "redis.client.routing.session.losses"
        "What the history of a master lacks, or may lack, of what a session has seen.";
    STALENESS: ROUTING Histogram Seconds "redis.client.routing.staleness"
        "The staleness that reads with max_staleness were proven to have at most.";
    BATCH_SIZE: ROUTING Gauge Count "redis.client.routing.shared.batch_size"
        "Requests for each batch of the shared connections, in the last round of the monitor.";
    BATCH_WAIT: ROUTING Gauge Seconds "redis.client.routing.shared.wait"
        "How long the first request of a batch waited until it was sent, on average of the last round of the monitor.";
}

/// Tells the recorder the units and descriptions of the metrics of these groups.
#[cold]
pub(super) fn describe(groups: Groups) {
    with_recorder(|recorder| {
        ALL.iter().filter(|metric| groups.contains(metric.group)).for_each(|metric| metric.describe(recorder));
    });
}

impl Metric {
    fn describe(&self, recorder: &dyn Recorder) {
        let (name, unit, description) = (self.name.into(), Some(self.unit), self.description.into());
        match self.kind {
            Kind::Counter => recorder.describe_counter(name, unit, description),
            Kind::Gauge => recorder.describe_gauge(name, unit, description),
            Kind::Histogram => recorder.describe_histogram(name, unit, description),
        }
    }

    /// Registers a series of a counter.
    #[cold]
    pub(super) fn counter(&self, labels: Vec<Label>) -> Counter {
        let key = Key::from_parts(self.name, labels);
        with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    /// Registers a series of a gauge.
    #[cold]
    pub(super) fn gauge(&self, labels: Vec<Label>) -> Gauge {
        let key = Key::from_parts(self.name, labels);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// Registers a series of a histogram.
    #[cold]
    pub(super) fn histogram(&self, labels: Vec<Label>) -> Histogram {
        let key = Key::from_parts(self.name, labels);
        with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Groups, Kind};
    use metrics::Unit;
    use std::collections::BTreeSet;

    #[test]
    fn each_metric_has_a_name_of_its_own_and_a_unit_that_fits_its_kind() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert_eq!(metric.kind == Kind::Histogram, metric.unit == Unit::Seconds && metric.kind != Kind::Gauge);
            assert!(Groups::ALL.contains(metric.group) && !Groups::NONE.contains(metric.group), "{metric:?}");
        }
    }

    #[test]
    fn the_docs_name_each_metric() {
        let docs = include_str!("../metrics.rs");
        ALL.iter().for_each(|metric| assert!(docs.contains(&format!("| `{}` |", metric.name)), "{metric:?}"));
    }
}
