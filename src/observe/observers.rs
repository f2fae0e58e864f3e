//! Those who are told: the observers of a client, and the log beside them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::connection::{ConnectionChange, ConnectionEvent, ConnectionKind};
use super::event::Event;
use super::interest::Interest;
use super::log;
use super::node::{NodeChange, NodeEvent, NodeGauges};
use super::observer::Observer;
use super::session::{ProvenBy, SessionChange, SessionEvent};
use super::topology::{TopologyChange, TopologyEvent};
use crate::addr::NodeAddr;
use crate::error::Error;
use crate::node::{Outcome, SyncState};
use crate::replication::Role;

/// The observers of a client. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Observers {
    all: Arc<[(Interest, Arc<dyn Observer>)]>,
    /// What at least one of them wants.
    wanted: Interest,
    /// From how long on a call is slow. `None`: never.
    pub(super) slow_call: Option<Duration>,
    /// Calls are traced whether or not anyone reads spans.
    pub(super) traces_calls: bool,
}

impl Default for Observers {
    fn default() -> Self {
        Self::new(Vec::new(), None)
    }
}

impl Observers {
    /// Asks each observer what it wants.
    pub(crate) fn new(observers: Vec<Arc<dyn Observer>>, slow_call: Option<Duration>) -> Self {
        let all: Arc<[_]> = observers.into_iter().map(|observer| (observer.interest(), observer)).collect();
        let wanted = all.iter().fold(Interest::NONE, |wanted, (interest, _)| wanted | *interest);
        let traces_calls = wanted.intersects(Interest::CALLS | Interest::ATTEMPTS) || slow_call.is_some();
        Self { all, wanted, slow_call, traces_calls }
    }

    /// Returns whether an observer wants events of this kind.
    #[inline]
    pub(crate) fn want(&self, kind: Interest) -> bool {
        self.wanted.intersects(kind)
    }

    /// Tells an event to those who want it.
    pub(super) fn tell(&self, event: &Event<'_>) {
        let kind = event.kind();
        for (_, observer) in self.all.iter().filter(|(interest, _)| interest.intersects(kind)) {
            // A panic must not reach the call, nor the monitor.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| observer.observe(event))) {
                log::observer_panicked(&*panic);
                // Dropping it runs code of the type that was thrown.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
            }
        }
    }

    #[cold]
    pub(crate) fn ejected(&self, node: &NodeAddr, outcome: Outcome, cool_down: Duration, reason: Option<&str>) {
        log::ejected(node, outcome, cool_down, reason);
        self.node_changed(node, NodeChange::Ejected { outcome, reason, cool_down });
    }

    #[cold]
    pub(crate) fn probed(&self, node: &NodeAddr, serves: bool) {
        self.node_changed(node, NodeChange::Probed { serves });
    }

    /// `after`: how long it was ejected.
    #[cold]
    pub(crate) fn returned(&self, node: &NodeAddr, after: Duration) {
        log::returned(node);
        self.node_changed(node, NodeChange::Returned { after });
    }

    #[cold]
    pub(crate) fn sync_state_changed(&self, node: &NodeAddr, sync_state: SyncState) {
        log::sync_state_changed(node, sync_state);
        self.node_changed(node, NodeChange::SyncState(sync_state));
    }

    #[cold]
    pub(crate) fn role_changed(&self, node: &NodeAddr, role: Role) {
        log::role_changed(node, role);
        self.node_changed(node, NodeChange::Role(role));
    }

    pub(crate) fn gauges(&self, node: &NodeAddr, gauges: NodeGauges) {
        self.node_changed(node, NodeChange::Gauges(gauges));
    }

    #[cold]
    pub(crate) fn topology_changed(&self, generation: u64, master: Option<&NodeAddr>, replicas: &[&NodeAddr]) {
        log::topology_changed(generation, master, replicas);
        self.set_changed(TopologyChange::Changed { generation, master, replicas });
    }

    #[cold]
    pub(crate) fn failover(&self, from: &NodeAddr, to: &NodeAddr) {
        log::failover(from, to);
        self.set_changed(TopologyChange::Failover { from, to });
    }

    #[cold]
    pub(crate) fn writes_resumed(&self, master: &NodeAddr, after: Duration) {
        log::writes_resumed(master, after);
        self.set_changed(TopologyChange::WritesResumed { master, after });
    }

    #[cold]
    pub(crate) fn provider_failed(&self, error: &Error) {
        log::provider_failed(error);
        self.set_changed(TopologyChange::ProviderFailed { error });
    }

    #[inline]
    pub(crate) fn session_proven(&self, node: &NodeAddr, by: ProvenBy, staleness: Option<Duration>) {
        self.session_changed(node, SessionChange::Proven { by, staleness });
    }

    #[cold]
    pub(crate) fn session_lost(&self, node: &NodeAddr, loss: SessionChange) {
        log::session_lost(node, loss);
        self.session_changed(node, loss);
    }

    fn node_changed(&self, node: &NodeAddr, change: NodeChange<'_>) {
        if self.want(Interest::NODES) {
            self.tell(&Event::Node(NodeEvent { node, change }));
        }
    }

    fn set_changed(&self, change: TopologyChange<'_>) {
        if self.want(Interest::TOPOLOGY) {
            self.tell(&Event::Topology(TopologyEvent { change }));
        }
    }

    fn session_changed(&self, node: &NodeAddr, change: SessionChange) {
        if self.want(Interest::SESSIONS) {
            self.tell(&Event::Session(SessionEvent { node, change }));
        }
    }
}

/// The observers of one node's connections.
#[derive(Clone, Debug)]
pub(crate) struct NodeObservers {
    observers: Observers,
    node: NodeAddr,
}

impl NodeObservers {
    pub(crate) fn new(observers: Observers, node: NodeAddr) -> Self {
        Self { observers, node }
    }

    /// Returns whether an observer wants the events of connections.
    pub(crate) fn want_connections(&self) -> bool {
        self.observers.want(Interest::CONNECTIONS)
    }

    pub(crate) fn connection_changed(&self, kind: ConnectionKind, change: ConnectionChange<'_>) {
        if self.want_connections() {
            self.observers.tell(&Event::Connection(ConnectionEvent { node: &self.node, kind, change }));
        }
    }

    /// Returns the node.
    pub(crate) fn node(&self) -> &NodeAddr {
        &self.node
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Interest, Observer, Observers};
    use crate::replication::Role;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Debug)]
    struct Counter(Interest, AtomicU32);

    impl Observer for Counter {
        fn observe(&self, _: &Event<'_>) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }

        fn interest(&self) -> Interest {
            self.0
        }
    }

    #[derive(Debug)]
    struct Panics;

    impl Observer for Panics {
        fn observe(&self, _: &Event<'_>) {
            panic!("on purpose");
        }
    }

    #[test]
    fn each_observer_is_told_what_it_wants_also_after_one_that_panics() {
        let counter = |interest| Arc::new(Counter(interest, AtomicU32::new(0)));
        let (nodes, sessions) = (counter(Interest::NODES), counter(Interest::SESSIONS));
        let observers = Observers::new(vec![Arc::new(Panics), nodes.clone(), sessions.clone()], None);
        observers.role_changed(&"a:1".parse().unwrap(), Role::Master);
        assert_eq!((nodes.1.load(Ordering::Relaxed), sessions.1.load(Ordering::Relaxed)), (1, 0));
    }

    #[test]
    fn without_observers_nothing_is_wanted() {
        let observers = Observers::default();
        assert!(!observers.want(Interest::ALL) && !observers.traces_calls);
    }
}
