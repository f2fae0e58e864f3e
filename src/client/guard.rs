//! What the reply to one call has to prove, beside being a reply.

use std::time::{Duration, Instant};

use super::envelope::{Account, Envelope, Form, Opened, Silent};
use super::session::SHORTEST_BOUND;
use super::{Aim, ReplicatedClient};
use crate::classification::{Block, Classification, Replies, Request, TransactionStep};
use crate::consistency::{Demand, Evidence, Position, Proof, Relation, Seen, Session, Standpoint, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Role;
use crate::routing::{Fault, ReadFrom, Reply, Stage, is_answer, loss_error};
use crate::topology::{Keeper, LeftOut, Member, Topology};

/// A request, and what is checked of its reply: what the session has seen, how stale a read may be, how many replicas
/// confirm a write.
///
/// Of a call that asks for none of these, nothing is checked and nothing is sent but the request.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    request: &'a Request<'a>,
    envelope: Option<Box<Envelope>>,
    check: Option<Check<'a>>,
    /// So many replicas are to confirm a write.
    replicas: u32,
}

/// What is checked by the server's own account.
#[derive(Debug)]
struct Check<'a> {
    session: Option<&'a Session>,
    demand: Demand,
    staleness: Option<Duration>,
    keeper: &'a Keeper,
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
    pub(super) fn guard<'a>(&'a self, request: &'a Request<'a>) -> Result<Guard<'a>> {
        self.guard_of(request, Form::Within)
    }

    /// Makes the guard of a request on a connection that is kept: an `EXEC` would end what is watched there.
    pub(crate) fn pinned_guard<'a>(&'a self, request: &'a Request<'a>) -> Result<Guard<'a>> {
        self.guard_of(request, Form::Around)
    }

    #[inline]
    fn guard_of<'a>(&'a self, request: &'a Request<'a>, of_one_read: Form) -> Result<Guard<'a>> {
        let options = &self.options;
        if options.session.is_none() && options.max_staleness.is_none() && options.confirmation.is_none() {
            return Ok(Guard::unchecked(request));
        }
        self.checking_guard(request, of_one_read)
    }

    fn checking_guard<'a>(&'a self, request: &'a Request<'a>, of_one_read: Form) -> Result<Guard<'a>> {
        let (options, is_read) = (&self.options, request.is_read());
        let session = options.session.as_deref();
        if is_read && let Some(loss) = session.and_then(Session::take_loss) {
            return Err(loss_error(loss));
        }
        let demand = session.map(Session::demand).unwrap_or_default();
        if is_read && demand.needs_master && options.read_from == ReadFrom::Replica {
            let text = "this handle reads from replicas, and only the master can prove what its session has seen";
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        // Of what is neither read nor written on its own, nothing has to be proven.
        let is_alone = request.class == Classification::Master && request.replies == Replies::One;
        let writes = !is_read && (!is_alone || request.step() == Some(TransactionStep::Exec));
        let staleness = options.max_staleness.filter(|_| is_read);
        let checks = staleness.is_some() || (session.is_some() && (is_read || writes));
        let form = match request.replies {
            _ if !checks => Form::Bare,
            // Inside a transaction it would not block.
            _ if !is_read || request.block != Block::No => Form::Behind,
            Replies::One => of_one_read,
            Replies::Many { .. } => Form::Around,
        };
        let asked = options.confirmation.filter(|asked| writes && asked.replicas > 0);
        let envelope = (form != Form::Bare || asked.is_some())
            .then(|| Box::new(Envelope::seal(request, form, asked.map(|asked| (asked.replicas, asked.limit)))));
        let check = checks.then(|| Check { session, demand, staleness, keeper: &self.shared.keeper });
        Ok(Guard { request, envelope, check, replicas: asked.map_or(0, |asked| asked.replicas) })
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
        Self { request, envelope: None, check: None, replicas: 0 }
    }

    /// The same for what goes on with something: it needs to contain what the beginning had to.
    #[inline]
    pub(super) fn aimed(mut self, aim: Aim<'_>) -> Self {
        if let (Aim::Only { seen: Some(seen), .. }, Some(check)) = (aim, &mut self.check) {
            check.demand.seen = seen;
        }
        self
    }

    #[inline]
    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    #[inline]
    pub(super) fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_deref()
    }

    /// What the reply has to contain.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.check.as_ref().map(|check| check.demand.seen)
    }

    /// The members that cannot prove it: they need not be tried.
    #[inline]
    pub(super) fn left_out(&self, topology: &Topology) -> LeftOut {
        match &self.check {
            Some(check) if self.request.is_read() && (check.demand.needs_master || self.request.block != Block::No) => {
                topology.replicas()
            }
            _ => LeftOut::default(),
        }
    }

    /// What a node should contain, so that it is likely to prove it.
    #[inline]
    pub(super) fn hint(&self, now: Instant) -> Option<Position> {
        let check = self.check.as_ref().filter(|_| self.request.is_read())?;
        check.demand.seen.position().or_else(|| check.freshest_at(now))
    }

    /// Notes an attempt without a complete reply.
    pub(super) fn note_fault(&self, fault: &Fault) {
        if let (Stage::Sent | Stage::Stale, Some(session)) = (fault.stage, self.session())
            && !self.request.is_read()
        {
            session.doubt();
        }
    }

    fn session(&self) -> Option<&Session> {
        self.check.as_ref().and_then(|check| check.session)
    }

    /// Hands out a reply that proves what was asked for, or says why it must not be.
    #[inline]
    pub(super) fn check(&self, member: &Member, opened: Opened) -> Result<Reply, Fault> {
        if self.envelope.is_none() { Ok(opened.reply) } else { self.check_closely(member, opened) }
    }

    fn check_closely(&self, member: &Member, opened: Opened) -> Result<Reply, Fault> {
        let Opened { reply, before, after, confirmed } = opened;
        if !is_answer(self.request, &reply) {
            // Nothing was executed: there is nothing to prove.
            return Ok(reply);
        }
        if let Some(check) = &self.check {
            [&before, &after].into_iter().flatten().flatten().for_each(|evidence| check.note(member, evidence));
            if self.request.is_read() {
                check.read(member, before, after)?;
            } else {
                check.write(self.request, after)?;
            }
        }
        match confirmed {
            Some(confirmed) if confirmed < self.replicas && !reply.has_error() => {
                Err(Fault::new(Stage::Unacknowledged(confirmed), None))
            }
            _ => Ok(reply),
        }
    }
}

