//! Verification: whether the evidence proves that a reply contains what its session has seen, and is fresh enough.
//!
//! The session's own state decides about losses, in [`state`](super::state).

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::evidence_request::ReplyEvidence;
use super::fence_request::{Counts, FenceEvidence, Greeting};
use super::message::Answer;
use super::state::{Acceptance, FenceReading, RaiseReply, Requirement, Session};
use super::token::Loss;
use crate::classification::{Classification, Request};
use crate::observe::{Interest, SessionChange};
use crate::replication::{Evidence, EvidenceSource, InfoEvidence, Position, Role};
use crate::retry::{Fault, Stage};
use crate::topology::{Assigned, Hint, TopologyStore};

/// The shortest bound for which replicas may serve: the monitor asks the master twice in that time, at least 20 ms apart.
pub(crate) const SHORTEST_BOUND: Duration = Duration::from_millis(50);

/// Why the caller does not get a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rejected {
    /// The evidence does not prove what is required.
    Behind,
    Lost(Loss),
}

impl Rejected {
    /// Returns the fault with the caller's error.
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
    /// How stale the reply is at most, where that was asked and proven.
    pub(super) proven_staleness: Cell<Option<Duration>>,
}

impl Verification<'_> {
    /// Returns a position that a node must contain to keep the bound at this time; `None`: none is known, or there is no bound.
    pub(super) fn freshest_at(&self, now: Instant) -> Option<Position> {
        let bound = self.staleness.filter(|bound| *bound >= SHORTEST_BOUND)?;
        self.store.history().timeline.at(now.checked_sub(bound)?)
    }

    /// Returns why only the master can prove the reply; `None`: replicas can too.
    pub(super) fn why_master(&self, request: &Request<'_>) -> Option<&'static str> {
        if self.requirement.needs_master {
            return Some("only the master can prove now what the session has seen");
        }
        if request.blocks() {
            return Some("a read that blocks can only be proven by the master");
        }
        // A bound longer than the range of the clock always holds.
        let bound = self.staleness.filter(|bound| self.began.checked_sub(*bound).is_some())?;
        if bound < SHORTEST_BOUND {
            return Some("the shortest bound (max_staleness) that replicas can keep is 50 ms");
        }
        let text = "without a monitor (monitor_interval), replicas cannot keep a bound (max_staleness)";
        (!self.store.is_monitored()).then_some(text)
    }

    /// Returns what a node should contain to be likely to prove the reply to a read.
    pub(super) fn hint(&self, now: Instant) -> Hint {
        self.requirement.watermark.position().or_else(|| self.freshest_at(now)).map_or(Hint::InStep, Hint::At)
    }

    /// Verifies the evidence of a reply, and records it for the next selection.
    pub(super) fn verify(&self, answer: Answer<'_>, evidence: ReplyEvidence) -> Result<(), Fault> {
        let Answer { server, request } = answer;
        let verified = match evidence {
            // A write that went without the fence of its session.
            ReplyEvidence::Nothing => {
                if let Some(session) = self.session.filter(|_| !request.is_read()) {
                    session.record_unfenced_write(server.node.hash());
                }
                Ok(())
            }
            ReplyEvidence::Info { mut before, mut after } => {
                let given = [&mut before, &mut after].into_iter().flatten().flatten();
                given.for_each(|evidence| self.record(server, evidence));
                if request.is_read() {
                    self.verify_read(answer, before, after)
                } else {
                    self.verify_write(answer, after)
                }
            }
            ReplyEvidence::Fence(evidence) => self.verify_fence(answer, evidence),
        };
        match &verified {
            Ok(()) if request.is_read() => server.progress.proved(),
            Err(fault) if matches!(fault.stage, Stage::Behind | Stage::NoEvidence) => {
                server.progress.missed(Instant::now())
            }
            _ => {}
        }
        verified
    }

    /// Records the evidence for the next selection, and what a master reports of its history.
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

    /// Verifies the reply to a read by `INFO`.
    fn verify_read(
        &self,
        answer: Answer<'_>,
        before: Option<InfoEvidence>,
        after: Option<InfoEvidence>,
    ) -> Result<(), Fault> {
        let (first, last) = match (before, after) {
            (Some(first), Some(last)) => (first, last),
            (Some(only), None) | (None, Some(only)) => {
                let only = evidence_or_fault(answer, only)?;
                (Ok(only), Ok(only))
            }
            // An error before anything was executed.
            (None, None) => return Ok(()),
        };
        let (first, last) = (evidence_or_fault(answer, first)?, evidence_or_fault(answer, last)?);
        if first.is_master() && !self.is_master_now(answer.server) {
            // A server's own claim is not enough: the topology decides who is the master.
            answer.server.observe_role(Role::Master);
            return Err(Fault::new(Stage::Deposed, None));
        }
        let accepted = self.accept(&first, &last);
        if let Err(Rejected::Lost(loss)) = accepted {
            emit_loss(answer.server, Some(loss));
        }
        if accepted == Err(Rejected::Behind) && (first.is_master() || !self.is_in_current_history(&first)) {
            // There may be another master, which the monitor has not seen yet.
            self.store.request_check();
        }
        accepted.map_err(|rejected| rejected.fault(answer))
    }

    /// Decides whether the evidence before and after a read proves what is required.
    fn accept(&self, first: &Evidence, last: &Evidence) -> Result<(), Rejected> {
        // Without a link, the offset cannot change: if it did, the replica had a link in between, perhaps for a full resync.
        let is_unchanged = first.source != EvidenceSource::LinkDown || first.position == last.position;
        let is_one = first.position.history == last.position.history && first.source == last.source;
        if !is_one || !is_unchanged || !self.is_fresh(first) {
            return Err(Rejected::Behind);
        }
        let Some(session) = self.session else { return Ok(()) };
        if first.is_master() {
            // Both count: the reply contains at least the first position, and may contain all up to the last.
            return self.accept_master(session, first).and_then(|()| self.accept_master(session, last));
        }
        let is_proven = matches!(first.source, EvidenceSource::Replica | EvidenceSource::LinkDown)
            && self.is_in_current_history(first)
            && self
                .requirement
                .watermark
                .position()
                .is_none_or(|seen| first.contains(seen, &self.store.history().ancestry));
        if self.requirement.needs_master || !is_proven {
            return Err(Rejected::Behind);
        }
        match session.read_from_replica(last, &self.store.history().ancestry) {
            Acceptance::Accept => Ok(()),
            Acceptance::Report(loss) => Err(Rejected::Lost(loss)),
            Acceptance::NotProven => Err(Rejected::Behind),
        }
    }

    /// Returns whether this is the set's master now, and not only when the call began.
    fn is_master_now(&self, server: &Assigned) -> bool {
        server.assigned_role == Role::Master && self.store.assigns(server)
    }

    /// Returns whether the monitor has not asked all nodes since the call began.
    fn may_learn_more(&self) -> bool {
        self.store.is_monitored() && !self.store.has_asked_all_since(self.began)
    }

    /// Returns whether a replica contains only what the set's master contains. While the master does not answer, a replica whose
    /// link is up may follow its successor.
    fn is_in_current_history(&self, evidence: &Evidence) -> bool {
        self.store.history().ancestry.is_contained_in_current(evidence.position)
            || (evidence.is_linked() && self.store.awaits_master())
    }

    /// Decides whether the evidence of the set's master proves what is required.
    fn accept_master(&self, session: &Session, evidence: &Evidence) -> Result<(), Rejected> {
        let ancestry = &self.store.history().ancestry;
        match session.read_from_master(&self.requirement, evidence, ancestry, self.may_learn_more()) {
            Acceptance::Accept => Ok(()),
            Acceptance::Report(loss) => Err(Rejected::Lost(loss)),
            Acceptance::NotProven => Err(Rejected::Behind),
        }
    }

    /// Returns whether a node keeps the bound at this time, after its reply has come. A replica without a link never does.
    fn is_fresh(&self, evidence: &Evidence) -> bool {
        let now = Instant::now();
        // Not that of an earlier attempt.
        self.proven_staleness.set(None);
        // A bound longer than the range of the clock always holds.
        if self.staleness.is_none_or(|bound| now.checked_sub(bound).is_none()) {
            return true;
        }
        match self.freshest_at(now) {
            Some(fresh) => {
                let is_fresh = evidence.is_linked() && evidence.contains(fresh, &self.store.history().ancestry);
                if is_fresh && self.store.observers().want(Interest::SESSIONS) {
                    self.proven_staleness.set(self.store.history().timeline.age_of(evidence.position, now));
                }
                is_fresh
            }
            // The monitor has no position of the master that is young enough. The master itself is always fresh.
            None => evidence.is_master(),
        }
    }

    /// Verifies a reply by the session's fence.
    fn verify_fence(&self, answer: Answer<'_>, evidence: FenceEvidence) -> Result<(), Fault> {
        let Some(session) = self.session else { return Ok(()) };
        let by = answer.server.node.hash();
        match evidence {
            FenceEvidence::None => Ok(()),
            FenceEvidence::Read { greeting, counts, behind } => {
                self.check_greeting(answer, greeting)?;
                [Some(counts), behind]
                    .into_iter()
                    .flatten()
                    .try_for_each(|counts| self.check_counts(session, answer, (greeting, counts)))
            }
            FenceEvidence::Raised { raise, count, before } => {
                let raised = RaiseReply { count, before, by };
                emit_loss(answer.server, session.record_raise(&self.requirement, raise, raised, Instant::now()));
                Ok(())
            }
            FenceEvidence::Refused { refusal, executed, greeting } if answer.request.is_read() => {
                self.check_greeting(answer, greeting)?;
                if executed && greeting.is_master && self.requirement.fences().all(|fence| fence.count == 0) {
                    // No required fence was ever raised: the master contains all that there is.
                    return self.check_counts(session, answer, (greeting, Counts::default()));
                }
                Err(answer.no_evidence(refusal))
            }
            FenceEvidence::Refused { refusal, executed: false, .. } => Err(answer.not_fenced(refusal)),
            FenceEvidence::Refused { .. } => {
                session.record_unfenced_write(by);
                Ok(())
            }
        }
    }

    /// Checks what the server says of itself: one that says it is a master may not be the set's, and a fence proves nothing on
    /// replicas that apply writes out of order.
    fn check_greeting(&self, answer: Answer<'_>, greeting: Greeting) -> Result<(), Fault> {
        if greeting.is_unordered {
            answer.server.refused.refuse_fences();
        }
        if greeting.is_master && !self.is_master_now(answer.server) {
            // A server's own claim is not enough: the topology decides who is the master.
            answer.server.observe_role(Role::Master);
            self.store.request_check();
            return Err(Fault::new(Stage::WrongRole, None));
        }
        let is_proof = greeting.is_master || !greeting.is_unordered;
        if is_proof { Ok(()) } else { Err(answer.behind()) }
    }

    /// Verifies the values of the required counters.
    fn check_counts(
        &self,
        session: &Session,
        answer: Answer<'_>,
        (greeting, counts): (Greeting, Counts),
    ) -> Result<(), Fault> {
        let Counts { count, second } = counts;
        let reading = FenceReading { is_master: greeting.is_master, count, second, by: answer.server.node.hash() };
        // A fence does not show which of two masters is the set's, so the monitor has to confirm it.
        let is_confirmed = self.is_master_now(answer.server) && !self.may_learn_more();
        match session.verify_read(&self.requirement, reading, is_confirmed) {
            Acceptance::Accept => Ok(()),
            Acceptance::Report(loss) => {
                emit_loss(answer.server, Some(loss));
                Err(answer.lost(loss))
            }
            Acceptance::NotProven => {
                if reading.is_master {
                    self.store.request_check();
                }
                Err(answer.behind())
            }
        }
    }

    /// Records the reply to a write.
    fn verify_write(&self, answer: Answer<'_>, after: Option<InfoEvidence>) -> Result<(), Fault> {
        let Some(session) = self.session else { return Ok(()) };
        match after {
            // A pipeline or a transaction that only reads: it is verified like a read.
            Some(Ok(evidence))
                if evidence.is_master()
                    && answer.request.class == Classification::Master
                    && !answer.request.is_single() =>
            {
                let accepted = self.accept_master(session, &evidence);
                accepted.map_err(|rejected| rejected.fault(answer))?;
            }
            Some(Ok(evidence)) if evidence.is_master() => {
                emit_loss(
                    answer.server,
                    session.record_write(&self.requirement, &evidence, &self.store.history().ancestry),
                );
            }
            // The server was demoted meanwhile: what the pipeline read may be old.
            Some(Ok(_)) if answer.request.partial => {
                session.record_doubt();
                return Err(answer.behind());
            }
            _ => session.record_doubt(),
        }
        Ok(())
    }
}

/// Returns the evidence, or the fault of a server that gives none.
fn evidence_or_fault(answer: Answer<'_>, evidence: InfoEvidence) -> Result<Evidence, Fault> {
    evidence.map_err(|none| answer.no_evidence(none.refusal))
}

/// Emits an event for what a session has lost.
fn emit_loss(server: &Assigned, loss: Option<Loss>) {
    if let Some(loss) = loss {
        let loss = match loss {
            Loss::Lost => SessionChange::WriteLost,
            Loss::History => SessionChange::HistoryLost,
            Loss::Unproven => SessionChange::Unproven,
        };
        server.observers.session_lost(server.node.addr(), loss);
    }
}
