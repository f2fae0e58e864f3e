//! Verification: whether a reply contains what its session has seen, and is as fresh as it has to be.

use std::time::{Duration, Instant};

use super::evidence_request::Shown;
use super::fence_request::{Counts, FenceEvidence, Greeted};
use super::info_request::InfoEvidence;
use super::loss::Loss;
use super::message::Answer;
use super::state::{Passed, Raised, Requirement, Session, Step};
use crate::classification::{Classification, Request};
use crate::events;
use crate::replication::{Evidence, EvidenceSource, Position, Role};
use crate::retry::{Fault, Stage};
use crate::topology::{Assigned, Hint, TopologyStore};

/// The shortest bound that replicas are asked to keep: the master is asked twice in that time, 20 ms apart at least.
pub(crate) const SHORTEST_BOUND: Duration = Duration::from_millis(50);

/// Why a reply is not handed out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refused {
    /// It does not prove to contain what was asked for.
    Behind,
    Lost(Loss),
}

impl Refused {
    fn fault(self, answer: Answer<'_>) -> Fault {
        match self {
            Self::Behind => answer.behind(),
            Self::Lost(loss) => answer.lost(loss),
        }
    }
}

/// What the reply to one call has to prove.
#[derive(Debug)]
pub(super) struct Verification<'a> {
    pub(super) session: Option<&'a Session>,
    pub(super) requirement: Requirement,
    pub(super) staleness: Option<Duration>,
    pub(super) store: &'a TopologyStore,
    pub(super) began: Instant,
}

