//! What is known of the set between two topologies: the servers, what the provider said, who the master was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::election::{
    Claim, Incumbent, Moment, elect, follow_authority, has_to_wait, inherit, is_emptied, is_uncontested, lives,
    sync_state,
};
use super::picture::Assigned;
use super::server::{Server, ServerSettings, check_together};
use crate::addr::NodeAddr;
use crate::endpoint::Place;
use crate::error::{Error, Result};
use crate::node::SyncState;
use crate::replication::{Report, Role, Timeline};
use crate::strategy::MOST_NODES;

/// After this time without an answer, a replica leaves the set that an authority does not reach either.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// The servers of a set, and who the master was. Does no I/O.
#[derive(Debug, Default)]
pub(super) struct Membership {
    entries: Vec<Entry>,
    /// The master that the provider names is the decision of an authority.
    is_decided: bool,
    incumbent: Option<Incumbent>,
    /// The incumbent's server, also when it is not described any more.
    incumbent_server: Option<Arc<Server>>,
    /// Since when the incumbent has answered again, without its data.
    emptied_since: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Entry {
    server: Arc<Server>,
    hint: Option<Role>,
}

/// A description, with its addresses parsed.
pub(super) struct Described {
    pub(super) places: Vec<(Option<Role>, Place)>,
    /// Replicas that an authority knows and does not reach.
    pub(super) absent: Vec<Place>,
    pub(super) is_decided: bool,
}

/// What an election goes by, beside what the nodes say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// How long the incumbent must be silent before another may replace it.
    pub(super) round: Duration,
    pub(super) is_monitored: bool,
    pub(super) timeline: &'a Timeline,
    /// How far a replica may lag behind; `None`: without limit.
    pub(super) lag_limit: Option<Duration>,
}

/// What follows from all that is known.
pub(super) struct Drawing {
    pub(super) servers: Vec<Assigned>,
    /// It is known who the master is, as far as the client can know.
    pub(super) is_settled: bool,
    pub(super) sync_states: Vec<(Arc<Server>, SyncState)>,
    pub(super) succession: Option<Succession>,
    /// All nodes should be asked now, because something depends on their answers.
    pub(super) has_questions: bool,
}

/// A failover: one master replaced another.
pub(super) struct Succession {
    pub(super) from: Arc<Server>,
    pub(super) to: Arc<Server>,
}

impl Membership {
    /// Takes over a description: makes servers of new nodes and forgets those that are gone. Returns the latter.
    pub(super) fn adopt(&mut self, described: Described, server_settings: &ServerSettings) -> Result<Vec<Arc<Server>>> {
        let Described { mut places, absent, is_decided } = described;
        let is_present = |place: &Place| self.entries.iter().any(|entry| self.keeps(entry, &place.addr));
        places.extend(absent.into_iter().filter(is_present).map(|place| (Some(Role::Replica), place)));
        let mut seen = Vec::new();
        // A node that is named twice is the master if it is named as the master once.
        places.sort_by_key(|(role, _)| *role != Some(Role::Master));
        places.retain(|(_, place)| {
            let is_new = !seen.contains(&place.addr);
            seen.push(place.addr.clone());
            is_new
        });
        if places.len() > MOST_NODES {
            return Err(Error::config(format!("{} nodes: a set has at most {MOST_NODES}", places.len())));
        }
        check_together(&places)?;
        let known = |place: &Place| self.entries.iter().position(|entry| *entry.server.node.addr() == place.addr);
        // Known nodes keep their order, whatever the provider's is. New ones come behind them.
        places.sort_by_key(|(_, place)| known(place).unwrap_or(usize::MAX));
        let mut entries = Vec::with_capacity(places.len());
        for (hint, place) in places {
            let server = match known(&place).map(|index| &self.entries[index].server) {
                Some(server) if server.is_described_by(&place)? => Arc::clone(server),
                _ => server_settings.server(place, hint.unwrap_or(Role::Replica))?,
            };
            entries.push(Entry { server, hint });
        }
        let is_kept = |entry: &Entry| entries.iter().any(|kept| Arc::ptr_eq(&kept.server, &entry.server));
        let removed =
            self.entries.iter().filter(|entry| !is_kept(entry)).map(|entry| Arc::clone(&entry.server)).collect();
        self.entries = entries;
        self.is_decided = is_decided;
        Ok(removed)
    }

