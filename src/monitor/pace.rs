//! How often the monitor asks.

use std::time::{Duration, Instant};

use crate::topology::{Server, TopologyStore};

/// However often rounds are requested, the provider is asked at most once in this time.
pub(super) const BREATH: Duration = Duration::from_millis(50);
/// How often nodes and provider are asked while the master is out.
pub(super) const HURRY: Duration = Duration::from_millis(100);
/// After this time without a master, they are asked at their intervals again.
const HURRIES_FOR: Duration = Duration::from_secs(30);
/// However many calls meet faults, these lead to questions at most once in this time.
const SUSPICION: Duration = Duration::from_millis(100);
/// The same, after the master was out for long.
const LONGEST_SUSPICION: Duration = Duration::from_millis(250);
/// How often it is asked whether nodes are in sync again, where no workers ask the nodes.
pub(super) const LAG: Duration = Duration::from_millis(500);
/// For how long faults of calls lead to questions, where no workers ask the nodes.
pub(super) const FOLLOWS_FOR: Duration = Duration::from_secs(30);
/// How often a provider is asked that does not say how often.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// How long a description may take.
pub(super) const DESCRIBES_FOR: Duration = Duration::from_secs(2);

/// Returns whether nodes and provider are asked more often, because the master is out: the next one should be found soon.
pub(super) fn is_in_a_hurry(store: &TopologyStore) -> bool {
    store.out_for().is_some_and(|time| time < HURRIES_FOR)
}

/// Returns how long the faults of calls lead to no further questions.
pub(super) fn pause_of_suspicion(store: &TopologyStore) -> Duration {
    // When the master has been out for long, more questions do not help.
    if store.out_for().is_some_and(|time| time > FOLLOWS_FOR) {
        store.interval().clamp(SUSPICION, LONGEST_SUSPICION)
    } else {
        SUSPICION
    }
}

/// Returns how long the worker of a node waits until it asks again.
pub(super) fn next_round(store: &TopologyStore, server: &Server) -> Duration {
    let cools_down_for = server.node.cools_down_for(Instant::now());
    let wait = if is_in_a_hurry(store) {
        HURRY.min(store.interval()).min(cools_down_for.unwrap_or(HURRY))
    } else {
        // Clients that were started together should not ask together.
        cools_down_for.unwrap_or_else(|| store.interval().mul_f64(0.9 + 0.2 * rand::random::<f64>()))
    };
    let pace = store.history().pace().filter(|_| store.is_master(server));
    pace.map_or(wait, |pace| pace.min(wait))
}
