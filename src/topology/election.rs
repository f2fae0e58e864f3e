//! Decides which node is the master when nodes contradict each other, and the sync state of the others. Does no I/O.

use std::time::{Duration, Instant};

use crate::addr::NodeAddr;
use crate::node::SyncState;
use crate::replication::{History, Position, Relation, ReplicationId, Report, Role, Timeline};

/// A master pings its replicas every 10 s. One that was not heard for longer may be gone, though no link was closed.
const HEARD_WITHIN: Duration = Duration::from_secs(11);
/// After this many rounds of silence, the election no longer waits until all other nodes were asked.
const PATIENCE: u32 = 5;

/// What the election knows of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) addr: &'a NodeAddr,
    /// The role that the provider names.
    pub(super) hint: Option<Role>,
    /// What the node itself said last.
    pub(super) report: Option<&'a Report>,
    /// When it was last asked.
    pub(super) asked: Option<Instant>,
    /// Since when it has not answered the monitor.
    pub(super) silent_since: Option<Instant>,
    /// The role that it gave in its greeting.
    pub(super) greeting: Option<Role>,
}

/// The master that was accepted, and the history it was accepted with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Incumbent {
    pub(super) addr: NodeAddr,
    run_id: Option<Box<str>>,
    history: Option<ReplicationId>,
}

/// The time of an election.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// How long the incumbent must be silent before another may take its place.
    pub(super) round: Duration,
}

impl<'a> Claim<'a> {
    pub(super) fn answers(&self) -> bool {
        (self.asked.is_some() || self.greeting.is_some()) && self.silent_since.is_none()
    }

    fn role(&self) -> Option<Role> {
        self.report.and_then(|report| report.role).or(self.greeting)
    }

    fn says(&self, role: Role) -> bool {
        self.answers() && self.role() == Some(role)
    }

    /// Returns the node from which it replicates, if it says that it is a replica.
    pub(super) fn parent(&self) -> Option<&'a NodeAddr> {
        let report = self.report.filter(|report| report.role == Some(Role::Replica))?;
        report.link.as_ref()?.master.as_ref()
    }

    /// Returns whether it had not applied, when it was last asked, what the master had written this long before.
    pub(super) fn lags(&self, timeline: &Timeline, limit: Duration) -> bool {
        let asked = self.asked.filter(|_| self.silent_since.is_none());
        let position = self.report.and_then(Report::position);
        let moment = asked.and_then(|asked| asked.checked_sub(limit));
        position.zip(moment).is_some_and(|(position, moment)| timeline.had_left(position, moment))
    }

    fn history(&self) -> Option<History> {
        self.report.and_then(|report| report.history)
    }

    fn history_id(&self) -> Option<ReplicationId> {
        self.history().map(|history| history.id)
    }

    /// Counts the nodes that say that they follow this history now.
    fn followers(&self, claims: &[Claim<'_>]) -> usize {
        claims.iter().filter(|other| other.hears(self)).count()
    }

    /// Returns whether this node says that it receives what a master of that history writes.
    fn hears(&self, master: &Claim<'_>) -> bool {
        let hears = self.report.is_some_and(|report| report.is_linked() && !report.hears_nothing_for(HEARD_WITHIN));
        self.says(Role::Replica) && hears && master.history().is_some() && self.history_id() == master.history_id()
    }
}

impl Incumbent {
    pub(super) fn of(claim: &Claim<'_>) -> Self {
        let run_id = claim.report.and_then(|report| report.run_id.clone());
        Self { addr: claim.addr.clone(), run_id, history: claim.history_id() }
    }

    /// Keeps what is known where a later report leaves it out. A server that is busy names only its role.
    pub(super) fn or(self, before: &Self) -> Self {
        let run_id = self.run_id.or_else(|| before.run_id.clone());
        Self { run_id, history: self.history.or(before.history), ..self }
    }

    /// Returns whether this history is the incumbent's, or continues it. `None`: one of the two is not known.
    fn is_continued_by(&self, history: Option<History>) -> Option<bool> {
        self.history.zip(history).map(|(id, history)| history.continues(id))
    }

    /// Returns whether a node at the incumbent's address still has the data that it was accepted with.
    pub(super) fn continues_in(&self, report: &Report) -> bool {
        let same_process = self.run_id.is_some() && self.run_id == report.run_id;
        // In one process, only the id of the history changes, when the first replica connects. What is not known does not
        // speak against it.
        same_process || self.is_continued_by(report.history).unwrap_or(true)
    }
}

