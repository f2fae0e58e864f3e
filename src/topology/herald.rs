//! Decides which changes of the set are told: each fact once, and none that is over before anybody could read it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Topology;
use super::peer::Peer;
use crate::addr::NodeAddr;
use crate::events;
use crate::node::{Role, SyncState};

/// A sync state is told when it has lasted for so long: links go down and up while replicas turn to a new master.
const LASTS: Duration = Duration::from_secs(1);
/// The same, of a node that says it is a master: a promoted replica says so before it has the place.
const CLAIM_LASTS: Duration = Duration::from_secs(5);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Herald {
    set: Mutex<Option<Vec<(NodeAddr, Role)>>>,
    sync_states: Mutex<Vec<Standing>>,
}

/// The sync state of one node.
#[derive(Debug)]
struct Standing {
    peer: Weak<Peer>,
    told: SyncState,
    now: SyncState,
    since: Instant,
}

impl Herald {
    /// Tells of a new topology, unless it has the nodes and roles that were told last: then only the certainty is new.
    pub(super) fn topology_changed(&self, topology: &Topology) {
        let nodes = topology.members().iter().map(|member| (member.node.addr().clone(), member.place));
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by(|one, other| one.0.cmp(&other.0));
        if self.set.lock().replace(nodes.clone()).is_some_and(|told| told == nodes) {
            return;
        }
        let of = |role| topology.members().iter().filter(move |member| member.place == role);
        let replicas: Vec<_> = of(Role::Replica).map(|member| member.node.addr()).collect();
        let master = of(Role::Master).map(|member| member.node.addr()).next();
        events::topology_changed(topology.generation(), master, &replicas);
    }

    /// Tells of sync states that have lasted; without a monitor at once, for nobody looks again soon.
    pub(super) fn sync_states(&self, states: &[(Arc<Peer>, SyncState)], now: Instant, is_watched: bool) {
        let news = self.note(states, now, is_watched);
        // Not under the lock: whoever is told may use the client.
        news.iter().for_each(|(peer, sync_state)| events::sync_state_changed(peer.node.addr(), sync_state));
    }

    /// Records the states, and returns those that are to be told.
    fn note(&self, states: &[(Arc<Peer>, SyncState)], now: Instant, is_watched: bool) -> Vec<(Arc<Peer>, SyncState)> {
        let mut all = self.sync_states.lock();
        all.retain(|standing| standing.peer.strong_count() > 0);
        let mut news = Vec::new();
        for (peer, sync_state) in states {
            // What a silent node said before is no news of it: that it is out was told.
            if peer.asked().silent_since.is_some() {
                continue;
            }
            let known = all.iter().position(|standing| std::ptr::eq(standing.peer.as_ptr(), Arc::as_ptr(peer)));
            let known = known.unwrap_or_else(|| {
                let (told, state) = (SyncState::InSync, SyncState::InSync);
                all.push(Standing { peer: Arc::downgrade(peer), told, now: state, since: now });
                all.len() - 1
            });
            let standing = &mut all[known];
            if standing.now != *sync_state {
                (standing.now, standing.since) = (*sync_state, now);
            }
            let lasts = match (is_watched, peer.node.role()) {
                (false, _) => Duration::ZERO,
                (true, Role::Master) if *sync_state == SyncState::Diverged => CLAIM_LASTS,
                (true, _) => LASTS,
            };
            if standing.told != standing.now && now.saturating_duration_since(standing.since) >= lasts {
                standing.told = standing.now;
                news.push((Arc::clone(peer), *sync_state));
            }
        }
        news
    }
}
