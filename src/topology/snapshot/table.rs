//! A snapshot as a table for people.

use std::fmt;
use std::time::Duration;

use super::{NodeSnapshot, Snapshot};
use crate::node::Health;

/// The columns, and whether their values stand on the right. The last one is as wide as it has to be.
const COLUMNS: [(&str, bool); 11] = [
    ("node", false),
    ("role", false),
    ("sync state", false),
    ("lag", true),
    ("p50", true),
    ("p99", true),
    ("in flight", true),
    ("used/open/max", true),
    ("answered", true),
    ("failed", true),
    ("health", false),
];

type Row = [String; COLUMNS.len()];

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = COLUMNS.map(|(name, _)| name.to_owned());
        let rows: Vec<Row> = std::iter::once(header).chain(self.nodes.iter().map(row_of)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        for row in &rows {
            for ((cell, (_, is_right)), width) in row.iter().zip(COLUMNS).zip(&widths).take(COLUMNS.len() - 1) {
                if is_right { write!(f, "{cell:>width$}  ")? } else { write!(f, "{cell:<width$}  ")? }
            }
            writeln!(f, "{}", row[COLUMNS.len() - 1])?;
        }
        write_calls(self, f)?;
        write_connections(self, f)
    }
}

fn row_of(node: &NodeSnapshot) -> Row {
    let lag = node.replication.as_ref().and_then(|replication| replication.lag);
    let (p50, p99) = node.percentiles.map(|percentiles| (percentiles.p50, percentiles.p99)).unzip();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        node.addr.to_string(),
        node.role.to_string(),
        node.sync_state.to_string(),
        or_none(lag.map(bytes)),
        or_none(p50.map(time)),
        or_none(p99.map(time)),
        node.in_flight.to_string(),
        format!("{}/{}/{}", node.connections_in_use, node.connections_open, node.pool_size),
        node.answered.to_string(),
        node.failed.to_string(),
        health_of(node),
    ]
}

/// Returns the health, how long it has been so, and why.
fn health_of(node: &NodeSnapshot) -> String {
    let lasts = whole_seconds(node.health_for);
    let mut text = match node.health {
        Health::Available | Health::Ejected => format!("{} {lasts}", node.health),
        Health::Probing => format!("probing, ejected {lasts}"),
        Health::SlowStart => format!("slow start {lasts}, share {:.0} %", node.share * 100.0),
    };
    let outcome = node.outcome.map(|outcome| outcome.to_string().replace('_', " "));
    let reasons: Vec<String> = outcome.into_iter().chain(node.reason.clone()).collect();
    if !reasons.is_empty() {
        text += &format!(": {}", reasons.join(", "));
    }
    if node.role != node.assigned_role {
        text += &format!("; wrong role, assigned {}", node.assigned_role);
    }
    text
}

/// Writes what the calls of the client did.
fn write_calls(snapshot: &Snapshot, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let master = if snapshot.settled { "settled" } else { "not settled" };
    let fallback = &snapshot.fallback;
    write!(f, "client: generation {}, {master}; ", snapshot.generation)?;
    write!(f, "{} retries, {} denied; ", snapshot.retries, snapshot.retries_denied)?;
    write!(f, "fallback reads: {} served, {} waited", fallback.served, fallback.waits)?;
    writeln!(f, "{}, {} refused", each(fallback.wait_time, fallback.waits), fallback.refused)
}

/// Writes what happened to the connections of all nodes.
fn write_connections(snapshot: &Snapshot, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let sum = |count: fn(&NodeSnapshot) -> u64| snapshot.nodes.iter().map(count).sum::<u64>();
    let waits = sum(|node| node.connection_waits);
    let waited = snapshot.nodes.iter().map(|node| node.connection_wait_time).sum();
    let (requests, batches) = (sum(|node| node.shared_requests), sum(|node| node.shared_batches));
    write!(f, "connections: {waits} waits{}, ", each(waited, waits))?;
    write!(f, "{} timed out; shared: {requests} requests in {batches} batches", sum(|node| node.connection_timeouts))?;
    match requests.saturating_mul(10).checked_div(batches) {
        Some(tenths) => writeln!(f, " ({}.{} each)", tenths / 10, tenths % 10),
        None => writeln!(f),
    }
}

/// Returns how long each of these waits took, in parentheses.
fn each(all: Duration, count: u64) -> String {
    let nanos = all.as_nanos().checked_div(u128::from(count));
    let mean = nanos.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
    mean.map(|mean| format!(" ({} each)", time(mean))).unwrap_or_default()
}

/// Returns a time with two digits or more, in its unit: `4.2 ms`.
fn time(time: Duration) -> String {
    if time >= Duration::from_secs(10) {
        return whole_seconds(time);
    }
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    scaled(nanos, &[(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")])
}

/// Returns a longer time: `42 s`, `3 min`.
fn whole_seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Returns a number of bytes in its unit: `1.5 kB`.
fn bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    scaled(bytes, &[(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")])
}

/// Returns a number in the largest unit that it reaches, or else in the last one; with a decimal below 10. The rest is cut off.
fn scaled(number: u64, units: &[(u64, &str)]) -> String {
    let fits = |(unit, _): &&(u64, &str)| number >= *unit;
    let Some((unit, name)) = units.iter().find(fits).or(units.last()) else { return number.to_string() };
    let (whole, tenth) = (number / unit, number % unit / (unit / 10));
    if whole < 10 { format!("{whole}.{tenth} {name}") } else { format!("{whole} {name}") }
}

#[cfg(test)]
mod tests;
