//! What the crate tells the world through `tracing`.
//!
//! All events have the target `redis_replicated::events`, their name in the field `event`, and plain values: addresses, words
//! in snake case, numbers, times such as `513 ms`, lists such as `127.0.0.1:6380,127.0.0.1:6381`, and `none`. One line is one
//! fact; none repeats while nothing changes.
//!
//! | event | level | fields | when |
//! |---|---|---|---|
//! | `node_ejected` | WARN | `node` `outcome` `reason` `cool_down` | a healthy node failed (`failed`, `unreachable` and why no connection could be made, `not_serving`); not again while it stays out |
//! | `node_returned` | INFO | `node` | a probe found it able to serve |
//! | `sync_state_changed` | INFO | `node` `sync_state` | a replica is `syncing`, `lagging`, its link is down (`link_down`), it holds other data (`diverged`), or is `in_sync` again |
//! | `role_changed` | WARN | `node` `role` | a server said that it is a `replica`, or a `master`, now |
//! | `topology_changed` | INFO | `generation` `master` `replicas` | nodes joined, left or changed their roles |
//! | `failover` | WARN | `from` `to` | writes go to another master |
//! | `fallback` | WARN | `node` `reads` | reads went to the master for want of replicas; at most one line in 10 s |
//! | `command_reclassified` | WARN | `command` `node` | a replica refused a command that was taken for a read: it is a write from now on |
//! | `node_lacks_rights` | WARN | `node` `right` | a replica refused a read for want of rights, another node served it; at most one line in 10 s a node |
//! | `provider_failed` | WARN | `error` | the set could not be described; once, until it can be again |
//! | `session_lost` | WARN | `node` `loss` | a master does not contain what a session wrote (`write_lost`) or only read (`history_lost`), or nobody can tell (`unproven`) |
//! | `monitor_panicked` | ERROR | `thread` `node` `reason` | code of a provider, a subscriber or a dependency panicked on a thread of the monitor, or while it was told something; all goes on; at most once a minute for each place |

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::addr::NodeAddr;
use crate::error::Time;

/// How long a panic is not told again that came from the same place.
const QUIET: Duration = Duration::from_secs(60);
/// How many places of panics are remembered.
const MOST_PLACES: usize = 64;

/// Where panics came from of late.
static PANICS: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());

/// Writes one event: its name stands in a field, because few subscribers show the name of the metadata.
///
/// A subscriber that panics stops nobody: what follows on the telling is done.
macro_rules! tell {
    ($level:ident, $name:literal, $message:literal, $($field:tt)*) => {
        if let Err(panic) = emit!($level, $name, $message, $($field)*) {
            panicked(None, &*panic);
        }
    };
}

macro_rules! emit {
    ($level:ident, $name:literal, $message:literal, $($field:tt)*) => {
        catch_unwind(AssertUnwindSafe(|| tracing::$level!(
            name: $name, target: "redis_replicated::events", event = %$name, $($field)*, $message
        )))
    };
}

#[cold]
pub(crate) fn ejected(node: &NodeAddr, outcome: impl Display, cool_down: Duration, reason: Option<&str>) {
    let (cool_down, reason) = (Time(cool_down), reason.unwrap_or("none"));
    tell!(warn, "node_ejected", "node ejected", %node, %outcome, %reason, %cool_down);
}

#[cold]
pub(crate) fn returned(node: &NodeAddr) {
    tell!(info, "node_returned", "node returned", %node);
}

#[cold]
pub(crate) fn sync_state_changed(node: &NodeAddr, sync_state: impl Display) {
    let sync_state = sync_state.to_string().replace(' ', "_");
    tell!(info, "sync_state_changed", "sync state changed", %node, %sync_state);
}

#[cold]
pub(crate) fn role_changed(node: &NodeAddr, role: impl Display) {
    tell!(warn, "role_changed", "node changed its role", %node, %role);
}

#[cold]
pub(crate) fn topology_changed(generation: u64, master: Option<&NodeAddr>, replicas: &[&NodeAddr]) {
    let (master, replicas) = (list(master), list(replicas.iter().copied()));
    tell!(info, "topology_changed", "topology changed", generation, %master, %replicas);
}

#[cold]
pub(crate) fn failover(from: &NodeAddr, to: &NodeAddr) {
    tell!(warn, "failover", "writes go to another master", %from, %to);
}

#[cold]
pub(crate) fn fallback(node: &NodeAddr, reads: u64) {
    tell!(warn, "fallback", "reads go to the master for want of replicas", %node, reads);
}

/// `loss`: in one word.
#[cold]
pub(crate) fn session_lost(node: &NodeAddr, loss: &str) {
    tell!(warn, "session_lost", "what a session has seen is not known to be there any more", %node, %loss);
}

#[cold]
pub(crate) fn command_reclassified(command: &str, node: &NodeAddr) {
    tell!(warn, "command_reclassified", "a command is a write, not a read", %command, %node);
}

#[cold]
pub(crate) fn node_lacks_rights(node: &NodeAddr, right: Option<&str>) {
    let right = right.unwrap_or("unknown");
    tell!(warn, "node_lacks_rights", "the user lacks a right on one node", %node, %right);
}

#[cold]
pub(crate) fn provider_failed(error: &dyn Display) {
    tell!(warn, "provider_failed", "the set could not be described", %error);
}

/// Tells of a panic on a thread of the monitor, or of a subscriber.
#[cold]
pub(crate) fn panicked(node: Option<&NodeAddr>, panic: &(dyn Any + Send)) {
    let current = thread::current();
    let (thread, node) =
        (current.name().unwrap_or("none"), node.map_or_else(|| "none".to_owned(), ToString::to_string));
    if !is_news(format!("{thread} {node}"), Instant::now()) {
        return;
    }
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let reason = text.unwrap_or("unknown");
    // If this panics as well, there is nobody to tell.
    let _ = emit!(error, "monitor_panicked", "a panic was caught, and all goes on", %thread, %node, %reason);
}

/// Returns whether no panic was told from that place a short while ago.
fn is_news(place: String, now: Instant) -> bool {
    let mut panics = PANICS.lock();
    panics.retain(|(_, at)| now.saturating_duration_since(*at) < QUIET);
    if panics.iter().any(|(known, _)| *known == place) || panics.len() >= MOST_PLACES {
        return false;
    }
    panics.push((place, now));
    true
}

fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeAddr>) -> String {
    let nodes: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    if nodes.is_empty() { "none".to_owned() } else { nodes.join(",") }
}

#[cfg(test)]
mod tests {
    use super::{is_news, list};
    use std::time::{Duration, Instant};

    #[test]
    fn a_panic_is_told_once_a_minute_for_each_place() {
        let now = Instant::now();
        assert!(is_news("a test".to_owned(), now));
        assert!(!is_news("a test".to_owned(), now + Duration::from_secs(59)));
        assert!(is_news("another test".to_owned(), now + Duration::from_secs(59)));
        assert!(is_news("a test".to_owned(), now + Duration::from_secs(61)));
    }

    #[test]
    fn nodes_are_a_list_for_people() {
        let nodes = ["a:1".parse().unwrap(), "[::1]:2".parse().unwrap()];
        assert_eq!((list(&nodes), list([])), ("a:1,[::1]:2".to_owned(), "none".to_owned()));
    }
}
