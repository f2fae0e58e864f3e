//! One attempt on one node: a connection that leads where the topology says, the request, the reply.

use std::time::{Duration, Instant};

use redis::{ServerError, Value};

use super::clock::{Clock, patience};
use super::guard::Guard;
use super::sealed::Unsealed;
use super::server_error;
use crate::classification::{Block, Request, TransactionStep};
use crate::error::{Error, ErrorKind};
use crate::node::{Outcome, SyncState};
use crate::pool::{Lease, Want};
use crate::replication::Role;
use crate::retry::{Fault, Refusal, Reply, Stage, Waited};
use crate::topology::Assigned;

/// A connection idle for this long is proven by one question before a write goes out on it.
const PROVEN_FOR: Duration = Duration::from_secs(1);
/// How long a write tries to connect to a master that is ejected.
const GLANCE: Duration = Duration::from_millis(100);
/// Named where an attempt was over because the call was.
const DEADLINE: &str = "deadline";

/// What a connection is taken for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// It must not turn out to be dead: what goes out on it cannot be sent again.
    pub(super) must_be_alive: bool,
    /// It will be kept for as long as a command blocks by its own argument.
    pub(super) blocks: bool,
    /// There is another node to turn to.
    pub(super) has_more: bool,
}

/// Tries one node once.
#[inline]
pub(super) fn attempt(server: &Assigned, guard: &Guard<'_>, clock: &Clock, has_more: bool) -> Result<Reply, Fault> {
    let request = guard.request();
    let _in_flight = server.node.begin();
    let _probe = server.node.admit(clock.now()).map_err(|_| Fault::new(Stage::Avoided, None))?;
    let end = clock.attempt_end(has_more);
    let purpose = Purpose { must_be_alive: !request.is_read(), blocks: request.block != Block::No, has_more };
    let mut lease = take(server, purpose, clock, end)?;
    let reply = exchange(server, &mut lease, guard, clock, end);
    // One that lags behind has answered as well.
    let is_answer = reply.as_ref().map_or_else(|fault| matches!(fault.stage, Stage::Unproven | Stage::Mute), |_| true);
    // What it took to connect says little about the next call.
    if is_answer && request.is_timed() && !lease.took_time() && server.node.is_timed(clock.now()) {
        let now = Instant::now();
        server.node.record_at(Outcome::Answered, now.saturating_duration_since(clock.now()), now);
    }
    reply
}

/// Takes a connection that leads where the topology says.
#[inline]
pub(super) fn take(server: &Assigned, purpose: Purpose, clock: &Clock, end: Option<Instant>) -> Result<Lease, Fault> {
    let Purpose { must_be_alive, blocks, has_more } = purpose;
    let by = if must_be_alive && server.node.is_ejected() { ready_by(server, clock, end) } else { end };
    let want = Want { blocks, has_more, in_flight: server.node.in_flight(), end: by };
    let mut lease = server.pool.checkout(want).map_err(|fault| name_limit(server, fault, purpose, clock, (end, by)))?;
    let end = by;
    prepare(server, &mut lease, must_be_alive, clock, end)?;
    Ok(lease)
}

/// When the connection to an ejected master must be there. While it is silent, another may have taken its place: a write
/// should not wait long before it looks again. Without a monitor, calls are the probes, and have the time of one.
#[cold]
fn ready_by(server: &Assigned, clock: &Clock, end: Option<Instant>) -> Option<Instant> {
    let soon = clock.now() + GLANCE;
    if server.wakeup.is_some() { Some(end.map_or(soon, |end| end.min(soon))) } else { end }
}

/// Records which limit was met. Where others wait for a node that is out, it is not this process's doing that no connection is
/// free. `end`: of the attempt; `by`: when the connection had to be there.
#[cold]
fn name_limit(
    server: &Assigned,
    fault: Fault,
    purpose: Purpose,
    clock: &Clock,
    (end, by): (Option<Instant>, Option<Instant>),
) -> Fault {
    let limits = server.pool.limits();
    let is_checkout = matches!(fault.stage, Stage::Checkout | Stage::Turn);
    let limit = match is_checkout {
        true if purpose.has_more || purpose.blocks => Waited { setting: "checkout_timeout", time: limits.checkout },
        // Where there is nobody else, the whole time is waited.
        true => Waited { setting: DEADLINE, time: Duration::MAX },
        false => Waited { setting: "connect_timeout", time: limits.connect },
    };
    let reason = if by == end { DEADLINE } else { "the node is ejected" };
    let fault = fault.after_waiting(limit, clock.now(), by.map(|by| (by, reason)));
    // It may have come back meanwhile.
    let is_out = by != end || server.node.is_ejected() || server.node.role() != server.assigned_role;
    if is_checkout && is_out { Fault { stage: Stage::Avoided, ..fault } } else { fault }
}

