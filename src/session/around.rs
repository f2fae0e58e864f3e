//! What the guarantees of a handle add to one call: the evidence request, and the verification of the reply.
//!
//! It implements the hook [`Around`]. Which bytes are sent is decided in the request files beside it, what the evidence proves
//! in [`verification`](super::verification).

use std::cell::{Cell, OnceCell};
use std::time::Instant;

use redis::Value;

use super::evidence_request::{EvidenceRequest, ReplyEvidence};
use super::fence_request::{FenceEvidence, FenceRequest, is_fence_key, renewal};
use super::guarantees::{Acknowledgement, Guarantees};
use super::info_request::{Acknowledged, Form, InfoRequest};
use super::message::{Answer, loss_error};
use super::mode::SessionMode;
use super::state::{Raise, Requirement, Session, WriteKind};
use super::token::Watermark;
use super::verification::Verification;
use crate::call::{Around, CallOptions, Pinned, Router, Served, Stop, Unpacked, run};
use crate::classification::{Block, Classification, Request, TransactionStep};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{Interest, ProvenBy};
use crate::pool::Line;
use crate::replication::Role;
use crate::retry::{Fault, Reply, is_answer};
use crate::selection::{Affinity, Likelihood};
use crate::topology::{Assigned, Hint, Topology};

/// One call of a handle with guarantees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCall<'a> {
    pub(crate) router: &'a Router,
    pub(crate) options: CallOptions,
    pub(crate) guarantees: &'a Guarantees,
    /// For a later page of a scan: the watermark that its first page had to contain.
    pub(crate) began_at: Option<Watermark>,
}

/// The evidence request of one call, and what its reply has to prove.
#[derive(Debug)]
pub(crate) struct SessionAround<'a> {
    request: &'a Request<'a>,
    evidence_request: Option<EvidenceRequest>,
    /// The same for servers that refuse the transaction around a request; made when it is needed.
    without_transaction: OnceCell<Option<EvidenceRequest>>,
    pending_raise: Option<PendingRaise<'a>>,
    verification: Option<Verification<'a>>,
    /// Why only the master can serve this read; `None`: replicas can too.
    why_master: Option<&'static str>,
    /// How many replicas have to acknowledge a write.
    replicas: u32,
    /// The first server that was sent the request, by its hash.
    first_asked: Cell<Option<u64>>,
}

/// A write that raises its session's fence. Dropping it ends the write.
#[derive(Debug)]
struct PendingRaise<'a> {
    session: &'a Session,
    raise: Raise,
    /// The fence was raised, but the write refused: another attempt must not raise it by the same amount.
    is_spent: Cell<bool>,
}

impl Drop for PendingRaise<'_> {
    fn drop(&mut self) {
        self.session.cancel(self.raise);
    }
}

impl<'a> SessionCall<'a> {
    /// Routes a request. Also returns the watermark that the reply had to contain.
    pub(crate) fn run(
        self,
        request: &Request<'_>,
        affinity: Affinity<'_>,
    ) -> std::result::Result<(Served, Option<Watermark>), Stop> {
        let options = self.renew_fence(request);
        let around = self.around(request, false).map_err(Stop::Error)?;
        let served = run(self.router, request, options, affinity, &around)?;
        around.tell_proven(&served);
        Ok((served, around.watermark()))
    }

    /// Runs a request on a pinned connection, without a transaction of its own: `EXEC` would end a `WATCH` there.
    pub(crate) fn run_pinned(self, pinned: &mut Pinned, request: &Request<'_>) -> Result<(Reply, Option<Watermark>)> {
        let around = self.around(request, true)?;
        let reply = pinned.run(self.router, request, self.options, &around)?;
        Ok((reply, around.watermark()))
    }

