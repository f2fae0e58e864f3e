//! What the reply to one call has to prove, beside being a reply.

use std::cell::{Cell, OnceCell};
use std::time::{Duration, Instant};

use redis::{RedisError, Value};

use super::check::Check;
use super::clock::Clock;
use super::envelope::{Envelope, Form};
use super::fence::{Fenced, Word, is_fence, touch};
use super::sealed::{Sealed, Told, Unsealed};
use super::{Aim, Options, ReplicatedClient};
use crate::addr::NodeAddr;
use crate::classification::{Block, Classification, Request, TransactionStep};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::retry::{Fault, Reply, Stage, is_answer, loss_error};
use crate::selection::ReadFrom;
use crate::session::{Kind, Raise, Requirement, Seen, Session, SessionMode};
use crate::topology::{Assigned, Hint, LeftOut, Topology};

/// A request, and what is checked of its reply: what the session has seen, how stale a read may be, how many replicas
/// confirm a write.
///
/// Of a call that asks for none of these, nothing is checked and nothing is sent but the request.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    request: &'a Request<'a>,
    envelope: Option<Box<Sealed>>,
    /// For nodes that refuse a transaction around a read; made when it is needed.
    plain: OnceCell<Option<Box<Sealed>>>,
    raising: Option<Raising<'a>>,
    check: Option<Check<'a>>,
    /// Who is not asked again, after one node answered what another one may better.
    turned_from: TurnedFrom,
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

/// Nodes that are not asked again.
#[derive(Debug, Default)]
enum TurnedFrom {
    #[default]
    Nobody,
    One(NodeAddr),
    Replicas,
}

/// A write waits for so many replicas to confirm it, for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confirmation {
    pub(crate) replicas: u32,
    pub(crate) limit: Duration,
}

impl ReplicatedClient {
    /// Makes the guard of a call.
    #[inline]
    pub(super) fn guard<'a>(&'a self, request: &'a Request<'a>, aim: Aim<'_>, clock: &mut Clock) -> Result<Guard<'a>> {
        if let Some(session) = self.options.session.as_deref().filter(|_| request.is_read()) {
            self.keep_fence(session, clock);
        }
        Ok(self.guard_of(request, false)?.aimed(aim))
    }

