//! Makes events of what changed in the set: each fact once, and none that is over before a person could read it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::membership::Succession;
use super::picture::Topology;
use super::server::Server;
use crate::addr::NodeAddr;
use crate::node::SyncState;
use crate::observe::Observers;
use crate::replication::Role;

/// A sync state becomes an event when it has lasted this long: links go down and up while replicas turn to a new master.
const LASTS: Duration = Duration::from_secs(1);
/// The same, for a node that says it is a master: a promoted replica says so before it is assigned the role.
const CLAIM_LASTS: Duration = Duration::from_secs(5);

/// What was announced last.
#[derive(Debug, Default)]
pub(super) struct Announced {
    set: Mutex<LastSet>,
    sync_states: Mutex<Vec<Observed>>,
}

/// The generation that was announced last, with its nodes and roles.
type LastSet = Option<(u64, Vec<(NodeAddr, Role)>)>;

/// The sync state of one node.
#[derive(Debug)]
struct Observed {
    server: Weak<Server>,
    announced: SyncState,
    now: SyncState,
    since: Instant,
}

impl Announced {
    /// Announces a new topology, unless it has the nodes and roles that were announced last: then only the certainty is new.
    pub(super) fn topology_changed(&self, topology: &Topology, observers: &Observers) {
        let nodes = topology.servers().iter().map(|server| (server.node.addr().clone(), server.assigned_role));
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by(|one, other| one.0.cmp(&other.0));
        let mut set = self.set.lock();
        let is_old = |(generation, last): &(u64, Vec<_>)| *generation > topology.generation() || *last == nodes;
        if set.as_ref().is_some_and(is_old) {
            return;
        }
        *set = Some((topology.generation(), nodes));
        drop(set);
        let of = |role| topology.servers().iter().filter(move |server| server.assigned_role == role);
        let replicas: Vec<_> = of(Role::Replica).map(|server| server.node.addr()).collect();
        let master = of(Role::Master).map(|server| server.node.addr()).next();
        observers.topology_changed(topology.generation(), master, &replicas);
    }

    /// Announces that writes go to another master.
    pub(super) fn failover(succession: &Succession, observers: &Observers) {
        let Succession { from, to } = succession;
        observers.failover(from.node.addr(), to.node.addr());
        if let Some(after) = to.first_write.announced() {
            observers.writes_resumed(to.node.addr(), after);
        }
    }

    /// Announces sync states that have lasted. Without a monitor at once, because the next look may be late.
    pub(super) fn sync_states(&self, states: &[(Arc<Server>, SyncState)], now: Instant, is_monitored: bool) {
        let news = self.news(states, now, is_monitored);
        // Not under the lock: a subscriber may use the client.
        news.iter()
            .for_each(|(server, sync_state)| server.observers.sync_state_changed(server.node.addr(), *sync_state));
    }

    /// Records the states, and returns those to announce.
    fn news(
        &self,
        states: &[(Arc<Server>, SyncState)],
        now: Instant,
        is_monitored: bool,
    ) -> Vec<(Arc<Server>, SyncState)> {
        let mut all = self.sync_states.lock();
        all.retain(|observed| observed.server.strong_count() > 0);
        let mut news = Vec::new();
        for (server, sync_state) in states {
            // What a silent node said before is no news. Its ejection was announced.
            if server.is_silent() {
                continue;
            }
            let known = all.iter().position(|observed| std::ptr::eq(observed.server.as_ptr(), Arc::as_ptr(server)));
            let known = known.unwrap_or_else(|| {
                let (announced, state) = (SyncState::InSync, SyncState::InSync);
                all.push(Observed { server: Arc::downgrade(server), announced, now: state, since: now });
                all.len() - 1
            });
            let observed = &mut all[known];
            if observed.now != *sync_state {
                (observed.now, observed.since) = (*sync_state, now);
            }
            let lasts = match (is_monitored, server.node.role()) {
                (false, _) => Duration::ZERO,
                (true, Role::Master) if *sync_state == SyncState::Diverged => CLAIM_LASTS,
                (true, _) => LASTS,
            };
            if observed.announced != observed.now && now.saturating_duration_since(observed.since) >= lasts {
                observed.announced = observed.now;
                news.push((Arc::clone(server), *sync_state));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::{Announced, Server};
    use crate::endpoint::Endpoint;
    use crate::node::SyncState;
    use crate::replication::Role;
    use crate::topology::fake::server_settings;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn server() -> Arc<Server> {
        server_settings().server(Endpoint::from("127.0.0.1:1").place().unwrap(), Role::Replica).unwrap()
    }

    #[test]
    fn a_state_is_announced_once_it_has_lasted_and_its_end_as_well() {
        let (announced, server, start) = (Announced::default(), server(), Instant::now());
        let after = |millis: u64, state: SyncState| {
            let states = [(Arc::clone(&server), state)];
            let news = announced.news(&states, start + Duration::from_millis(millis), true);
            news.first().map(|(_, state)| *state)
        };
        assert_eq!(after(0, SyncState::InSync), None, "nothing is new");
        assert_eq!(after(100, SyncState::LinkDown), None);
        assert_eq!(after(900, SyncState::InSync), None, "it was over");
        assert_eq!(after(1000, SyncState::LinkDown), None);
        assert_eq!(after(2100, SyncState::LinkDown), Some(SyncState::LinkDown));
        assert_eq!(after(3500, SyncState::LinkDown), None, "once");
        assert_eq!(after(3600, SyncState::InSync), None);
        assert_eq!(after(4700, SyncState::InSync), Some(SyncState::InSync));
        server.node.observe_role(Role::Master);
        assert_eq!(after(5000, SyncState::Diverged), None);
        assert_eq!(after(9000, SyncState::Diverged), None, "it may be about to be the master");
        assert_eq!(after(10_100, SyncState::Diverged), Some(SyncState::Diverged));
    }

    #[test]
    fn without_a_monitor_a_state_is_announced_at_once() {
        let (announced, states) = (Announced::default(), [(server(), SyncState::Syncing)]);
        assert_eq!(announced.news(&states, Instant::now(), false).len(), 1);
        assert_eq!(announced.news(&states, Instant::now(), false).len(), 0);
    }
}