/// Makes sure that a lent connection leads where the topology says, before anything is sent on it.
#[inline]
pub(super) fn prepare(
    server: &Assigned,
    lease: &mut Lease,
    must_be_alive: bool,
    clock: &Clock,
    end: Option<Instant>,
) -> Result<(), Fault> {
    if must_be_alive && server.node.sync_state() == SyncState::Diverged {
        // Another master was found since this call began.
        return Err(Fault::new(Stage::WrongRole, None));
    }
    if must_be_alive && !lease.has_served() && server.is_awaited() {
        // It may have come back empty, while another is about to be the master: the monitor looks first.
        server.request_check();
        return Err(Fault::new(Stage::Avoided, None));
    }
    let is_doubtful = !server.is_in_place(lease.role());
    // A write that is sent to a node known to be dead, on a connection that is open only from this side, is in doubt.
    let needs_proof = || has_rested(lease, clock) || server.node.is_ejected();
    let is_proven_anyway = clock.is_careful() && lease.has_served();
    if is_doubtful || is_proven_anyway || (must_be_alive && needs_proof()) {
        prove(server, lease, clock, end)
    } else {
        Ok(())
    }
}

#[inline]
fn has_rested(lease: &Lease, clock: &Clock) -> bool {
    let since = |last| clock.now().saturating_duration_since(last);
    lease.has_served() && lease.last_used().is_some_and(|last| since(last) >= PROVEN_FOR)
}

/// Asks the server what it is, unless it just said so, and compares that with the topology.
#[cold]
fn prove(server: &Assigned, lease: &mut Lease, clock: &Clock, end: Option<Instant>) -> Result<(), Fault> {
    if lease.has_served() {
        let last_used = lease.last_used();
        let response = server.pool.limits().response;
        // A connection may have been waited for until now.
        let now = if lease.took_time() { Instant::now() } else { clock.now() };
        let limit = now + response;
        let by = end.map_or(limit, |end| end.min(limit));
        let waited = Waited { setting: "response_timeout", time: response };
        lease.ask_role(by).map_err(|fault| {
            distrust(server, &fault, last_used);
            fault.after_waiting(waited, now, end.map(|end| (end, DEADLINE)))
        })?;
    }
    let Some(role) = lease.role() else { return Ok(()) };
    let is_news = server.observe_role(role);
    if role == server.assigned_role && !is_news {
        return Ok(());
    }
    // The next attempt is made on a fresh connection: news ended the generation of this one.
    lease.discard();
    Err(Fault::new(if role == server.assigned_role { Stage::Idle } else { Stage::WrongRole }, None))
}

/// Sends a request on a connection that is ready for it.
#[inline]
pub(super) fn exchange(
    server: &Assigned,
    lease: &mut Lease,
    guard: &Guard<'_>,
    clock: &Clock,
    end: Option<Instant>,
) -> Result<Reply, Fault> {
    let (request, last_used) = (guard.request(), lease.last_used());
    let now = if lease.took_time() { Instant::now() } else { clock.now() };
    let send = |lease: &mut Lease, request: &Request<'_>| {
        lease.send(request, patience(server.pool.limits().response, request.block, now, end))
    };
    let (block, opened) = match guard.envelope(server, now) {
        None => (request.block, send(lease, request).map(Unsealed::from)),
        Some(envelope) => {
            let sealed = envelope.sealed(request);
            (sealed.block, send(lease, &sealed).map(|reply| envelope.open(request, reply)))
        }
    };
    match &opened {
        Ok(Unsealed { is_spoiled: true, .. }) => {
            // The transaction may be open still.
            lease.discard();
            server.refused.refuse_transactions(now);
        }
        Ok(Unsealed { reply, .. }) => match turned_away(request, reply) {
            None => lease.served(now),
            Some(refusal) => {
                lease.discard();
                if refusal == Refusal::ReadOnly {
                    // It is a replica: every connection to it is now asked before the next write.
                    server.observe_role(Role::Replica);
                }
            }
        },
        Err(fault) => distrust(server, fault, last_used),
    }
    match opened {
        Ok(opened) => guard.check(server, opened),
        Err(fault) => {
            guard.note_fault(&fault);
            // The node is another one than that which the connection led to: its end says nothing about it.
            let is_of_old = last_used.is_some_and(|last_used| server.pool.is_of_old(last_used));
            let stage = if fault.stage == Stage::Sent && is_of_old { Stage::Stale } else { fault.stage };
            Err(unanswered(server, block, Fault { stage, ..fault }, clock, end))
        }
    }
}

