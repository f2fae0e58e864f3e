//! One attempt on one node: a connection that leads where the topology says, the request, the reply.

use std::time::{Duration, Instant};

use redis::{ServerError, ServerErrorKind, Value};

use super::clock::{Clock, patience};
use super::guard::Guard;
use super::sealed::Unsealed;
use super::server_error;
use crate::classification::{Block, Request};
use crate::error::{Error, ErrorKind};
use crate::node::{Outcome, Role, SyncState};
use crate::pool::Lease;
use crate::routing::{Fault, Reply, Stage, Waited, is_not_serving};
use crate::topology::Member;

/// A connection idle for this long is proven by one question before a write goes out on it.
const PROVEN_FOR: Duration = Duration::from_secs(1);
/// How long a write tries to connect to a master that is ejected.
const GLANCE: Duration = Duration::from_millis(100);
/// Named where an attempt was over because the call was.
const DEADLINE: &str = "deadline";

/// Tries one node once.
#[inline]
pub(super) fn attempt(member: &Member, guard: &Guard<'_>, clock: &Clock, has_more: bool) -> Result<Reply, Fault> {
    let request = guard.request();
    let _in_flight = member.node.begin();
    let _probe = member.node.admit(clock.now()).map_err(|_| Fault::new(Stage::Avoided, None))?;
    let end = clock.attempt_end(has_more);
    let mut lease = take(member, !request.is_read(), clock, end)?;
    let reply = exchange(member, &mut lease, guard, clock, end);
    // One that lags behind has answered as well.
    let is_answer = reply.as_ref().map_or_else(|fault| fault.stage == Stage::Unproven, |_| true);
    // What it took to connect says little about the next call.
    if is_answer && request.is_timed() && !lease.took_time() && member.node.is_timed(clock.now()) {
        let now = Instant::now();
        member.node.record_at(Outcome::Answered, now.saturating_duration_since(clock.now()), now);
    }
    reply
}

/// Takes a connection that leads where the topology says.
#[inline]
pub(super) fn take(member: &Member, must_be_alive: bool, clock: &Clock, end: Option<Instant>) -> Result<Lease, Fault> {
    let by = if must_be_alive && member.node.is_ejected() { ready_by(member, clock, end) } else { end };
    let checkout = member.pool.checkout(member.node.in_flight(), by);
    let mut lease = checkout.map_err(|fault| blame(member, fault, clock, (end, by)))?;
    let end = by;
    prepare(member, &mut lease, must_be_alive, clock, end)?;
    Ok(lease)
}

/// When the connection to an ejected master must be there. While it is silent, another may have taken its place: a write
/// should not wait long before it looks again. Without a monitor, calls are the probes, and have the time of one.
#[cold]
fn ready_by(member: &Member, clock: &Clock, end: Option<Instant>) -> Option<Instant> {
    let soon = clock.now() + GLANCE;
    if member.bell.is_some() { Some(end.map_or(soon, |end| end.min(soon))) } else { end }
}

/// Where others wait for a node that is out, it is not this process's doing that no connection is free. `end`: of the
/// attempt; `by`: when the connection had to be there.
#[cold]
fn blame(member: &Member, fault: Fault, clock: &Clock, (end, by): (Option<Instant>, Option<Instant>)) -> Fault {
    let limits = member.pool.limits();
    let limit = match fault.stage {
        Stage::Checkout => Waited { setting: "checkout_timeout", time: limits.checkout },
        _ => Waited { setting: "connect_timeout", time: limits.connect },
    };
    let reason = if by == end { DEADLINE } else { "the node is ejected" };
    let fault = fault.after_waiting(limit, clock.now(), by.map(|by| (by, reason)));
    let is_out = member.node.is_ejected() || member.node.role() != member.place;
    if fault.stage == Stage::Checkout && is_out { Fault { stage: Stage::Avoided, ..fault } } else { fault }
}