/// Returns the master that an authority names, once the node confirms it.
pub(super) fn follow_authority(claims: &[Claim<'_>], incumbent: Option<&Incumbent>) -> Option<usize> {
    let named = claims.iter().position(|claim| claim.hint == Some(Role::Master));
    // If a server does not name its role, the authority is believed.
    let is_verified = |claim: &Claim<'_>| claim.answers() && claim.role() != Some(Role::Replica);
    // A node that says that it is a replica serves as one, whichever other node is dead.
    let holds_on = |index: &usize| !claims[*index].says(Role::Replica);
    named.filter(|index| is_verified(&claims[*index])).or_else(|| position_of(claims, incumbent).filter(holds_on))
}

/// Returns the master by what the nodes say, without an authority.
pub(super) fn elect(claims: &[Claim<'_>], incumbent: Option<&Incumbent>, moment: Moment) -> Option<usize> {
    let Some((present, incumbent)) = position_of(claims, incumbent).zip(incumbent) else { return start_cold(claims) };
    if serves_on(&claims[present], incumbent) || !is_out(present, claims, moment) {
        return Some(present);
    }
    let others = || claims.iter().enumerate().filter(|(index, claim)| *index != present && claim.says(Role::Master));
    // The node that most others follow, which may be the incumbent: a link that is up shows that a master lives that this
    // client cannot reach.
    let loyal = if claims[present].says(Role::Replica) { 0 } else { claims[present].followers(claims) };
    if let Some((successor, _)) = most_followed(others(), claims).filter(|(_, followers)| *followers > loyal) {
        return Some(successor);
    }
    if loyal > 0 {
        return Some(present);
    }
    // Where a history is not known, one claimant is as good as the other.
    let descends = |claim: &Claim<'_>| incumbent.is_continued_by(claim.history()).unwrap_or(true);
    others().find(|(_, claim)| descends(claim)).map(|(index, _)| index).or(Some(present))
}

fn position_of(claims: &[Claim<'_>], incumbent: Option<&Incumbent>) -> Option<usize> {
    incumbent.and_then(|incumbent| claims.iter().position(|claim| *claim.addr == incumbent.addr))
}

/// Returns whether the incumbent answers as the master that it was accepted as.
fn serves_on(claim: &Claim<'_>, incumbent: &Incumbent) -> bool {
    let unchanged = claim.report.is_none_or(|report| incumbent.continues_in(report));
    claim.answers() && claim.role() != Some(Role::Replica) && unchanged
}

/// Returns whether the incumbent gave up, or was silent for a full round, in which all others were asked.
fn is_out(present: usize, claims: &[Claim<'_>], moment: Moment) -> bool {
    let claim = &claims[present];
    let Some(since) = claim.silent_since else { return claim.asked.is_some() };
    let asked_since =
        |other: &Claim<'_>| other.silent_since.is_some() || other.asked.is_some_and(|asked| asked >= since);
    let silent_for = moment.now.saturating_duration_since(since);
    // A node that cannot be asked, because its name is not resolved, must not block the election for ever.
    (silent_for >= moment.round && claims.iter().all(asked_since)) || silent_for >= PATIENCE * moment.round
}

/// Returns the first master: the claimant that most nodes follow, else the one that was named, else the only one. `None` as
/// long as a node that was not heard yet can change that.
fn start_cold(claims: &[Claim<'_>]) -> Option<usize> {
    let claimants = || claims.iter().enumerate().filter(|(_, claim)| claim.says(Role::Master));
    let is_named = |claim: &Claim<'_>| claim.hint == Some(Role::Master);
    let only = || {
        let mut all = claimants();
        all.next().filter(|_| all.next().is_none())
    };
    // One of the nodes that were not heard may claim mastership too, and all that do not follow the named one may follow it.
    let unheard = claims.iter().filter(|claim| !claim.answers() && claim.silent_since.is_none()).count();
    let replicas = claims.iter().filter(|claim| claim.says(Role::Replica)).count();
    let has_no_rival = |claim: &Claim<'_>| {
        let followers = claim.followers(claims);
        // In a tie, the name decides.
        unheard == 0 || (unheard - 1) + (replicas - followers) <= followers
    };
    if let Some((index, _)) = only().filter(|(_, claim)| is_named(claim) && has_no_rival(claim)) {
        return Some(index);
    }
    if claims.iter().any(|claim| claim.asked.is_none()) {
        return None;
    }
    let leader = most_followed(claimants(), claims).map(|(index, _)| index);
    // A node that does not name its role has the role that was configured.
    let silent_on_role =
        || claims.iter().position(|claim| is_named(claim) && claim.answers() && claim.role().is_none());
    let named = || claimants().find(|(_, claim)| is_named(claim)).or_else(only).map(|(index, _)| index);
    leader.or_else(named).or_else(silent_on_role)
}

/// Returns the claimant that more nodes follow than any other, with their number.
fn most_followed<'a>(
    claimants: impl Iterator<Item = (usize, &'a Claim<'a>)>,
    claims: &[Claim<'_>],
) -> Option<(usize, usize)> {
    let mut counted: Vec<(usize, usize)> = claimants
        .map(|(index, claim)| (index, claim.followers(claims)))
        .filter(|(_, followers)| *followers > 0)
        .collect();
    counted.sort_by_key(|(_, followers)| std::cmp::Reverse(*followers));
    match counted[..] {
        [first] => Some(first),
        [first, second, ..] if first.1 > second.1 => Some(first),
        _ => None,
    }
}

/// Returns whether a master without the history that it was accepted with may stay the master: no other node claims
/// mastership, and those that answer follow it.
pub(super) fn is_uncontested(present: usize, claims: &[Claim<'_>]) -> bool {
    claims.iter().enumerate().filter(|(index, claim)| *index != present && claim.answers()).all(|(_, other)| {
        other.role() != Some(Role::Master)
            && (other.history().is_none() || other.history_id() == claims[present].history_id())
    })
}

/// Returns whether the master lives: it answers, or one of its replicas still hears it.
pub(super) fn lives(master: &Claim<'_>, claims: &[Claim<'_>]) -> bool {
    master.says(Role::Master) || claims.iter().any(|claim| claim.hears(master))
}

/// Returns whether the incumbent came back without its data.
pub(super) fn is_emptied(claims: &[Claim<'_>], incumbent: Option<&Incumbent>) -> bool {
    let present = position_of(claims, incumbent).zip(incumbent);
    present.is_some_and(|(present, incumbent)| {
        claims[present].says(Role::Master) && !serves_on(&claims[present], incumbent)
    })
}

/// Returns whether writes to an emptied incumbent have to wait: while other nodes were not asked since it came back, and
/// while one of them claims mastership with the data. The next election decides.
pub(super) fn has_to_wait(claims: &[Claim<'_>], incumbent: Option<&Incumbent>, since: Instant) -> bool {
    let Some((present, incumbent)) = position_of(claims, incumbent).zip(incumbent) else { return false };
    let descends = |claim: &Claim<'_>| incumbent.is_continued_by(claim.history()).unwrap_or(false);
    claims.iter().enumerate().filter(|(index, _)| *index != present).any(|(_, claim)| {
        let was_asked = claim.silent_since.is_some() || claim.asked.is_some_and(|asked| asked >= since);
        !was_asked || (claim.says(Role::Master) && descends(claim))
    })
}

/// Returns the sync state of a node that is not the master, by its own report. `before` is its state until now.
pub(super) fn sync_state(claim: &Claim<'_>, master: Option<&Claim<'_>>, lives: bool, before: SyncState) -> SyncState {
    let Some(report) = claim.report else { return SyncState::InSync };
    if report.role == Some(Role::Master) || master.is_some_and(|master| is_foreign(claim, master, before)) {
        SyncState::Diverged
    } else if report.loading || (lives && report.is_syncing()) {
        SyncState::Syncing
    } else if lives && !report.is_linked() {
        SyncState::LinkDown
    } else {
        // Also where no master is left: then the data that is there is served.
        SyncState::InSync
    }
}

/// Returns whether a replica's data is not part of the master's history, as far as both are known.
///
/// The master must have been asked later: its history has another id since its promotion, which it says only when it is
/// asked again.
fn is_foreign(claim: &Claim<'_>, master: &Claim<'_>, before: SyncState) -> bool {
    let position = claim.report.and_then(Report::position);
    let differs = claim.history_id().zip(master.history()).is_some_and(|(id, history)| {
        let is_lost = |seen: Position| history.relate(seen) == Relation::Lost;
        !history.continues(id) || position.is_some_and(is_lost)
    });
    differs && (before == SyncState::Diverged || (master.says(Role::Master) && master.asked > claim.asked))
}

/// Lowers the state of each node to that of the nodes through which it replicates. `handed_on` is the state that each node
/// hands on: what a silent node said last does not count. `parents` says through which other node each one replicates, as far
/// as that is known. `None`: it follows the master, or an unknown node.
pub(super) fn inherit(own: &[SyncState], handed_on: &[SyncState], parents: &[Option<usize>]) -> Vec<SyncState> {
    let inherited = |index: usize| {
        let (mut at, mut state) = (index, own[index]);
        // At most as often as there are nodes: what they say at different times may be a circle.
        for _ in 0..own.len() {
            match parents[at].filter(|_| state == SyncState::InSync) {
                Some(parent) => (at, state) = (parent, handed_on[parent]),
                None => break,
            }
        }
        state
    };
    (0..own.len()).map(inherited).collect()
}

#[cfg(test)]
mod tests;