/// Records which limit the wait for a reply met.
#[cold]
fn unanswered(server: &Assigned, block: Block, fault: Fault, clock: &Clock, end: Option<Instant>) -> Fault {
    let response = server.pool.limits().response;
    let (time, blocked) = match block {
        Block::For(block) => (response + block, block),
        Block::No | Block::Forever => (response, Duration::ZERO),
    };
    let end = end.and_then(|end| end.checked_add(blocked)).map(|end| (end, DEADLINE));
    fault.after_waiting(Waited { setting: "response_timeout", time }, clock.now(), end)
}

/// A connection was found dead that had been idle: those idle for as long are not lent any more, and the node is asked
/// whether it is still there.
#[cold]
fn distrust(server: &Assigned, fault: &Fault, last_used: Option<Instant>) {
    let is_dead =
        matches!(fault.stage, Stage::Idle | Stage::Stale) || (fault.stage == Stage::Connect && fault.is_timeout());
    if let (true, Some(last_used)) = (is_dead, last_used) {
        server.pool.distrust_until(last_used);
        server.request_check();
    }
}

/// After a refused write nobody should get this connection before the node was asked again. Returns why it was refused.
#[inline]
fn turned_away(request: &Request<'_>, reply: &Reply) -> Option<Refusal> {
    let ends_transaction = || request.is_transaction() || request.step() == Some(TransactionStep::Exec);
    let refusal = |value: &Value| match value {
        Value::ServerError(error) => turned_away_by(request, error),
        Value::Array(all) if ends_transaction() => all.iter().find_map(refused_script),
        _ => None,
    };
    match reply {
        _ if request.is_read() => None,
        Reply::One(value) => refusal(value),
        Reply::Many { kept, not_queued } => {
            let in_queue = || not_queued.iter().find_map(|(_, error)| turned_away_by(request, error));
            kept.iter().find_map(refusal).or_else(in_queue)
        }
    }
}

#[cold]
fn turned_away_by(request: &Request<'_>, error: &ServerError) -> Option<Refusal> {
    Refusal::of_request(request, error).filter(|refusal| refusal.is_not_serving())
}

/// Inside of an executed transaction, only scripts can be refused.
#[cold]
fn refused_script(value: &Value) -> Option<Refusal> {
    match value {
        Value::ServerError(error) => Refusal::of_script(error).filter(|refusal| refusal.is_not_serving()),
        _ => None,
    }
}

/// The error for a failed attempt, or for an earlier one if this one only ran out of time.
#[cold]
pub(super) fn explain_failure(
    request: &Request<'_>,
    server: &Assigned,
    failed: Result<Reply, Fault>,
    earlier: Option<Error>,
) -> Error {
    match (failed, earlier) {
        // What is left of the deadline may be too short for anything: the attempts before it say what is wrong.
        (Err(fault), Some(earlier)) if says_less(request, server, &fault, &earlier) => earlier,
        (Err(fault), earlier) if fault.stage == Stage::Avoided => {
            failure(server, request, fault).after(earlier.as_ref())
        }
        // A read that was answered, or lost, before: it must not say that nothing was sent.
        (Err(fault), Some(earlier)) if request.is_read() && earlier.was_sent() && !fault.was_sent() => {
            failure(server, request, fault).after(Some(&earlier))
        }
        (Err(fault), _) => failure(server, request, fault),
        (Ok(reply), _) => refused(request, reply).on(server.node.addr()),
    }
}

/// Returns whether an attempt says less than the one before it: it had only the rest of the deadline, or none was made.
fn says_less(request: &Request<'_>, server: &Assigned, fault: &Fault, earlier: &Error) -> bool {
    let is_cut = fault.waited.is_some_and(|waited| waited.setting == DEADLINE);
    match fault.stage {
        Stage::Avoided => true,
        Stage::Connect => fault.is_timeout(),
        Stage::Checkout | Stage::Turn => is_cut,
        Stage::Sent => is_cut && request.is_repeatable() && earlier.node() == Some(server.node.addr()),
        _ => false,
    }
}

/// The error for an attempt without a complete reply.
pub(super) fn failure(server: &Assigned, request: &Request<'_>, fault: Fault) -> Error {
    fault.into_error(&server.node, server.pool.limits().size, request)
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
