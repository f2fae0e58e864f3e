//! What is written to `tracing`: the table in [`observe`](crate::observe) lists the events.

use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::call::CallEnded;
use super::session::SessionChange;
use crate::addr::NodeAddr;
use crate::error::Time;

/// The time in which only one panic from the same place is reported.
const INTERVAL: Duration = Duration::from_secs(60);
/// How many places of panics are remembered. Panics from further places are not reported.
const MAX_PLACES: usize = 64;

/// The places of recent panics.
static PANICS: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());

/// Emits one event. Its name is in a field too, because few subscribers show the name in the metadata.
///
/// If a subscriber panics, the panic is caught, and the code after the event still runs.
macro_rules! write_event {
    ($level:ident, $name:literal, $message:literal, $($field:tt)*) => {
        if let Err(panic) = emit!($level, $name, $message, $($field)*) {
            panicked(None, &*panic);
        }
    };
}

/// Emits one event, and returns the panic of a subscriber.
macro_rules! emit {
    ($level:ident, $name:literal, $message:literal, $($field:tt)*) => {
        catch_unwind(AssertUnwindSafe(|| tracing::$level!(
            name: $name, target: "redis_replicated::events", event = %$name, $($field)*, $message
        )))
    };
}

#[cold]
pub(super) fn ejected(node: &NodeAddr, outcome: impl Display, cool_down: Duration, reason: Option<&str>) {
    let (cool_down, reason) = (Time(cool_down), reason.unwrap_or("none"));
    write_event!(warn, "node_ejected", "node ejected", %node, %outcome, %reason, %cool_down);
}

#[cold]
pub(super) fn returned(node: &NodeAddr) {
    write_event!(info, "node_returned", "node returned", %node);
}

#[cold]
pub(super) fn sync_state_changed(node: &NodeAddr, sync_state: impl Display) {
    let sync_state = sync_state.to_string().replace(' ', "_");
    write_event!(info, "sync_state_changed", "sync state changed", %node, %sync_state);
}

#[cold]
pub(super) fn role_changed(node: &NodeAddr, role: impl Display) {
    write_event!(warn, "role_changed", "node changed its role", %node, %role);
}

#[cold]
pub(super) fn topology_changed(generation: u64, master: Option<&NodeAddr>, replicas: &[&NodeAddr]) {
    let (master, replicas) = (list(master), list(replicas.iter().copied()));
    write_event!(info, "topology_changed", "topology changed", generation, %master, %replicas);
}

#[cold]
pub(super) fn failover(from: &NodeAddr, to: &NodeAddr) {
    write_event!(warn, "failover", "writes go to another master", %from, %to);
}

#[cold]
pub(crate) fn fallback(node: &NodeAddr, reads: u64) {
    write_event!(warn, "fallback", "reads go to the master because no replica can serve", %node, reads);
}

#[cold]
pub(super) fn writes_resumed(master: &NodeAddr, after: Duration) {
    let after = Time(after);
    write_event!(info, "writes_resumed", "the new master answers writes", %master, %after);
}

#[cold]
pub(super) fn slow_call(call: &CallEnded<'_>) {
    let (command, timing) = (call.command(), call.timing());
    let node = call.node().map_or_else(|| "none".to_owned(), ToString::to_string);
    let [took, waiting, connecting, sending, replying, pausing] =
        [call.took(), timing.waiting, timing.connecting, timing.sending, timing.replying, timing.pausing].map(Short);
    let error = call.error_kind().map_or_else(|| "none".to_owned(), |kind| kind.to_string());
    let attempts = call.attempts();
    write_event!(
        warn, "slow_call", "a call took longer than slow_call",
        %command, %node, %took, attempts, %waiting, %connecting, %sending, %replying, %pausing, %error
    );
}

#[cold]
pub(super) fn session_lost(node: &NodeAddr, loss: SessionChange) {
    let loss = match loss {
        SessionChange::WriteLost => "write_lost",
        SessionChange::HistoryLost => "history_lost",
        SessionChange::Unproven | SessionChange::Proven { .. } => "unproven",
    };
    write_event!(warn, "session_lost", "a master lacks, or may lack, what a session has seen", %node, %loss);
}

#[cold]
pub(crate) fn command_reclassified(command: &str, node: &NodeAddr) {
    write_event!(warn, "command_reclassified", "a command classified as a read is a write", %command, %node);
}

#[cold]
pub(crate) fn node_lacks_rights(node: &NodeAddr, right: Option<&str>) {
    let right = right.unwrap_or("unknown");
    write_event!(warn, "node_lacks_rights", "the user lacks a right on a node", %node, %right);
}

#[cold]
pub(super) fn provider_failed(error: &dyn Display) {
    write_event!(warn, "provider_failed", "the set could not be described", %error);
}

/// Emits an event for a panic on a thread of the monitor, or in a subscriber.
#[cold]
pub(crate) fn panicked(node: Option<&NodeAddr>, panic: &(dyn Any + Send)) {
    let current = thread::current();
    let (thread, node) =
        (current.name().unwrap_or("none"), node.map_or_else(|| "none".to_owned(), ToString::to_string));
    if !is_due(format!("{thread} {node}"), Instant::now()) {
        return;
    }
    let reason = text_of(panic);
    // If a subscriber panics here too, the panic is ignored.
    let _ = emit!(error, "monitor_panicked", "a panic was caught, and the client continues", %thread, %node, %reason);
}

/// A time that may be less than a millisecond: `0.3 ms`, `12 ms`.
struct Short(Duration);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1000.0;
        if millis < 9.95 { write!(f, "{millis:.1} ms") } else { write!(f, "{millis:.0} ms") }
    }
}

/// Emits an event for a panic of an observer.
#[cold]
pub(super) fn observer_panicked(panic: &(dyn Any + Send)) {
    let current = thread::current();
    let thread = current.name().unwrap_or("none");
    if is_due(format!("observer {thread}"), Instant::now()) {
        let reason = text_of(panic);
        let _ = emit!(error, "observer_panicked", "an observer panicked, and the client continues", %thread, %reason);
    }
}

/// Returns the text of a panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("unknown")
}

/// Returns whether a panic from that place is to be reported now.
fn is_due(place: String, now: Instant) -> bool {
    let mut panics = PANICS.lock();
    panics.retain(|(_, at)| now.saturating_duration_since(*at) < INTERVAL);
    if panics.iter().any(|(known, _)| *known == place) || panics.len() >= MAX_PLACES {
        return false;
    }
    panics.push((place, now));
    true
}

/// Joins addresses by commas; `none` if there are none.
fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeAddr>) -> String {
    let nodes: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    if nodes.is_empty() { "none".to_owned() } else { nodes.join(",") }
}

#[cfg(test)]
mod tests {
    use super::{is_due, list};
    use std::time::{Duration, Instant};

    #[test]
    fn a_panic_is_reported_once_a_minute_for_each_place() {
        let now = Instant::now();
        assert!(is_due("a test".to_owned(), now));
        assert!(!is_due("a test".to_owned(), now + Duration::from_secs(59)));
        assert!(is_due("another test".to_owned(), now + Duration::from_secs(59)));
        assert!(is_due("a test".to_owned(), now + Duration::from_secs(61)));
    }

    #[test]
    fn nodes_are_listed_with_commas() {
        let nodes = ["a:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
        assert_eq!((list(&nodes), list([])), ("a:1,[::1]:2".to_owned(), "none".to_owned()));
    }
}