    /// Returns the evidence request and the verification for a request, or the error that it cannot be served.
    fn around<'r>(&self, request: &'r Request<'r>, is_pinned: bool) -> Result<SessionAround<'r>>
    where
        'a: 'r,
    {
        let is_read = request.is_read();
        let session = self.guarantees.session.as_deref();
        if is_read && let Some(loss) = session.and_then(Session::take_loss) {
            return Err(loss_error(loss));
        }
        let mut around = SessionAround::of(self, request);
        if let Some(why) = around.why_master
            && !self.options.read_from.includes(Role::Master)
        {
            let text = format!("replicas only (read from Replica) cannot serve {request}: {why}");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // A command such as PING, on its own, neither reads nor writes data: nothing has to be proven.
        let is_alone = request.class == Classification::Master && request.is_single();
        let writes = !is_read && (!is_alone || request.step() == Some(TransactionStep::Exec));
        let wait = self.guarantees.acknowledgement.filter(|wait| writes && wait.replicas > 0);
        let fence = session.filter(|session| session.mode() == SessionMode::Fence);
        let checks_staleness = self.guarantees.max_staleness.is_some() && is_read;
        around.evidence_request = match fence {
            Some(session) if is_read || writes => around.fence_request(session, is_pinned, wait),
            Some(_) => None,
            None => {
                let checks = checks_staleness || (session.is_some() && (is_read || writes));
                info_request(request, checks, is_pinned, wait)
            }
        };
        let goes_unfenced = fence.is_some() && writes;
        let checks = goes_unfenced || (around.evidence_request.is_some() && (session.is_some() || checks_staleness));
        if !checks {
            (around.verification, around.why_master) = (None, None);
        }
        let raise = around.evidence_request.as_ref().and_then(EvidenceRequest::raise).zip(session);
        let pending = |(raise, session)| PendingRaise { session, raise, is_spent: Cell::new(false) };
        around.pending_raise = raise.map(pending);
        around.replicas = wait.map_or(0, |wait| wait.replicas);
        Ok(around)
    }

    /// Renews the session's fence before a read, if that is due; if it fails, a later call tries again. Returns the options of
    /// the read, with the time that is left.
    fn renew_fence(&self, request: &Request<'_>) -> CallOptions {
        let session = self.guarantees.session.as_deref().filter(|session| session.mode() == SessionMode::Fence);
        let Some(session) = session.filter(|_| request.is_read()) else { return self.options };
        let began = Instant::now();
        let Some(name) = session.due_renewal(began) else { return self.options };
        let packed = renewal(name).get_packed_command();
        if let Ok(request) = Request::command(&packed, &self.router.classifier) {
            // It gets a quarter of the read's time, and does not wait for replicas.
            let options = CallOptions { deadline: self.options.deadline / 4, ..self.options };
            let guarantees = &Guarantees { acknowledgement: None, ..self.guarantees.clone() };
            let _ = SessionCall { options, guarantees, began_at: None, ..*self }.run(&request, Affinity::Any);
        }
        self.options.since(began)
    }
}

/// Returns the request for evidence by `INFO`, and for the acknowledgement of a write.
fn info_request(
    request: &Request<'_>,
    checks: bool,
    is_pinned: bool,
    wait: Option<Acknowledgement>,
) -> Option<EvidenceRequest> {
    let form = match (checks, request.is_read()) {
        (false, _) => Form::WithoutInfo,
        // A blocking read would not block inside a transaction.
        (true, true) if !request.blocks() && request.is_single() && !is_pinned => Form::InTransaction,
        (true, true) if !request.blocks() => Form::Between,
        (true, _) => Form::InfoAfter,
    };
    let has_any = checks || wait.is_some();
    has_any.then(|| EvidenceRequest::Info(InfoRequest::new(request, form, wait)))
}

impl<'a> SessionAround<'a> {
    /// Returns what the reply to a call that begins now has to prove, still without an evidence request.
    pub(crate) fn of(call: &SessionCall<'a>, request: &'a Request<'a>) -> Self {
        let session = call.guarantees.session.as_deref();
        let staleness = call.guarantees.max_staleness.filter(|_| request.is_read());
        let mut requirement = session.map(Session::requirement).unwrap_or_default();
        let is_fenced = session.is_some_and(|session| session.mode() == SessionMode::Fence);
        // A fence does not show how old data is.
        requirement.needs_master |= is_fenced && staleness.is_some();
        match (session.filter(|_| is_fenced), call.began_at) {
            (Some(session), Some(watermark)) => requirement.begin_at(session, watermark),
            (None, Some(watermark)) => requirement.watermark = watermark,
            (_, None) => {}
        }
        let store = &*call.router.store;
        let (began, proven_staleness) = (Instant::now(), Cell::default());
        let verification = Verification { session, requirement, staleness, store, began, proven_staleness };
        let checks = request.is_read() && (session.is_some() || staleness.is_some());
        let why_master = if checks { verification.why_master(request) } else { None };
        Self {
            request,
            evidence_request: None,
            without_transaction: OnceCell::new(),
            pending_raise: None,
            verification: Some(verification).filter(|_| checks || session.is_some()),
            why_master,
            replicas: 0,
            first_asked: Cell::default(),
        }
    }