    /// Makes the guard of a request on a connection that is kept: an `EXEC` would end what is watched there.
    pub(crate) fn pinned_guard<'a>(&'a self, request: &'a Request<'a>) -> Result<Guard<'a>> {
        self.guard_of(request, true)
    }

    #[inline]
    fn guard_of<'a>(&'a self, request: &'a Request<'a>, is_pinned: bool) -> Result<Guard<'a>> {
        let options = &self.options;
        if options.session.is_none() && options.max_staleness.is_none() && options.confirmation.is_none() {
            return Ok(Guard::unchecked(request));
        }
        self.checking_guard(request, is_pinned)
    }

    fn checking_guard<'a>(&'a self, request: &'a Request<'a>, is_pinned: bool) -> Result<Guard<'a>> {
        let (options, is_read) = (&self.options, request.is_read());
        let session = options.session.as_deref();
        if is_read && let Some(loss) = session.and_then(Session::take_loss) {
            return Err(loss_error(loss));
        }
        let check = self.check_of(request);
        let staleness = check.staleness;
        let fence = session.filter(|session| session.mode() == SessionMode::Fence);
        if let Some(why) = is_read.then(|| check.why_master(request)).flatten()
            && options.read_from == ReadFrom::Replica
            && (session.is_some() || staleness.is_some())
        {
            let text = format!("{request} is to be read from replicas, and {why}");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // Of what is neither read nor written on its own, nothing has to be proven.
        let is_alone = request.class == Classification::Master && request.is_single();
        let writes = !is_read && (!is_alone || request.step() == Some(TransactionStep::Exec));
        let asked = options.confirmation.filter(|asked| writes && asked.replicas > 0);
        let envelope = match fence {
            Some(session) if is_read || writes => self.fence(session, &check.requirement, request, is_pinned, asked),
            Some(_) => None,
            None => {
                let checks = staleness.is_some() || (session.is_some() && (is_read || writes));
                let form = match (checks, is_read) {
                    (false, _) => Form::Bare,
                    // Inside a transaction it would not block.
                    (true, true) if request.block == Block::No && request.is_single() && !is_pinned => Form::Within,
                    (true, true) if request.block == Block::No => Form::Around,
                    (true, _) => Form::Behind,
                };
                let asked = asked.map(|asked| (asked.replicas, asked.limit));
                let seals = checks || asked.is_some();
                seals.then(|| Box::new(Sealed::Account(Envelope::seal(request, form, asked))))
            }
        };
        let goes_unfenced = fence.is_some() && writes;
        let checks = goes_unfenced || (envelope.is_some() && (session.is_some() || staleness.is_some()));
        let check = checks.then_some(check);
        let raise = envelope.as_deref().and_then(Sealed::raise).zip(session);
        Ok(Guard {
            request,
            envelope,
            plain: OnceCell::new(),
            raising: raise.map(|(raise, session)| Raising { session, raise, is_spent: Cell::new(false) }),
            check,
            turned_from: TurnedFrom::Nobody,
            replicas: asked.map_or(0, |asked| asked.replicas),
        })
    }

    /// Returns what the reply to a call that begins now has to prove.
    pub(super) fn check_of(&self, request: &Request<'_>) -> Check<'_> {
        let session = self.options.session.as_deref();
        let staleness = self.options.max_staleness.filter(|_| request.is_read());
        let mut requirement = session.map(Session::requirement).unwrap_or_default();
        let is_fenced = session.is_some_and(|session| session.mode() == SessionMode::Fence);
        // No fence says how old what is behind it may be.
        requirement.needs_master |= is_fenced && staleness.is_some();
        Check { session, requirement, staleness, store: &self.shared.store, began: Instant::now() }
    }

    /// Puts a request behind the session's fence, or has it raise that.
    fn fence(
        &self,
        session: &Session,
        requirement: &Requirement,
        request: &Request<'_>,
        is_pinned: bool,
        asked: Option<Confirmation>,
    ) -> Option<Box<Sealed>> {
        if request.is_read() {
            let reads = requirement.seen.fence().is_some() || requirement.open.is_some() || requirement.needs_master;
            return reads.then(|| Box::new(Sealed::Fence(Fenced::read(request, requirement, is_pinned))));
        }
        let is_transaction = (request.is_single() && request.block == Block::No) || request.is_transaction();
        let kind = match request.key {
            Some(key) if is_fence(key) => Kind::Touch,
            _ if is_pinned || !is_transaction => Kind::Split,
            _ => Kind::Whole,
        };
        let raise = session.raise(Instant::now(), rand::random(), rand::random(), kind)?;
        let fenced = Fenced::write(request, raise, is_pinned);
        let fenced = match asked {
            Some(asked) => fenced.confirmed_by(asked.replicas, asked.limit),
            None => fenced,
        };
        Some(Box::new(Sealed::Fence(fenced)))
    }

    /// Has what was seen stand behind a fence that is young and proves it on replicas: if there is none, by a write that does
    /// nothing else. If that fails, a later call tries again.
    fn keep_fence(&self, session: &Session, clock: &mut Clock) {
        if session.mode() != SessionMode::Fence {
            return;
        }
        let Some(name) = session.wants_fence(clock.now()) else { return };
        let packed = touch(name).get_packed_command();
        if let Ok(request) = Request::command(&packed, self.classifier()) {
            // A part of the time that the read has, and no waiting for replicas.
            let options = Options { deadline: self.options.deadline / 4, confirmation: None, ..self.options.clone() };
            let _ = self.with(options).call(&request, Aim::Any);
        }
        clock.look();
    }
}

impl ReplicatedClient {
    /// Notes that something was written whose place in the history is not known yet.
    pub(crate) fn doubt(&self) {
        if let Some(session) = &self.options.session {
            session.doubt();
        }
    }
}

impl<'a> Guard<'a> {
    pub(crate) fn unchecked(request: &'a Request<'a>) -> Self {
        Self {
            request,
            envelope: None,
            plain: OnceCell::new(),
            raising: None,
            check: None,
            turned_from: TurnedFrom::Nobody,
            replicas: 0,
        }
    }

    #[inline]
    pub(super) fn aimed(self, aim: Aim<'_>) -> Self {
        if let Aim::Only { seen, .. } = aim { self.since(seen) } else { self }
    }

    /// The same for what goes on with something: it needs to contain what the beginning had to.
    pub(crate) fn since(mut self, began_at: Option<Seen>) -> Self {
        if let (Some(seen), Some(check)) = (began_at, &mut self.check) {
            match check.session.filter(|session| session.mode() == SessionMode::Fence) {
                Some(session) => check.requirement.begin_at(session, seen),
                None => check.requirement.seen = seen,
            }
        }
        self
    }

    #[inline]
    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// The form in which the request is sent to this node.
    #[inline]
    pub(super) fn envelope(&self, server: &Assigned, now: Instant) -> Option<&Sealed> {
        let envelope = self.envelope.as_deref().filter(|_| !self.is_spent())?;
        let plain = if server.refused.transactions(now) { self.plain(envelope) } else { None };
        plain.or(Some(envelope))
    }

    fn is_spent(&self) -> bool {
        self.raising.as_ref().is_some_and(|raising| raising.is_spent.get())
    }