    /// Returns whether a replica that an authority does not reach stays in the set: only if this client reached it a short
    /// while ago. Dead ones that are listed for ever would cost a thread each.
    fn keeps(&self, entry: &Entry, addr: &NodeAddr) -> bool {
        let node = &entry.server.node;
        let is_gone = || entry.server.asked().silent_since.is_some_and(|since| since.elapsed() >= ABSENT_FOR);
        let is_incumbent = || self.incumbent.as_ref().is_some_and(|incumbent| incumbent.addr == *addr);
        node.addr() == addr && (!is_gone() || is_incumbent())
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.entries.iter().map(|entry| &entry.server)
    }

    pub(super) fn has_incumbent(&self) -> bool {
        self.incumbent.is_some()
    }

    /// Works out who is the master and what the data of the others is worth, from what all have said of themselves.
    pub(super) fn draw(&mut self, terms: Terms<'_>) -> Drawing {
        let Terms { round, is_monitored, .. } = terms;
        let reports: Vec<Option<Arc<Report>>> = self.entries.iter().map(|entry| entry.server.node.report()).collect();
        let nodes = self.without_aliases(&reports);
        let claims: Vec<Claim<'_>> = nodes.iter().map(|index| self.claim(*index, &reports)).collect();
        let elected = if self.is_decided {
            follow_authority(&claims, self.incumbent.as_ref())
        } else {
            elect(&claims, self.incumbent.as_ref(), Moment { now: Instant::now(), round })
        };
        let incumbent = elected.and_then(|index| self.confirm(index, &claims));
        let now = Instant::now();
        let emptied = is_emptied(&claims, self.incumbent.as_ref()).then(|| self.emptied_since.unwrap_or(now));
        // Until more is known, the named master is assigned the role. No call writes there before all is settled.
        let named = || claims.iter().position(|claim| claim.hint == Some(Role::Master));
        let master = elected.or_else(named);
        let mut drawing = Drawing {
            servers: Vec::with_capacity(nodes.len()),
            is_settled: elected.is_some() || !is_monitored || claims.iter().all(|claim| claim.asked.is_some()),
            has_questions: false,
            sync_states: Vec::with_capacity(nodes.len()),
            succession: None,
        };
        let servers: Vec<&Arc<Server>> = nodes.iter().map(|index| &self.entries[*index].server).collect();
        let states = sync_states(&claims, &servers, master, elected, terms);
        for (index, (server, sync_state)) in servers.into_iter().zip(states).enumerate() {
            let assigned_role = if Some(index) == master { Role::Master } else { Role::Replica };
            drawing.sync_states.push((Arc::clone(server), sync_state));
            drawing.servers.push(Assigned { server: Arc::clone(server), assigned_role });
        }
        if let Some(since) = emptied.filter(|since| has_to_wait(&claims, self.incumbent.as_ref(), *since)) {
            drawing.is_settled = !is_monitored;
            drawing.has_questions = self.emptied_since != Some(since);
        }
        self.emptied_since = emptied;
        if let Some(incumbent) = incumbent {
            drawing.succession = self.succeed(&incumbent);
            self.incumbent = Some(incumbent);
        }
        drawing
    }

