//! What sessions, bounds on staleness and confirmations add around a call.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;

use super::evidence_request::{EvidenceRequest, Shown};
use super::fence_request::{FenceEvidence, FenceRequest, is_fence, touch};
use super::info_request::{Confirmed, Form, InfoRequest};
use super::message::{Answer, loss_error};
use super::mode::SessionMode;
use super::state::{Kind, Raise, Requirement, Session};
use super::token::Seen;
use super::verification::Verification;
use crate::call::{Around, CallOptions, Pinned, Router, Served, Stop, Unpacked, run};
use crate::classification::{Block, Classification, Request, TransactionStep};
use crate::error::{Error, ErrorKind, Result};
use crate::replication::Role;
use crate::retry::{Fault, Reply, is_answer};
use crate::selection::{Affinity, ReadFrom, Suits};
use crate::topology::{Assigned, Hint, Topology};

/// What a handle asks of its calls, beside a reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) confirmation: Option<Confirmation>,
    pub(crate) session: Option<Arc<Session>>,
}

/// A write waits for so many replicas to confirm it, for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirmation {
    pub(crate) replicas: u32,
    pub(crate) limit: Duration,
}

/// One call of a handle that asks for something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCall<'a> {
    pub(crate) router: &'a Router,
    pub(crate) options: CallOptions,
    pub(crate) asked: &'a Asked,
    /// What the beginning of a scan had to contain, which goes on with this call.
    pub(crate) began_at: Option<Seen>,
}

/// What is added around one request, and what its reply has to prove.
#[derive(Debug)]
pub(crate) struct SessionAround<'a> {
    request: &'a Request<'a>,
    form: Option<EvidenceRequest>,
    /// For servers that refuse a transaction around a read; made when it is needed.
    form_without_transaction: OnceCell<Option<EvidenceRequest>>,
    raising: Option<Raising<'a>>,
    verification: Option<Verification<'a>>,
    /// Why only the master can serve this read, where that is so.
    why_master: Option<&'static str>,
    /// So many replicas are to confirm a write.
    replicas: u32,
}

/// A write that raises its session's fence. Once it is over, the session counts on it no more.
#[derive(Debug)]
struct Raising<'a> {
    session: &'a Session,
    raise: Raise,
    /// The fence was raised without the write: the same number never stands for a second attempt.
    is_spent: Cell<bool>,
}

impl Drop for Raising<'_> {
    fn drop(&mut self) {
        self.session.cancel(self.raise);
    }
}

impl Asked {
    /// Records that something was written whose place in the history is not known yet.
    pub(crate) fn doubt(&self) {
        if let Some(session) = &self.session {
            session.doubt();
        }
    }
}

impl<'a> SessionCall<'a> {
    /// Routes a request. Returns also what the reply had to contain.
    pub(crate) fn run(
        self,
        request: &Request<'_>,
        affinity: Affinity<'_>,
    ) -> std::result::Result<(Served, Option<Seen>), Stop> {
        let options = self.keep_fence(request);
        let around = self.around(request, false).map_err(Stop::Error)?;
        let served = run(self.router, request, options, affinity, &around)?;
        Ok((served, around.seen()))
    }

    /// Runs a request on a pinned connection: an `EXEC` would end what is watched there.
    pub(crate) fn run_pinned(self, pinned: &mut Pinned, request: &Request<'_>) -> Result<(Reply, Option<Seen>)> {
        let around = self.around(request, true)?;
        let reply = pinned.run(self.router, request, self.options, &around)?;
        Ok((reply, around.seen()))
    }

