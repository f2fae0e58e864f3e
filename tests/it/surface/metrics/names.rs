//! The metrics that are promised: names, kinds, units and attributes.

use std::collections::BTreeSet;

use metrics::Unit;

use super::recorder::{Seen, described};

/// The node, also where its attributes are missing because a call reached none.
const NODE: &[&str] = &["server.address", "server.port"];
const POOL: &[&str] = &["db.client.connection.pool.name"];
const FAILED: &[&str] = &["error.type", "redis.client.errors.category", "db.response.status_code"];
const RETRIED: &[&str] = &["redis.client.operation.retry_attempts"];

/// One metric: the attributes of each series, and those that some have.
struct Expected {
    name: &'static str,
    kind: &'static str,
    unit: Unit,
    always: &'static [&'static [&'static str]],
    sometimes: &'static [&'static [&'static str]],
}

const fn expected(
    name: &'static str,
    kind: &'static str,
    unit: Unit,
    always: &'static [&'static [&'static str]],
    sometimes: &'static [&'static [&'static str]],
) -> Expected {
    Expected { name, kind, unit, always, sometimes }
}

#[rustfmt::skip]
const EXPECTED: &[Expected] = &[
    expected("db.client.operation.duration", "histogram", Unit::Seconds, &[&["db.operation.name"], RETRIED], &[NODE, FAILED, &["db.namespace"]]),
    expected("redis.client.errors", "counter", Unit::Count, &[&["error.type", "redis.client.errors.category", "redis.client.errors.internal"], RETRIED], &[NODE, FAILED]),
    expected("db.client.connection.count", "gauge", Unit::Count, &[POOL, &["db.client.connection.state"]], &[]),
    expected("db.client.connection.create_time", "histogram", Unit::Seconds, &[POOL], &[]),
    expected("db.client.connection.pending_requests", "gauge", Unit::Count, &[POOL], &[]),
    expected("db.client.connection.wait_time", "histogram", Unit::Seconds, &[POOL], &[]),
    expected("db.client.connection.timeouts", "counter", Unit::Count, &[POOL], &[]),
    expected("redis.client.connection.closed", "counter", Unit::Count, &[POOL, &["redis.client.connection.close.reason"]], &[]),
    expected("redis.client.routing.reads", "counter", Unit::Count, &[NODE, &["redis.client.routing.role"]], &[]),
    expected("redis.client.routing.fallback_reads", "counter", Unit::Count, &[&["redis.client.routing.result"]], &[]),
    expected("redis.client.routing.retries", "counter", Unit::Count, &[], &[]),
    expected("redis.client.routing.budget_exhausted", "counter", Unit::Count, &[], &[]),
    expected("redis.client.routing.ejections", "counter", Unit::Count, &[NODE, &["error.type"]], &[]),
    expected("redis.client.routing.ejection.duration", "histogram", Unit::Seconds, &[NODE], &[]),
    expected("redis.client.routing.probes", "counter", Unit::Count, &[NODE, &["redis.client.routing.result"]], &[]),
    expected("redis.client.routing.available", "gauge", Unit::Count, &[NODE, &["redis.client.routing.role"]], &[]),
    expected("redis.client.routing.topology_changes", "counter", Unit::Count, &[], &[]),
    expected("redis.client.routing.failovers", "counter", Unit::Count, &[], &[]),
    expected("redis.client.routing.failover.duration", "histogram", Unit::Seconds, &[], &[]),
    expected("redis.client.routing.replication.lag", "gauge", Unit::Bytes, &[NODE], &[]),
    expected("redis.client.routing.replication.delay", "gauge", Unit::Seconds, &[NODE], &[]),
    expected("redis.client.routing.session.reads", "counter", Unit::Count, &[&["redis.client.routing.proven_by"]], &[]),
    expected("redis.client.routing.session.losses", "counter", Unit::Count, &[&["redis.client.routing.loss"]], &[]),
    expected("redis.client.routing.staleness", "histogram", Unit::Seconds, &[], &[]),
    expected("redis.client.routing.shared.batch_size", "gauge", Unit::Count, &[NODE], &[]),
    expected("redis.client.routing.shared.wait", "gauge", Unit::Seconds, &[NODE], &[]),
];

/// Metrics that not every client has: a loss, and batches of shared connections.
const RARE: &[&str] = &[
    "redis.client.routing.session.losses",
    "redis.client.routing.shared.batch_size",
    "redis.client.routing.shared.wait",
];

/// Checks that exactly these metrics are described.
pub fn check_descriptions() {
    let described = described();
    let names: Vec<_> = described.keys().map(String::as_str).collect();
    let expected: BTreeSet<_> = EXPECTED.iter().map(|expected| expected.name).collect();
    assert_eq!(names, expected.into_iter().collect::<Vec<_>>());
    for expected in EXPECTED {
        let found = &described[expected.name];
        assert_eq!((found.kind, found.unit), (expected.kind, Some(expected.unit)), "{}", expected.name);
        assert!(found.text.ends_with('.'), "{found:?}");
    }
}

/// Checks the name, the kind and the attributes of each series of a client.
pub fn check_series(seen: Seen) {
    let library = format!("redis-replicated:{}", env!("CARGO_PKG_VERSION"));
    for series in seen.all() {
        let expected = EXPECTED.iter().find(|expected| expected.name == series.name);
        let expected = expected.unwrap_or_else(|| panic!("unknown: {series:?}"));
        assert_eq!(series.kind, expected.kind, "{series:?}");
        assert_eq!(series.labels["db.system.name"], "redis");
        assert_eq!(series.labels["redis.client.library"], library);
        let common = &["db.system.name", "redis.client.library", "client"][..];
        let always: BTreeSet<_> = expected.always.iter().copied().flatten().chain(common).copied().collect();
        let sometimes: BTreeSet<_> = expected.sometimes.iter().copied().flatten().copied().collect();
        let found: BTreeSet<_> = series.labels.keys().map(String::as_str).collect();
        assert!(always.is_subset(&found), "lacks an attribute: {series:?}");
        assert!(found.iter().all(|label| always.contains(label) || sometimes.contains(label)), "{series:?}");
    }
}

/// Checks that a client which met every kind of trouble has a series of each metric.
pub fn check_that_all_are_there(seen: Seen) {
    for expected in EXPECTED.iter().filter(|expected| !RARE.contains(&expected.name)) {
        assert!(!seen.find(expected.name, &[]).is_empty(), "no series of {}", expected.name);
    }
}
