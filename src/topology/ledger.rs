//! What is known of the set between two topologies: the peers, what the provider said, who the master was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::election::{Claim, Incumbent, Moment, elect, follow_authority, is_uncontested, standing};
use super::peer::{Peer, Workshop, check_together};
use super::{Member, Topology};
use crate::endpoint::Place;
use crate::error::{Error, Result};
use crate::events;
use crate::node::{Report, Role, Standing};
use crate::strategy::MOST_NODES;

/// The books of the keeper. Nothing here does I/O.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    /// The master that the provider names is the decision of an authority.
    is_decided: bool,
    incumbent: Option<Incumbent>,
}

#[derive(Clone, Debug)]
struct Entry {
    peer: Arc<Peer>,
    hint: Option<Role>,
}

/// What a provider said, its addresses read.
pub(super) struct Described {
    pub(super) places: Vec<(Option<Role>, Place)>,
    pub(super) is_decided: bool,
}

/// What became of a description.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) added: Vec<Arc<Peer>>,
    pub(super) removed: Vec<Arc<Peer>>,
}

impl Ledger {
    /// Takes over a description: makes peers of new nodes and forgets those that are gone.
    pub(super) fn adopt(&mut self, described: Described, workshop: &Workshop) -> Result<Change> {
        let Described { mut places, is_decided } = described;
        let mut seen = Vec::new();
        places.retain(|(_, place)| {
            let is_new = !seen.contains(&place.addr);
            seen.push(place.addr.clone());
            is_new
        });
        if places.len() > MOST_NODES {
            return Err(Error::config(format!("{} nodes: a set has at most {MOST_NODES}", places.len())));
        }
        check_together(&places)?;
        let mut change = Change::default();
        let mut entries = Vec::with_capacity(places.len());
        for (hint, place) in places {
            let known = self.entries.iter().find(|entry| *entry.peer.node.addr() == place.addr);
            let peer = match known {
                Some(entry) => Arc::clone(&entry.peer),
                None => {
                    let peer = workshop.peer(place, hint.unwrap_or(Role::Replica))?;
                    change.added.push(Arc::clone(&peer));
                    peer
                }
            };
            entries.push(Entry { peer, hint });
        }
        let gone = |entry: &&Entry| !entries.iter().any(|kept: &Entry| Arc::ptr_eq(&kept.peer, &entry.peer));
        change.removed = self.entries.iter().filter(gone).map(|entry| Arc::clone(&entry.peer)).collect();
        self.entries = entries;
        self.is_decided = is_decided;
        Ok(change)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.entries.iter().map(|entry| &entry.peer)
    }

    pub(super) fn has_incumbent(&self) -> bool {
        self.incumbent.is_some()
    }

    /// Works out who is the master and how the others stand, from what all have said of themselves. Returns the members,
    /// and whether it is known who the master is.
    pub(super) fn draw(&mut self, round: Duration, is_monitored: bool) -> (Vec<Member>, bool) {
        let reports: Vec<Option<Arc<Report>>> = self.entries.iter().map(|entry| entry.peer.node.report()).collect();
        let nodes = self.without_aliases(&reports);
        let claims: Vec<Claim<'_>> = nodes.iter().map(|index| self.claim(*index, &reports)).collect();
        let now = Instant::now();
        let elected = if self.is_decided {
            follow_authority(&claims, self.incumbent.as_ref())
        } else {
            elect(&claims, self.incumbent.as_ref(), Moment { now, round })
        };
        let incumbent = elected.and_then(|index| self.confirm(index, &claims));
        let is_settled = elected.is_some() || !is_monitored || claims.iter().all(|claim| claim.asked.is_some());
        // Until it is known better, the named master has its place; nobody writes there before all is settled.
        let named = || claims.iter().position(|claim| claim.hint == Some(Role::Master));
        let master = elected.or_else(named);
        let members = nodes.iter().zip(&claims).enumerate().map(|(place, (index, claim))| {
            let is_master = Some(place) == master;
            let peer = Arc::clone(&self.entries[*index].peer);
            let standing = if is_master {
                Standing::InStep
            } else {
                standing(claim, elected.map(|elected| &claims[elected]), peer.node.standing())
            };
            if peer.node.set_standing(standing, now) {
                events::standing_changed(peer.node.addr(), standing);
            }
            Member { peer, place: if is_master { Role::Master } else { Role::Replica } }
        });
        let members = members.collect();
        if let Some(incumbent) = incumbent {
            self.incumbent = Some(incumbent);
        }
        (members, is_settled)
    }

    /// The incumbent after this election, if there is anything new about it.
    fn confirm(&self, elected: usize, claims: &[Claim<'_>]) -> Option<Incumbent> {
        let claim = &claims[elected];
        let next = || Incumbent::of(claim);
        match &self.incumbent {
            None => claim.answers().then(next),
            Some(present) if present.addr != *claim.addr => {
                events::failover(Some(&present.addr), claim.addr);
                self.entries.iter().filter(|entry| entry.peer.node.addr() == claim.addr).for_each(|entry| {
                    // It was seen to answer, as the master.
                    entry.peer.node.come_back(Instant::now());
                });
                Some(next())
            }
            Some(present) => {
                let answers = claim.answers() && claim.report.is_some_and(|report| report.role == Some(Role::Master));
                let continues = claim.report.is_some_and(|report| present.continues_in(report));
                (answers && (continues || is_uncontested(elected, claims))).then(next).filter(|next| next != present)
            }
        }
    }

    fn claim<'a>(&'a self, index: usize, reports: &'a [Option<Arc<Report>>]) -> Claim<'a> {
        let Entry { peer, hint } = &self.entries[index];
        let asked = peer.asked();
        Claim {
            addr: peer.node.addr(),
            hint: *hint,
            report: reports[index].as_deref(),
            asked: asked.last,
            silent_since: asked.silent_since,
            greeting: asked.greeting,
        }
    }

    /// The entries that are nodes of their own: of several names of one process, the first under which it answers.
    fn without_aliases(&self, reports: &[Option<Arc<Report>>]) -> Vec<usize> {
        // Behind a shared endpoint, the process that told may be any of several.
        let is_one = |index: usize| !self.entries[index].peer.node.is_shared();
        let run_id = |index: usize| {
            reports[index].as_ref().filter(|_| is_one(index)).and_then(|report| report.run_id.as_deref())
        };
        let rank = |index: usize| (self.entries[index].peer.asked().silent_since.is_some(), index);
        let is_alias = |index: usize| {
            let better = |other: usize| run_id(other) == run_id(index) && rank(other) < rank(index);
            run_id(index).is_some() && (0..self.entries.len()).any(better)
        };
        (0..self.entries.len()).filter(|index| !is_alias(*index)).collect()
    }
}

impl Topology {
    /// Tells whether the members and their places are these.
    pub(super) fn consists_of(&self, members: &[Member], is_settled: bool) -> bool {
        let same = |one: &Member, other: &Member| Arc::ptr_eq(&one.peer, &other.peer) && one.place == other.place;
        self.is_settled == is_settled
            && self.members.len() == members.len()
            && self.members.iter().zip(members).all(|(one, other)| same(one, other))
    }
}