/// Makes sure that a lent connection leads where the topology says, before anything is sent on it.
#[inline]
pub(super) fn prepare(
    member: &Member,
    lease: &mut Lease,
    must_be_alive: bool,
    clock: &Clock,
    end: Option<Instant>,
) -> Result<(), Fault> {
    if must_be_alive && member.node.sync_state() == SyncState::Diverged {
        // Another master was found since this call began.
        return Err(Fault::new(Stage::WrongRole, None));
    }
    if must_be_alive && !lease.has_served() && member.is_awaited() {
        // It may have come back empty, while another is about to be the master: the monitor looks first.
        member.ring();
        return Err(Fault::new(Stage::Avoided, None));
    }
    let is_doubtful = !member.is_in_place(lease.role());
    // A write that is sent to a node known to be dead, on a connection that is open only from this side, is in doubt.
    let needs_proof = || has_rested(lease, clock) || member.node.is_ejected();
    if is_doubtful || (must_be_alive && needs_proof()) { prove(member, lease, clock, end) } else { Ok(()) }
}

#[inline]
fn has_rested(lease: &Lease, clock: &Clock) -> bool {
    let since = |last| clock.now().saturating_duration_since(last);
    lease.has_served() && lease.last_used().is_some_and(|last| since(last) >= PROVEN_FOR)
}

/// Asks the server what it is, unless it just said so, and compares that with the topology.
#[cold]
fn prove(member: &Member, lease: &mut Lease, clock: &Clock, end: Option<Instant>) -> Result<(), Fault> {
    if lease.has_served() {
        let last_used = lease.last_used();
        let response = member.pool.limits().response;
        let limit = clock.now() + response;
        let by = end.map_or(limit, |end| end.min(limit));
        let waited = Waited { setting: "response_timeout", time: response };
        lease.ask_role(by).map_err(|fault| {
            distrust(member, &fault, last_used);
            fault.after_waiting(waited, clock.now(), end.map(|end| (end, DEADLINE)))
        })?;
    }
    let Some(role) = lease.role() else { return Ok(()) };
    member.observe_role(role);
    if role == member.place {
        return Ok(());
    }
    // The next attempt asks again, on a fresh connection.
    lease.discard();
    Err(Fault::new(Stage::WrongRole, None))
}

/// Sends a request on a connection that is ready for it.
#[inline]
pub(super) fn exchange(
    member: &Member,
    lease: &mut Lease,
    guard: &Guard<'_>,
    clock: &Clock,
    end: Option<Instant>,
) -> Result<Reply, Fault> {
    let (request, last_used) = (guard.request(), lease.last_used());
    let now = if lease.took_time() { Instant::now() } else { clock.now() };
    let send = |lease: &mut Lease, request: &Request<'_>| {
        lease.send(request, patience(member.pool.limits().response, request.block, now, end))
    };
    let opened = match guard.envelope() {
        None => send(lease, request).map(Unsealed::from),
        Some(envelope) => send(lease, &envelope.sealed(request)).map(|reply| envelope.open(request, reply)),
    };
    match &opened {
        Ok(Unsealed { reply, .. }) if must_close(request, reply) => {
            lease.discard();
            if is_read_only(reply) {
                member.observe_role(Role::Replica);
            }
        }
        Ok(_) => lease.served(now),
        Err(fault) => distrust(member, fault, last_used),
    }
    match opened {
        Ok(opened) => guard.check(member, opened),
        Err(fault) => {
            guard.note_fault(&fault);
            // The node is another one than that which the connection led to: its end says nothing about it.
            let is_of_old = last_used.is_some_and(|last_used| member.pool.is_of_old(last_used));
            let stage = if fault.stage == Stage::Sent && is_of_old { Stage::Stale } else { fault.stage };
            Err(unanswered(member, request, Fault { stage, ..fault }, clock, end))
        }
    }
}

/// Records which limit the wait for a reply met.
#[cold]
fn unanswered(member: &Member, request: &Request<'_>, fault: Fault, clock: &Clock, end: Option<Instant>) -> Fault {
    let response = member.pool.limits().response;
    let (time, blocked) = match request.block {
        Block::For(block) => (response + block, block),
        Block::No | Block::Forever => (response, Duration::ZERO),
    };
    let end = end.and_then(|end| end.checked_add(blocked)).map(|end| (end, DEADLINE));
    fault.after_waiting(Waited { setting: "response_timeout", time }, clock.now(), end)
}