impl Check<'_> {
    /// What a node has that is no staler than asked for at this time, if anybody knows.
    fn freshest_at(&self, now: Instant) -> Option<Position> {
        let bound = self.staleness.filter(|bound| *bound >= SHORTEST_BOUND)?;
        self.keeper.chronicle().timeline.at(now.checked_sub(bound)?)
    }

    /// Remembers what a node has just said, for the next choice.
    fn note(&self, member: &Member, evidence: &Evidence) {
        if evidence.is_master() {
            let lineage = &self.keeper.chronicle().lineage;
            lineage.note(evidence);
            let history = evidence.position.history;
            if member.place == Role::Master && !lineage.is_in_office(history) && self.keeper.current().places(member) {
                lineage.note_in_office(history);
            }
        }
        member.set_progress(evidence.position);
    }

    /// Checks the reply to a read.
    fn read(&self, member: &Member, before: Option<Account>, after: Option<Account>) -> Result<(), Fault> {
        let (first, last) = match (before, after) {
            (Some(first), Some(last)) => (first, last),
            (Some(only), None) | (None, Some(only)) => {
                let only = heard(member, only)?;
                (Ok(only), Ok(only))
            }
            // An error that came before anything was executed.
            (None, None) => return Ok(()),
        };
        let (first, last) = (heard(member, first)?, heard(member, last)?);
        if first.is_master() && member.place == Role::Replica {
            // Whether it is the set's master now is not for it to say.
            member.observe_role(Role::Master);
            return Err(Fault::new(Stage::WrongRole, None));
        }
        let accepted = self.accept(&first, &last);
        if accepted == Err(Stage::Unproven) && (first.is_master() || !self.is_in_line(&first)) {
            // There may be another master for so short a time that the monitor has not seen it yet.
            member.ring();
        }
        accepted.map_err(|stage| Fault::new(stage, None))
    }

    fn accept(&self, first: &Evidence, last: &Evidence) -> Result<(), Stage> {
        let is_one = first.position.history == last.position.history && first.standpoint == last.standpoint;
        if !is_one || !self.is_fresh(first) {
            return Err(Stage::Unproven);
        }
        let Some(session) = self.session else { return Ok(()) };
        if first.is_master() {
            for evidence in [first, last] {
                match session.read_from_master(
                    &self.demand,
                    evidence,
                    &self.keeper.chronicle().lineage,
                    self.keeper.is_monitored(),
                ) {
                    Step::Accept => {}
                    Step::Tell(loss) => return Err(Stage::Lost(loss)),
                    Step::Wait => return Err(Stage::Unproven),
                }
            }
            return Ok(());
        }
        let is_proven = first.standpoint == Standpoint::Replica
            && self.is_in_line(first)
            && self.demand.seen.position().is_none_or(|seen| self.contains(first, seen));
        if self.demand.needs_master || !is_proven {
            return Err(Stage::Unproven);
        }
        match session.read_from_replica(last, &self.keeper.chronicle().lineage) {
            Step::Tell(loss) => Err(Stage::Lost(loss)),
            Step::Accept | Step::Wait => Ok(()),
        }
    }

    /// Tells whether a replica has nothing but what the set's master has. Where that one is silent, its successor may be about
    /// to be found.
    fn is_in_line(&self, evidence: &Evidence) -> bool {
        let is_silent = || {
            let topology = self.keeper.current();
            topology.master().is_some_and(|master| topology.members()[master].is_awaited())
        };
        self.keeper.chronicle().lineage.is_in_line(evidence.position) || is_silent()
    }

    /// Tells whether a node contains a position, by its word or by what is known of its history.
    fn contains(&self, evidence: &Evidence, seen: Position) -> bool {
        let is_descendant = || {
            evidence.standpoint != Standpoint::Adrift
                && evidence.position.offset >= seen.offset
                && self.keeper.chronicle().lineage.relate(seen, evidence.position.history) == Relation::Contained
        };
        evidence.prove(seen) == Proof::Contained || is_descendant()
    }

    /// Tells whether a node has everything that was written before the bound, at the time when its reply is here.
    fn is_fresh(&self, evidence: &Evidence) -> bool {
        if self.staleness.is_none() {
            return true;
        }
        match self.freshest_at(Instant::now()) {
            Some(fresh) => self.contains(evidence, fresh),
            // The master was not asked for so long. It is as fresh as itself.
            None => evidence.is_master(),
        }
    }

    /// Takes the reply to a write into account.
    fn write(&self, request: &Request<'_>, after: Option<Account>) -> Result<(), Fault> {
        let Some(session) = self.session else { return Ok(()) };
        match after {
            Some(Ok(evidence)) if evidence.is_master() => {
                session.wrote(&self.demand, &evidence, &self.keeper.chronicle().lineage)
            }
            // Demoted meanwhile: what was read in between may be old.
            Some(Ok(_)) if request.replies != Replies::One => {
                session.doubt();
                return Err(Fault::new(Stage::Unproven, None));
            }
            _ => session.doubt(),
        }
        Ok(())
    }
}

/// What a node said of itself. If it said nothing, another one may; the master has the last word.
fn heard(member: &Member, account: Account) -> Result<Evidence, Fault> {
    account.map_err(|Silent { refusal }| {
        let stage = if member.place == Role::Master { Stage::Silent } else { Stage::Unproven };
        Fault::new(stage, refusal.map(Into::into))
    })
}