impl Verification<'_> {
    /// Returns what a node contains that is no staler than asked for at this time, if that is known.
    pub(super) fn freshest_at(&self, now: Instant) -> Option<Position> {
        let bound = self.staleness.filter(|bound| *bound >= SHORTEST_BOUND)?;
        self.store.history().timeline.at(now.checked_sub(bound)?)
    }

    /// Returns why no replica can prove the reply, if that is so: then they need not be tried.
    pub(super) fn why_master(&self, request: &Request<'_>) -> Option<&'static str> {
        if self.requirement.needs_master {
            return Some("what the session has seen can only be proven by the master now");
        }
        if request.blocks() {
            return Some("a read that blocks can only be proven by the master");
        }
        // A bound that reaches back before all clocks is none.
        let bound = self.staleness.filter(|bound| self.began.checked_sub(*bound).is_some())?;
        if bound < SHORTEST_BOUND {
            return Some("no replica is that fresh: the shortest bound (max_staleness) that they can keep is 50 ms");
        }
        let text = "without a monitor (monitor_interval), no replica can keep a bound (max_staleness)";
        (!self.store.is_monitored()).then_some(text)
    }

    /// Returns what a node should contain, so that it is likely to prove the reply to a read.
    pub(super) fn hint(&self, now: Instant) -> Hint {
        self.requirement.seen.position().or_else(|| self.freshest_at(now)).map_or(Hint::InStep, Hint::At)
    }

    /// Checks what a server said beside its reply, and records it for the next selection.
    pub(super) fn verify(&self, answer: Answer<'_>, shown: Shown) -> Result<(), Fault> {
        let Answer { server, request } = answer;
        let checked = match shown {
            // A write that went without the fence of its session.
            Shown::Nothing => {
                if let Some(session) = self.session.filter(|_| !request.is_read()) {
                    session.wrote_unfenced(server.node.hash());
                }
                Ok(())
            }
            Shown::Info { mut before, mut after } => {
                let accounts = [&mut before, &mut after].into_iter().flatten().flatten();
                accounts.for_each(|evidence| self.record(server, evidence));
                if request.is_read() { self.read(answer, before, after) } else { self.write(answer, after) }
            }
            Shown::Fence(evidence) => self.fence(answer, evidence),
        };
        match &checked {
            Ok(()) if request.is_read() => server.progress.proved(),
            Err(fault) if matches!(fault.stage, Stage::Behind | Stage::NoEvidence) => {
                server.progress.missed(Instant::now())
            }
            _ => {}
        }
        checked
    }

    fn record(&self, server: &Assigned, evidence: &mut Evidence) {
        server.progress.hears(evidence);
        if evidence.is_master() {
            let (ancestry, history) = (&self.store.history().ancestry, evidence.position.history);
            ancestry.record(evidence.history());
            if !ancestry.is_current(history) && self.is_master_now(server) {
                ancestry.set_current_history(history);
            }
        }
    }

    /// Checks the reply to a read.
    fn read(&self, answer: Answer<'_>, before: Option<InfoEvidence>, after: Option<InfoEvidence>) -> Result<(), Fault> {
        let (first, last) = match (before, after) {
            (Some(first), Some(last)) => (first, last),
            (Some(only), None) | (None, Some(only)) => {
                let only = heard(answer, only)?;
                (Ok(only), Ok(only))
            }
            // An error that came before anything was executed.
            (None, None) => return Ok(()),
        };
        let (first, last) = (heard(answer, first)?, heard(answer, last)?);
        if first.is_master() && !self.is_master_now(answer.server) {
            // A server's own claim is not enough: the topology decides who is the master.
            answer.server.observe_role(Role::Master);
            return Err(Fault::new(Stage::Deposed, None));
        }
        let accepted = self.accept(&first, &last);
        if let Err(Refused::Lost(loss)) = accepted {
            announce(answer.server, Some(loss));
        }
        if accepted == Err(Refused::Behind) && (first.is_master() || !self.is_in_current_history(&first)) {
            // There may be another master for so short a time that the monitor has not seen it yet.
            self.store.request_check();
        }
        accepted.map_err(|refused| refused.fault(answer))
    }

    fn accept(&self, first: &Evidence, last: &Evidence) -> Result<(), Refused> {
        // Without a link, the offset stands still: else it had one in between, and may have been resynchronised.
        let stood_still = first.source != EvidenceSource::LinkDown || first.position == last.position;
        let is_one = first.position.history == last.position.history && first.source == last.source;
        if !is_one || !stood_still || !self.is_fresh(first) {
            return Err(Refused::Behind);
        }
        let Some(session) = self.session else { return Ok(()) };
        if first.is_master() {
            // Both: the first is what the reply contains at least, the last what it may contain.
            return self.accept_master(session, first).and_then(|()| self.accept_master(session, last));
        }
        let is_proven = matches!(first.source, EvidenceSource::Replica | EvidenceSource::LinkDown)
            && self.is_in_current_history(first)
            && self.requirement.seen.position().is_none_or(|seen| first.contains(seen, &self.store.history().ancestry));
        if self.requirement.needs_master || !is_proven {
            return Err(Refused::Behind);
        }
        match session.read_from_replica(last, &self.store.history().ancestry) {
            Step::Accept => Ok(()),
            Step::Tell(loss) => Err(Refused::Lost(loss)),
            Step::Wait => Err(Refused::Behind),
        }
    }

    /// Returns whether this is the set's master, now and not only when the call began.
    fn is_master_now(&self, server: &Assigned) -> bool {
        server.assigned_role == Role::Master && self.store.assigns(server)
    }

    /// Returns whether the monitor has not asked all nodes since the call began.
    fn may_learn_more(&self) -> bool {
        self.store.is_monitored() && !self.store.has_asked_all_since(self.began)
    }

    /// Returns whether a replica contains nothing but what the set's master contains. Where the master is silent, its successor
    /// may be about to be found: that counts for replicas whose link is up.
    fn is_in_current_history(&self, evidence: &Evidence) -> bool {
        self.store.history().ancestry.is_contained_in_current(evidence.position)
            || (evidence.is_linked() && self.store.awaits_master())
    }

    fn accept_master(&self, session: &Session, evidence: &Evidence) -> Result<(), Refused> {
        let ancestry = &self.store.history().ancestry;
        match session.read_from_master(&self.requirement, evidence, ancestry, self.may_learn_more()) {
            Step::Accept => Ok(()),
            Step::Tell(loss) => Err(Refused::Lost(loss)),
            Step::Wait => Err(Refused::Behind),
        }
    }

    /// Returns whether a node has everything that was written before the bound, at the time when its reply is here. A replica
    /// without a link gets older all the time.
    fn is_fresh(&self, evidence: &Evidence) -> bool {
        let now = Instant::now();
        // A bound that reaches back before all clocks is none.
        if self.staleness.is_none_or(|bound| now.checked_sub(bound).is_none()) {
            return true;
        }
        match self.freshest_at(now) {
            Some(fresh) => evidence.is_linked() && evidence.contains(fresh, &self.store.history().ancestry),
            // The master was not asked for so long. It is as fresh as itself.
            None => evidence.is_master(),
        }
    }

    /// Checks a reply by what it says of the session's fence.
    fn fence(&self, answer: Answer<'_>, evidence: FenceEvidence) -> Result<(), Fault> {
        let Some(session) = self.session else { return Ok(()) };
        let by = answer.server.node.hash();
        match evidence {
            FenceEvidence::None => Ok(()),
            FenceEvidence::Passed { greeted, counts, behind } => {
                self.check_greeting(answer, greeted)?;
                [Some(counts), behind]
                    .into_iter()
                    .flatten()
                    .try_for_each(|counts| self.check_counts(session, answer, (greeted, counts)))
            }
            FenceEvidence::Raised { raise, count, before } => {
                let raised = Raised { count, before, by };
                announce(answer.server, session.raised(&self.requirement, raise, raised, Instant::now()));
                Ok(())
            }
            FenceEvidence::Refused { refusal, executed, greeted } if answer.request.is_read() => {
                self.check_greeting(answer, greeted)?;
                if executed && greeted.is_master && self.requirement.fences().all(|fence| fence.count == 0) {
                    // No fence was ever raised: the master has what there is.
                    return self.check_counts(session, answer, (greeted, Counts::default()));
                }
                Err(answer.no_evidence(refusal))
            }
            FenceEvidence::Refused { refusal, executed: false, .. } => Err(answer.unfenced(refusal)),
            FenceEvidence::Refused { .. } => {
                session.wrote_unfenced(by);
                Ok(())
            }
        }
    }

    /// Checks who answers a read: a server that calls itself the master may not be the set's, and a fence does not prove every
    /// replica.
    fn check_greeting(&self, answer: Answer<'_>, greeted: Greeted) -> Result<(), Fault> {
        if greeted.is_unordered {
            answer.server.refused.refuse_fences();
        }
        if greeted.is_master && !self.is_master_now(answer.server) {
            // A server's own claim is not enough: the topology decides who is the master.
            answer.server.observe_role(Role::Master);
            self.store.request_check();
            return Err(Fault::new(Stage::WrongRole, None));
        }
        let is_proof = greeted.is_master || !greeted.is_unordered;
        if is_proof { Ok(()) } else { Err(answer.behind()) }
    }

    fn check_counts(
        &self,
        session: &Session,
        answer: Answer<'_>,
        (greeted, counts): (Greeted, Counts),
    ) -> Result<(), Fault> {
        let Counts { count, open } = counts;
        let passed = Passed { is_master: greeted.is_master, count, open, by: answer.server.node.hash() };
        // A fence has no name that would tell which of two masters is the set's.
        let is_confirmed = self.is_master_now(answer.server) && !self.may_learn_more();
        match session.passed(&self.requirement, passed, is_confirmed) {
            Step::Accept => Ok(()),
            Step::Tell(loss) => {
                announce(answer.server, Some(loss));
                Err(answer.lost(loss))
            }
            Step::Wait => {
                if passed.is_master {
                    self.store.request_check();
                }
                Err(answer.behind())
            }
        }
    }

    /// Takes the reply to a write into account.
    fn write(&self, answer: Answer<'_>, after: Option<InfoEvidence>) -> Result<(), Fault> {
        let Some(session) = self.session else { return Ok(()) };
        match after {
            // A pipeline or a transaction that only reads: nothing is lost by asking again.
            Some(Ok(evidence))
                if evidence.is_master()
                    && answer.request.class == Classification::Master
                    && !answer.request.is_single() =>
            {
                let accepted = self.accept_master(session, &evidence);
                accepted.map_err(|refused| refused.fault(answer))?;
            }
            Some(Ok(evidence)) if evidence.is_master() => {
                announce(answer.server, session.wrote(&self.requirement, &evidence, &self.store.history().ancestry));
            }
            // Demoted meanwhile: what was read in between may be old.
            Some(Ok(_)) if answer.request.partial => {
                session.doubt();
                return Err(answer.behind());
            }
            _ => session.doubt(),
        }
        Ok(())
    }
}

fn heard(answer: Answer<'_>, told: InfoEvidence) -> Result<Evidence, Fault> {
    told.map_err(|none| answer.no_evidence(none.refusal))
}

/// Emits an event for what a session has lost.
fn announce(server: &Assigned, loss: Option<Loss>) {
    if let Some(loss) = loss {
        let loss = match loss {
            Loss::Lost => "write_lost",
            Loss::History => "history_lost",
            Loss::Unproven => "unproven",
        };
        events::session_lost(server.node.addr(), loss);
    }
}