    #[cold]
    fn plain(&self, envelope: &Sealed) -> Option<&Sealed> {
        let requirement = self.check.as_ref().map(|check| check.requirement).unwrap_or_default();
        self.plain.get_or_init(|| envelope.without_transaction(self.request, &requirement)).as_deref()
    }

    /// What the reply has to contain.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.check.as_ref().map(|check| check.requirement.seen)
    }

    /// Turns from a node, or from all replicas, to the others.
    #[cold]
    pub(super) fn turn_from(&mut self, node: &Node, all_replicas: bool) {
        self.turned_from = if all_replicas { TurnedFrom::Replicas } else { TurnedFrom::One(node.addr().clone()) };
    }

    pub(super) fn has_turned_away(&self) -> bool {
        !matches!(self.turned_from, TurnedFrom::Nobody)
    }

    /// The members that cannot prove it, or have refused: they need not be tried.
    #[inline]
    pub(super) fn left_out(&self, topology: &Topology) -> LeftOut {
        match &self.turned_from {
            TurnedFrom::Nobody => self.unable(topology),
            TurnedFrom::Replicas => topology.replicas(),
            TurnedFrom::One(addr) => self.unable(topology).and(topology.only(addr)),
        }
    }

    #[inline]
    fn unable(&self, topology: &Topology) -> LeftOut {
        let is_left = self.why_master().is_some() || (self.request.is_read() && self.has_no_order(topology));
        if is_left { topology.replicas() } else { LeftOut::default() }
    }

    /// Returns why only the master can serve this read, where that is so.
    #[inline]
    pub(super) fn why_master(&self) -> Option<&'static str> {
        self.check.as_ref().filter(|_| self.request.is_read())?.why_master(self.request)
    }

    /// Returns whether a fence is to prove it, and the servers are of a kind whose replicas it does not prove.
    fn has_no_order(&self, topology: &Topology) -> bool {
        matches!(self.envelope.as_deref(), Some(Sealed::Fence(_)))
            && topology.servers().iter().any(|server| server.refused.fences())
    }

    /// What a node should have, so that it is likely to prove what is asked for.
    #[inline]
    pub(super) fn hint(&self, now: Instant) -> Hint {
        self.check.as_ref().filter(|_| self.request.is_read()).map_or(Hint::None, |check| check.hint(now))
    }

    /// Notes an attempt without a complete reply.
    pub(super) fn note_fault(&self, fault: &Fault) {
        if !fault.is_loss() || self.request.is_read() {
            return;
        }
        match (&self.raising, self.session()) {
            (Some(raising), _) if !raising.is_spent.get() => raising.session.lose(raising.raise),
            (_, Some(session)) => session.doubt(),
            (_, None) => {}
        }
    }

    fn session(&self) -> Option<&Session> {
        self.check.as_ref().and_then(|check| check.session)
    }

    /// Hands out a reply that proves what was asked for, or says why it must not be.
    #[inline]
    pub(super) fn check(&self, server: &Assigned, opened: Unsealed) -> Result<Reply, Fault> {
        if self.envelope.is_none() && self.check.is_none() {
            Ok(opened.reply)
        } else {
            self.check_closely(server, opened)
        }
    }

    fn check_closely(&self, server: &Assigned, opened: Unsealed) -> Result<Reply, Fault> {
        let Unsealed { reply, told, confirmed, is_spoiled } = opened;
        if is_spoiled {
            return Err(Fault::new(Stage::Spoiled, None));
        }
        if !is_answer(self.request, &reply) {
            // Nothing was executed: there is nothing to prove. But the fence may have been raised.
            if let (Some(check), Some(raising), Told::Fence(Word::Raised { .. })) = (&self.check, &self.raising, &told)
            {
                raising.is_spent.set(true);
                check.proves(server, self.request, told)?;
            }
            return Ok(reply);
        }
        if let Some(check) = &self.check {
            check.proves(server, self.request, told)?;
        }
        let asked = self.replicas;
        match confirmed {
            _ if reply.has_error() || is_void(self.request, &reply) => Ok(reply),
            Some(Ok(confirmed)) if confirmed < asked => {
                Err(Fault::new(Stage::Unacknowledged { confirmed, asked }, None))
            }
            Some(Err(refusal)) => Err(Fault::new(Stage::Unconfirmed, RedisError::from(refusal))),
            _ => Ok(reply),
        }
    }
}

/// Tells whether a transaction was not executed, because something watched had changed.
fn is_void(request: &Request<'_>, reply: &Reply) -> bool {
    match reply {
        Reply::One(value) => request.step() == Some(TransactionStep::Exec) && *value == Value::Nil,
        Reply::Many { kept, .. } => request.is_transaction() && kept[..] == [Value::Nil],
    }
}
