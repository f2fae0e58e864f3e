//! The servers that a call does not ask now, or not again.

use super::select::{Contender, Excluded};
use crate::addr::NodeAddr;
use crate::replication::Role;

/// What a call excludes: in this round, until it has waited; and for good, after a server gave an answer that another may
/// better.
#[derive(Debug, Default)]
pub(crate) struct Exclusions {
    pub(crate) now: Excluded,
    for_good: ForGood,
}

#[derive(Debug, Default)]
enum ForGood {
    #[default]
    Nobody,
    One(NodeAddr),
    Replicas,
}

impl Exclusions {
    /// Begins a new round.
    pub(crate) fn begin_round<S: Contender>(&mut self, servers: &[S]) {
        self.now = Excluded::default();
        self.apply(servers);
    }

    /// Excludes a server, or all replicas, for good.
    pub(crate) fn turn_from<S: Contender>(&mut self, servers: &[S], position: usize, all_replicas: bool) {
        let one = || ForGood::One(servers[position].node().addr().clone());
        self.for_good = if all_replicas { ForGood::Replicas } else { one() };
        self.apply(servers);
    }

    /// Excludes all replicas from this round.
    pub(crate) fn exclude_replicas<S: Contender>(&mut self, servers: &[S]) {
        self.exclude(servers, |server| server.assigned_role() == Role::Replica);
    }

    pub(crate) fn exclude<S: Contender>(&mut self, servers: &[S], is_excluded: impl Fn(&S) -> bool) {
        let places = servers.iter().enumerate().filter(|(_, server)| is_excluded(server));
        places.for_each(|(index, _)| self.now.insert(index));
    }

    pub(crate) fn are_for_good(&self) -> bool {
        !matches!(self.for_good, ForGood::Nobody)
    }

    fn apply<S: Contender>(&mut self, servers: &[S]) {
        match &self.for_good {
            ForGood::Nobody => {}
            ForGood::Replicas => self.exclude_replicas(servers),
            ForGood::One(addr) => {
                let addr = addr.clone();
                self.exclude(servers, |server| *server.node().addr() == addr);
            }
        }
    }
}