    fn around<'r>(&self, request: &'r Request<'r>, is_pinned: bool) -> Result<SessionAround<'r>>
    where
        'a: 'r,
    {
        let is_read = request.is_read();
        let session = self.asked.session.as_deref();
        if is_read && let Some(loss) = session.and_then(Session::take_loss) {
            return Err(loss_error(loss));
        }
        let mut around = SessionAround::of(self, request);
        if let Some(why) = around.why_master
            && self.options.read_from == ReadFrom::Replica
        {
            let text = format!("{request} is to be read from replicas, and {why}");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // Of what is neither read nor written on its own, nothing has to be proven.
        let is_alone = request.class == Classification::Master && request.is_single();
        let writes = !is_read && (!is_alone || request.step() == Some(TransactionStep::Exec));
        let confirmation = self.asked.confirmation.filter(|asked| writes && asked.replicas > 0);
        let fence = session.filter(|session| session.mode() == SessionMode::Fence);
        let checks_staleness = self.asked.max_staleness.is_some() && is_read;
        around.form = match fence {
            Some(session) if is_read || writes => around.fence_form(session, is_pinned, confirmation),
            Some(_) => None,
            None => {
                let checks = checks_staleness || (session.is_some() && (is_read || writes));
                info_form(request, checks, is_pinned, confirmation)
            }
        };
        let goes_unfenced = fence.is_some() && writes;
        let checks = goes_unfenced || (around.form.is_some() && (session.is_some() || checks_staleness));
        if !checks {
            around.verification = None;
        }
        let raise = around.form.as_ref().and_then(EvidenceRequest::raise).zip(session);
        around.raising = raise.map(|(raise, session)| Raising { session, raise, is_spent: Cell::new(false) });
        around.replicas = confirmation.map_or(0, |confirmation| confirmation.replicas);
        Ok(around)
    }

    /// Has what was seen stand behind a fence that is young and proves it on replicas: if there is none, by a write that does
    /// nothing else. If that fails, a later call tries again. Returns the options of the read, with the time that is left.
    fn keep_fence(&self, request: &Request<'_>) -> CallOptions {
        let session = self.asked.session.as_deref().filter(|session| session.mode() == SessionMode::Fence);
        let Some(session) = session.filter(|_| request.is_read()) else { return self.options };
        let began = Instant::now();
        let Some(name) = session.wants_fence(began) else { return self.options };
        let packed = touch(name).get_packed_command();
        if let Ok(request) = Request::command(&packed, &self.router.classifier) {
            // A part of the time that the read has, and no waiting for replicas.
            let options = CallOptions { deadline: self.options.deadline / 4, ..self.options };
            let asked = Asked { confirmation: None, ..self.asked.clone() };
            let _ = SessionCall { options, asked: &asked, began_at: None, ..*self }.run(&request, Affinity::Any);
        }
        self.options.since(began)
    }
}

/// Asks the server by `INFO` how much it contains, and has the write confirmed.
fn info_form(
    request: &Request<'_>,
    checks: bool,
    is_pinned: bool,
    confirmation: Option<Confirmation>,
) -> Option<EvidenceRequest> {
    let form = match (checks, request.is_read()) {
        (false, _) => Form::Bare,
        // Inside a transaction it would not block.
        (true, true) if !request.blocks() && request.is_single() && !is_pinned => Form::Within,
        (true, true) if !request.blocks() => Form::Around,
        (true, _) => Form::Behind,
    };
    let asked = confirmation.map(|asked| (asked.replicas, asked.limit));
    (checks || asked.is_some()).then(|| EvidenceRequest::Info(InfoRequest::new(request, form, asked)))
}

impl<'a> SessionAround<'a> {
    /// Returns what the reply to a call that begins now has to prove; nothing is added to the request yet.
    pub(crate) fn of(call: &SessionCall<'a>, request: &'a Request<'a>) -> Self {
        let session = call.asked.session.as_deref();
        let staleness = call.asked.max_staleness.filter(|_| request.is_read());
        let mut requirement = session.map(Session::requirement).unwrap_or_default();
        let is_fenced = session.is_some_and(|session| session.mode() == SessionMode::Fence);
        // No fence says how old what is behind it may be.
        requirement.needs_master |= is_fenced && staleness.is_some();
        match (session.filter(|_| is_fenced), call.began_at) {
            (Some(session), Some(seen)) => requirement.begin_at(session, seen),
            (None, Some(seen)) => requirement.seen = seen,
            (_, None) => {}
        }
        let store = &*call.router.store;
        let verification = Verification { session, requirement, staleness, store, began: Instant::now() };
        let checks = request.is_read() && (session.is_some() || staleness.is_some());
        let why_master = if checks { verification.why_master(request) } else { None };
        Self {
            request,
            form: None,
            form_without_transaction: OnceCell::new(),
            raising: None,
            verification: Some(verification).filter(|_| checks || session.is_some()),
            why_master,
            replicas: 0,
        }
    }

    /// Puts a request behind the session's fence, or has it raise that.
    fn fence_form(
        &self,
        session: &Session,
        is_pinned: bool,
        confirmation: Option<Confirmation>,
    ) -> Option<EvidenceRequest> {
        let request = self.request;
        if request.is_read() {
            let requirement = self.requirement();
            let reads = requirement.seen.fence().is_some() || requirement.open.is_some() || requirement.needs_master;
            return reads.then(|| EvidenceRequest::Fence(FenceRequest::read(request, &requirement, is_pinned)));
        }
        let is_transaction = (request.is_single() && !request.blocks()) || request.is_transaction();
        let kind = match request.key {
            Some(key) if is_fence(key) => Kind::Touch,
            _ if is_pinned || !is_transaction => Kind::Split,
            _ => Kind::Whole,
        };
        let raise = session.raise(Instant::now(), rand::random(), rand::random(), kind)?;
        let fenced = FenceRequest::write(request, raise, is_pinned);
        Some(EvidenceRequest::Fence(match confirmation {
            Some(asked) => fenced.confirmed_by(asked.replicas, asked.limit),
            None => fenced,
        }))
    }

    /// Returns the form in which the request is sent to this server.
    #[inline]
    fn form(&self, server: &Assigned, now: Instant) -> Option<&EvidenceRequest> {
        let form = self.form.as_ref().filter(|_| !self.is_spent())?;
        let plain = if server.refused.transactions(now) { self.without_transaction(form) } else { None };
        plain.or(Some(form))
    }