    /// Returns the request for evidence by a fence: a read reads its counter, a write raises it.
    fn fence_request(
        &self,
        session: &Session,
        is_pinned: bool,
        wait: Option<Acknowledgement>,
    ) -> Option<EvidenceRequest> {
        let request = self.request;
        if request.is_read() {
            let requirement = self.requirement();
            let needs_proof =
                requirement.watermark.fence().is_some() || requirement.second.is_some() || requirement.needs_master;
            return needs_proof.then(|| EvidenceRequest::Fence(FenceRequest::read(request, &requirement, is_pinned)));
        }
        let is_transaction = (request.is_single() && !request.blocks()) || request.is_transaction();
        let kind = match request.key {
            Some(key) if is_fence_key(key) => WriteKind::Renewal,
            _ if is_pinned || !is_transaction => WriteKind::Stepwise,
            _ => WriteKind::Atomic,
        };
        let raise = session.raise(Instant::now(), rand::random(), rand::random(), kind)?;
        Some(EvidenceRequest::Fence(FenceRequest::write(request, raise, is_pinned).acknowledged_by(wait)))
    }

    /// Returns the evidence request for this server.
    #[inline]
    fn evidence_request(&self, server: &Assigned, now: Instant) -> Option<&EvidenceRequest> {
        let usual = self.evidence_request.as_ref().filter(|_| !self.is_spent())?;
        let other = if server.refused.transactions(now) { self.without_transaction(usual) } else { None };
        other.or(Some(usual))
    }

    /// Returns the evidence request without a transaction, if the usual one has one.
    #[cold]
    fn without_transaction(&self, usual: &EvidenceRequest) -> Option<&EvidenceRequest> {
        let other = || usual.without_transaction(self.request, &self.requirement());
        self.without_transaction.get_or_init(other).as_ref()
    }

    /// Tells the observers which server has proven the reply to a read.
    fn tell_proven(&self, served: &Served) {
        let Some(verification) = self.verification.as_ref().filter(|_| self.evidence_request.is_some()) else { return };
        let observers = verification.store.observers();
        if !self.request.is_read() || !observers.want(Interest::SESSIONS) {
            return;
        }
        let is_first = self.first_asked.get().is_none_or(|first| first == served.server().node.hash());
        let by = match (served.server().assigned_role, is_first) {
            (Role::Master, _) => ProvenBy::Master,
            (Role::Replica, true) => ProvenBy::First,
            (Role::Replica, false) => ProvenBy::Another,
        };
        observers.session_proven(served.node(), by, verification.proven_staleness.get());
    }

    fn is_spent(&self) -> bool {
        self.pending_raise.as_ref().is_some_and(|pending_raise| pending_raise.is_spent.get())
    }

    fn requirement(&self) -> Requirement {
        self.verification.as_ref().map(|verification| verification.requirement).unwrap_or_default()
    }

    /// Returns the watermark that the reply has to contain.
    fn watermark(&self) -> Option<Watermark> {
        self.verification.as_ref().map(|verification| verification.requirement.watermark)
    }

    /// Returns whether the evidence is a fence, and the servers' replicas do not apply writes in order, so that it proves nothing.
    fn has_unordered_replicas(&self, topology: &Topology) -> bool {
        matches!(self.evidence_request, Some(EvidenceRequest::Fence(_)))
            && topology.servers().iter().any(|server| server.refused.fences())
    }

    /// Returns what a server should contain to be likely to prove the reply.
    #[inline]
    fn hint(&self, now: Instant) -> Hint {
        let verification = self.verification.as_ref().filter(|_| self.request.is_read());
        verification.map_or(Hint::None, |verification| verification.hint(now))
    }