/// A connection was found dead that had been idle: those idle for as long are not lent any more, and the node is asked
/// whether it is still there.
#[cold]
fn distrust(member: &Member, fault: &Fault, last_used: Option<Instant>) {
    let is_dead =
        matches!(fault.stage, Stage::Idle | Stage::Stale) || (fault.stage == Stage::Connect && fault.is_timeout());
    if let (true, Some(last_used)) = (is_dead, last_used) {
        member.pool.distrust_until(last_used);
        member.ring();
    }
}

/// Tells whether the node refused a write because it is a replica: every connection to it is now asked before the next.
fn is_read_only(reply: &Reply) -> bool {
    // In the words of EXECABORT, and of Dragonfly's scripts, it comes last.
    let quotes =
        |error: &ServerError| error.details().is_some_and(|details| details.contains("READONLY You can't write"));
    let is_it = |error: &ServerError| error.kind() == Some(ServerErrorKind::ReadOnly) || quotes(error);
    let says = |value: &Value| matches!(value, Value::ServerError(error) if is_it(error));
    match reply {
        Reply::One(value) => says(value),
        Reply::Many { kept, not_queued } => kept.iter().any(says) || not_queued.iter().any(|(_, error)| is_it(error)),
    }
}

/// After a refused write nobody should get this connection before the node was asked again.
#[inline]
fn must_close(request: &Request<'_>, reply: &Reply) -> bool {
    let refuses = |value: &Value| matches!(value, Value::ServerError(error) if is_not_serving(error));
    !request.is_read()
        && match reply {
            Reply::One(value) => refuses(value),
            Reply::Many { kept, not_queued } => {
                kept.iter().any(refuses) || not_queued.iter().any(|(_, error)| is_not_serving(error))
            }
        }
}

/// The error for a failed attempt, or for an earlier one if this one only ran out of time.
#[cold]
pub(super) fn explain_failure(
    request: &Request<'_>,
    member: &Member,
    failed: Result<Reply, Fault>,
    earlier: Option<Error>,
) -> Error {
    match (failed, earlier) {
        // What is left of the deadline may be too short for anything: the attempts before it say what is wrong.
        (Err(fault), Some(earlier)) if says_less(request, member, &fault, &earlier) => earlier,
        (Err(fault), earlier) if fault.stage == Stage::Avoided => {
            failure(member, request, fault).after(earlier.as_ref())
        }
        (Err(fault), _) => failure(member, request, fault),
        (Ok(reply), _) => refused(request, reply).on(member.node.addr()),
    }
}

/// Returns whether an attempt says less than the one before it: it had only the rest of the deadline, or none was made.
fn says_less(request: &Request<'_>, member: &Member, fault: &Fault, earlier: &Error) -> bool {
    let is_cut = fault.waited.is_some_and(|waited| waited.setting == DEADLINE);
    match fault.stage {
        Stage::Avoided => true,
        Stage::Connect => fault.is_timeout(),
        Stage::Checkout => is_cut,
        Stage::Sent => is_cut && request.is_repeatable() && earlier.node() == Some(member.node.addr()),
        _ => false,
    }
}

/// The error for an attempt without a complete reply.
pub(super) fn failure(member: &Member, request: &Request<'_>, fault: Fault) -> Error {
    fault.into_error(&member.node, member.pool.limits().size, request)
}

fn refused(request: &Request<'_>, mut reply: Reply) -> Error {
    reply.hide_arguments(request);
    let values = match reply {
        Reply::One(value) => vec![value],
        Reply::Many { kept, not_queued } => {
            not_queued.into_iter().map(|(_, error)| Value::ServerError(error)).chain(kept).collect()
        }
    };
    match values.into_iter().find_map(|value| value.extract_error().err()) {
        Some(cause) => server_error(request, cause).executed(false),
        None => Error::new(ErrorKind::Server, format!("{request} was refused")),
    }
}