    #[cold]
    fn without_transaction(&self, form: &EvidenceRequest) -> Option<&EvidenceRequest> {
        let plain = || form.without_transaction(self.request, &self.requirement());
        self.form_without_transaction.get_or_init(plain).as_ref()
    }

    fn is_spent(&self) -> bool {
        self.raising.as_ref().is_some_and(|raising| raising.is_spent.get())
    }

    fn requirement(&self) -> Requirement {
        self.verification.as_ref().map(|verification| verification.requirement).unwrap_or_default()
    }

    /// Returns what the reply has to contain.
    fn seen(&self) -> Option<Seen> {
        self.verification.as_ref().map(|verification| verification.requirement.seen)
    }

    /// Returns whether a fence is to prove it, and the servers are of a kind whose replicas it does not prove.
    fn has_no_order(&self, topology: &Topology) -> bool {
        matches!(self.form, Some(EvidenceRequest::Fence(_)))
            && topology.servers().iter().any(|server| server.refused.fences())
    }

    /// Returns what a server should contain, so that it is likely to prove the reply.
    #[inline]
    fn hint(&self, now: Instant) -> Hint {
        let verification = self.verification.as_ref().filter(|_| self.request.is_read());
        verification.map_or(Hint::None, |verification| verification.hint(now))
    }

    /// Takes what a server said beside a reply into account.
    fn verify_evidence(&self, answer: Answer<'_>, reply: &Reply, shown: Shown) -> Result<(), Fault> {
        if is_answer(answer.request, reply) {
            let verification = self.verification.as_ref();
            return verification.map_or(Ok(()), |verification| verification.verify(answer, shown));
        }
        // Nothing was executed: there is nothing to prove. But the fence may have been raised.
        if let (Some(verification), Some(raising), Shown::Fence(FenceEvidence::Raised { .. })) =
            (&self.verification, &self.raising, &shown)
        {
            raising.is_spent.set(true);
            verification.verify(answer, shown)?;
        }
        Ok(())
    }
}

impl Around for SessionAround<'_> {
    type Evidence = (Shown, Option<Confirmed>);

    #[inline]
    fn rank(&self, topology: &Topology, server: &Assigned, now: Instant) -> Suits {
        let is_replica = || server.assigned_role == Role::Replica;
        if self.request.is_read() && is_replica() && (self.why_master.is_some() || self.has_no_order(topology)) {
            Suits::Unable
        } else if server.progress.may_have(self.hint(now), now) {
            Suits::Likely
        } else {
            Suits::Unlikely
        }
    }

    #[inline]
    fn exchange(
        &self,
        request: &Request<'_>,
        server: &Assigned,
        now: Instant,
        send: impl FnOnce(&Request<'_>) -> Result<Reply, Fault>,
    ) -> (Block, Result<Unpacked<Self::Evidence>, Fault>) {
        match self.form(server, now) {
            None => {
                let plain =
                    |reply| Unpacked { reply, evidence: (Shown::Nothing, None), is_refused_in_this_form: false };
                (request.block, send(request).map(plain))
            }
            Some(form) => {
                let packed = form.packed(request);
                (packed.block, send(&packed).map(|reply| form.unpack(request, reply)))
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
        let Unpacked { reply, evidence: (shown, confirmed), is_refused_in_this_form } = unpacked;
        let answer = Answer { server, request };
        if is_refused_in_this_form {
            return Err(answer.respell());
        }
        self.verify_evidence(answer, &reply, shown)?;
        match confirmed {
            _ if reply.has_error() || !is_answer(request, &reply) || is_void(request, &reply) => Ok(reply),
            Some(Ok(confirmed)) if confirmed < self.replicas => Err(answer.unacknowledged(confirmed, self.replicas)),
            Some(Err(refusal)) => Err(answer.unconfirmed(refusal)),
            _ => Ok(reply),
        }
    }

    fn record_fault(&self, request: &Request<'_>, fault: &Fault) {
        if !fault.is_loss() || request.is_read() {
            return;
        }
        let session = self.verification.as_ref().and_then(|verification| verification.session);
        match (&self.raising, session) {
            (Some(raising), _) if !raising.is_spent.get() => raising.session.lose(raising.raise),
            (_, Some(session)) => session.doubt(),
            (_, None) => {}
        }
    }

    fn why_master(&self) -> Option<&'static str> {
        self.why_master
    }
}

/// Returns whether a transaction was not executed, because something watched had changed.
fn is_void(request: &Request<'_>, reply: &Reply) -> bool {
    match reply {
        Reply::One(value) => request.step() == Some(TransactionStep::Exec) && *value == Value::Nil,
        Reply::Many { kept, .. } => request.is_transaction() && kept[..] == [Value::Nil],
    }
}