    /// Returns the incumbent after this election, if there is anything new about it.
    fn confirm(&self, elected: usize, claims: &[Claim<'_>]) -> Option<Incumbent> {
        let claim = &claims[elected];
        let next = || Incumbent::of(claim);
        match &self.incumbent {
            None => claim.answers().then(next),
            Some(present) if present.addr != *claim.addr => Some(next()),
            Some(present) => {
                let answers = claim.answers() && claim.report.is_some_and(|report| report.role == Some(Role::Master));
                let continues = claim.report.is_some_and(|report| present.continues_in(report));
                let is_accepted = answers && (continues || is_uncontested(elected, claims));
                is_accepted.then(|| next().or(present)).filter(|next| next != present)
            }
        }
    }

    /// Replaces the incumbent's server. Returns the failover, if that was another server.
    fn succeed(&mut self, next: &Incumbent) -> Option<Succession> {
        let to = self.servers().find(|server| *server.node.addr() == next.addr).map(Arc::clone)?;
        let from = self.incumbent_server.replace(Arc::clone(&to))?;
        (!Arc::ptr_eq(&from, &to)).then_some(Succession { from, to })
    }

    fn claim<'a>(&'a self, index: usize, reports: &'a [Option<Arc<Report>>]) -> Claim<'a> {
        let Entry { server, hint } = &self.entries[index];
        let asked = server.asked();
        Claim {
            addr: server.node.addr(),
            hint: *hint,
            report: reports[index].as_deref(),
            asked: asked.last,
            silent_since: asked.silent_since,
            greeting: asked.greeting,
        }
    }

    /// Returns the entries that are nodes of their own: of several names of one process, the first under which it answers.
    fn without_aliases(&self, reports: &[Option<Arc<Report>>]) -> Vec<usize> {
        // Behind a shared endpoint, any of several processes may have answered.
        let is_one = |index: usize| !self.entries[index].server.node.is_shared();
        let run_id = |index: usize| {
            reports[index].as_ref().filter(|_| is_one(index)).and_then(|report| report.run_id.as_deref())
        };
        let rank = |index: usize| (self.entries[index].server.is_silent(), index);
        let is_alias = |index: usize| {
            let better = |other: usize| run_id(other) == run_id(index) && rank(other) < rank(index);
            run_id(index).is_some() && (0..self.entries.len()).any(better)
        };
        (0..self.entries.len()).filter(|index| !is_alias(*index)).collect()
    }
}

/// Returns the sync state of each node, by what the nodes say of themselves and of those through which they replicate.
fn sync_states(
    claims: &[Claim<'_>],
    servers: &[&Arc<Server>],
    master: Option<usize>,
    elected: Option<usize>,
    terms: Terms<'_>,
) -> Vec<SyncState> {
    let lives = elected.is_some_and(|elected| lives(&claims[elected], claims));
    let lags = |claim: &Claim<'_>| lives && terms.lag_limit.is_some_and(|limit| claim.lags(terms.timeline, limit));
    let own = |(index, claim): (usize, &Claim<'_>)| {
        if Some(index) == master {
            return SyncState::InSync;
        }
        match sync_state(claim, elected.map(|elected| &claims[elected]), lives, servers[index].node.sync_state()) {
            SyncState::InSync if lags(claim) => SyncState::Lagging,
            state => state,
        }
    };
    let own: Vec<SyncState> = claims.iter().enumerate().map(own).collect();
    let parent = |claim: &Claim<'_>| {
        let addr = claim.parent()?;
        // A master has no parent. A node that follows another one has another history sooner or later, which shows.
        let is_it = |index: &usize| servers[*index].is_at(addr) && claims[*index].parent().is_some();
        (0..claims.len()).find(is_it).filter(|index| Some(*index) != master)
    };
    let parents: Vec<Option<usize>> = claims.iter().map(parent).collect();
    let hands_on = |(index, state): (usize, &SyncState)| {
        let is_out = claims[index].silent_since.is_some() || servers[index].node.is_ejected();
        if lives && is_out && Some(index) != master { SyncState::LinkDown } else { *state }
    };
    let handed_on: Vec<SyncState> = own.iter().enumerate().map(hands_on).collect();
    inherit(&own, &handed_on, &parents)
}

#[cfg(test)]
mod tests;