    /// Verifies the evidence of a reply.
    fn verify_evidence(&self, answer: Answer<'_>, reply: &Reply, evidence: ReplyEvidence) -> Result<(), Fault> {
        if is_answer(answer.request, reply) {
            let verification = self.verification.as_ref();
            return verification.map_or(Ok(()), |verification| verification.verify(answer, evidence));
        }
        // The request was not executed, so there is nothing to prove; but the fence may have been raised.
        if let (Some(verification), Some(pending_raise), ReplyEvidence::Fence(FenceEvidence::Raised { .. })) =
            (&self.verification, &self.pending_raise, &evidence)
        {
            pending_raise.is_spent.set(true);
            verification.verify(answer, evidence)?;
        }
        Ok(())
    }
}

impl Around for SessionAround<'_> {
    type Evidence = (ReplyEvidence, Option<Acknowledged>);

    #[inline]
    fn likelihood(&self, topology: &Topology, server: &Assigned, now: Instant) -> Likelihood {
        let is_replica = || server.assigned_role == Role::Replica;
        let proves_nothing = || self.why_master.is_some() || self.has_unordered_replicas(topology);
        if self.request.is_read() && is_replica() && proves_nothing() {
            Likelihood::Impossible
        } else if server.progress.may_have(self.hint(now), now) {
            Likelihood::Likely
        } else {
            Likelihood::Unlikely
        }
    }

    /// `WAIT` would keep all callers of the connection waiting for the replicas.
    ///
    /// Requests with a fence take connections of their own, because the nemesis (`tests/it/nemesis`) met errors when their reads
    /// shared: about one read in 100 000 was told a loss that was none, or was not told one. The cause is not known.
    #[inline]
    fn may_share(&self) -> bool {
        self.replicas == 0 && !matches!(self.evidence_request, Some(EvidenceRequest::Fence(_)))
    }

    #[inline]
    fn exchange(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        now: Instant,
        line: Line<'_>,
    ) -> (Block, Result<Unpacked<Self::Evidence>, Fault>) {
        self.first_asked.set(self.first_asked.get().or(Some(server.node.hash())));
        let alone = |reply, evidence| Unpacked { reply, evidence: (evidence, None), is_transaction_refused: false };
        match self.evidence_request(server, now) {
            None => (request.block, line.send(request).map(|reply| alone(reply, ReplyEvidence::Nothing))),
            Some(EvidenceRequest::Info(info)) if info.is_read_alone() && line.shares_infos() => {
                let sent = line.send_between_infos(request);
                let between = |(reply, before, after)| {
                    alone(reply, ReplyEvidence::Info { before: Some(before), after: Some(after) })
                };
                (request.block, sent.map(between))
            }
            Some(evidence_request) => {
                let packed = evidence_request.packed(request);
                (packed.block, line.send(&packed).map(|reply| evidence_request.unpack(request, reply)))
            }
        }
    }

    #[inline]
    fn verify(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        unpacked: Unpacked<Self::Evidence>,
    ) -> Result<Reply, Fault> {
        let Unpacked { reply, evidence: (evidence, acknowledged), is_transaction_refused } = unpacked;
        let answer = Answer { server, request };
        if is_transaction_refused {
            return Err(answer.transaction_refused());
        }
        self.verify_evidence(answer, &reply, evidence)?;
        match acknowledged {
            _ if reply.has_error() || !is_answer(request, &reply) || is_void(request, &reply) => Ok(reply),
            Some(Ok(acknowledged)) if acknowledged < self.replicas => {
                Err(answer.unacknowledged(acknowledged, self.replicas))
            }
            Some(Err(refusal)) => Err(answer.wait_refused(refusal)),
            _ => Ok(reply),
        }
    }

    fn record_fault(&self, request: &Request<'_>, fault: &Fault) {
        if !fault.is_loss() || request.is_read() {
            return;
        }
        let session = self.verification.as_ref().and_then(|verification| verification.session);
        match (&self.pending_raise, session) {
            (Some(pending), _) if !pending.is_spent.get() => pending.session.record_lost_reply(pending.raise),
            (_, Some(session)) => session.record_doubt(),
            (_, None) => {}
        }
    }

    fn why_master(&self) -> Option<&'static str> {
        self.why_master
    }
}

/// Returns whether a transaction was not executed because a watched key had changed.
fn is_void(request: &Request<'_>, reply: &Reply) -> bool {
    match reply {
        Reply::One(value) => request.step() == Some(TransactionStep::Exec) && *value == Value::Nil,
        Reply::Many { kept, .. } => request.is_transaction() && kept[..] == [Value::Nil],
    }
}
