//! The verdict on an attempt: whether its reply goes to the caller, or the request to another node.
//!
//! It follows from the classification, the reply or fault, and the node's role. What the node's health makes of the outcome is
//! decided in [`node`](crate::node).

use redis::{ServerError, Value};

use super::fault::{Fault, Stage};
use super::obstacle::Obstacle;
use super::refusal::{Refusal, stopped_script};
use super::reply::Reply;
use crate::classification::{Request, TransactionStep};
use crate::node::Outcome;
use crate::replication::Role;

/// What a call does after an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The reply goes to the caller.
    Answer,
    /// Not executed, or a read: the request may be sent to another candidate.
    Elsewhere,
    /// The node does not prove that it contains what the session requires; another one may.
    Behind,
    /// The connection had died while it was idle, or the server refused the transaction around the request: the request goes
    /// to the same node again.
    SameNode,
    /// Not executed, and only for the moment: the request may be sent to the same node after a pause.
    Later,
    /// An error reply that another replica, or the master, may not give: one of them is asked, once.
    Another,
    /// An error reply that only the master may not give: it is asked, once.
    Master,
    /// The replica refused the command at this position as a write: the whole request is one.
    Write { position: usize },
    /// The error goes to the caller: the request may have been executed, or no further attempt can help.
    GiveUp,
}

/// What a verdict depends on beside the reply.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The role that the topology assigned to the node.
    pub(crate) assigned_role: Role,
    /// Another node was asked after the error reply of a first one.
    pub(crate) is_second: bool,
    /// Returns whether replicas may still be attaching to a new master.
    pub(crate) has_recent_failover: &'a dyn Fn() -> bool,
}

/// Returns the verdict on a reply, and what the reply says about the node, if anything.
#[inline]
pub(crate) fn judge(request: &Request<'_>, reply: &Reply, setting: Setting<'_>) -> (Verdict, Option<Outcome>) {
    match reply {
        Reply::One(value) if !matches!(value, Value::ServerError(_)) => (Verdict::Answer, None),
        _ => judge_closely(request, reply, setting),
    }
}

fn judge_closely(request: &Request<'_>, reply: &Reply, setting: Setting<'_>) -> (Verdict, Option<Outcome>) {
    match refusal(request, reply) {
        Some(refused) if request.is_read() => judge_read(request, refused, setting),
        Some(refused) => judge_write(refused.refusal, setting),
        None => (Verdict::Answer, None),
    }
}

fn judge_read(request: &Request<'_>, refused: Refused, setting: Setting<'_>) -> (Verdict, Option<Outcome>) {
    let is_replica = setting.assigned_role == Role::Replica;
    match refused.refusal {
        // The node is known to be a replica: the refusal shows that the command is a write.
        Refusal::ReadOnly if is_replica && request.is_repeatable() => {
            (Verdict::Write { position: refused.position }, None)
        }
        Refusal::ReadOnly if is_replica => (Verdict::Answer, None),
        refusal if refusal.is_not_serving() => (Verdict::Elsewhere, Some(Outcome::NotServing)),
        Refusal::Busy | Refusal::TooManyClients => (Verdict::Elsewhere, Some(Outcome::Failed)),
        // Neither scripts nor rights are replicated.
        Refusal::NoScript if request.has_script_text => (Verdict::Answer, None),
        Refusal::NoScript if is_replica && !setting.is_second && request.is_repeatable() => (Verdict::Master, None),
        Refusal::NoRights if is_replica && !setting.is_second && request.is_repeatable() => (Verdict::Another, None),
        _ => (Verdict::Answer, None),
    }
}

fn judge_write(refusal: Refusal, setting: Setting<'_>) -> (Verdict, Option<Outcome>) {
    match refusal {
        refusal if refusal.is_not_serving() => (Verdict::Elsewhere, Some(Outcome::NotServing)),
        Refusal::Busy => (Verdict::Later, None),
        Refusal::NoReplicas if (setting.has_recent_failover)() => (Verdict::Later, None),
        _ => (Verdict::Answer, None),
    }
}

/// Returns the verdict on a fault, and what the fault says about the node, if anything.
pub(crate) fn judge_fault(request: &Request<'_>, fault: &Fault) -> (Verdict, Option<Outcome>) {
    let repeatable = request.is_repeatable();
    let verdict = match fault.stage {
        Stage::Avoided | Stage::WrongRole | Stage::Deposed => Verdict::Elsewhere,
        // A write that waited for a connection has no other node to go to.
        Stage::Checkout | Stage::Connecting if request.is_read() => Verdict::Elsewhere,
        Stage::Checkout | Stage::Connecting => Verdict::GiveUp,
        Stage::Idle | Stage::TransactionRefused => Verdict::SameNode,
        Stage::Connect if fault.is_refusal() && !request.is_read() => Verdict::GiveUp,
        Stage::Connect => Verdict::Elsewhere,
        Stage::Sent | Stage::Withdrawn if repeatable => Verdict::Elsewhere,
        Stage::Stale if repeatable => Verdict::SameNode,
        Stage::Behind | Stage::NoEvidence if repeatable => Verdict::Behind,
        Stage::Sent | Stage::Stale | Stage::Withdrawn => Verdict::GiveUp,
        Stage::Behind | Stage::NoEvidence | Stage::Ended => Verdict::GiveUp,
    };
    (verdict, outcome_of(fault))
}

/// Returns what a fault says about its node, if anything.
fn outcome_of(fault: &Fault) -> Option<Outcome> {
    match fault.stage {
        _ if fault.is_uncounted => None,
        // A shortage of this process says nothing about the node.
        Stage::Connect if fault.obstacle() == Obstacle::Here => None,
        Stage::Connect => Some(Outcome::Unreachable),
        Stage::WrongRole | Stage::Deposed => Some(Outcome::NotServing),
        Stage::Sent => Some(Outcome::Failed),
        _ => None,
    }
}

/// Returns whether the request was executed, at least in part: after a refusal there is nothing to prove.
#[inline]
pub(crate) fn is_answer(request: &Request<'_>, reply: &Reply) -> bool {
    refusal(request, reply).is_none()
}

/// The refusal of a request.
#[derive(Clone, Copy, Debug)]
struct Refused {
    refusal: Refusal,
    /// The refused command of a pipeline.
    position: usize,
}

/// Returns the refusal, if *nothing* of the request was executed.
fn refusal(request: &Request<'_>, reply: &Reply) -> Option<Refused> {
    let in_value = |(position, value): (usize, &Value)| match value {
        Value::ServerError(error) => refusal_of(request, error).map(|refusal| Refused { refusal, position }),
        _ => None,
    };
    match reply {
        Reply::One(value) => in_value((0, value)),
        // A read has no effects: one refusal in a pipeline is enough to ask another node.
        Reply::Many { kept, .. } if request.is_read() => kept.iter().enumerate().find_map(in_value),
        Reply::Many { kept, not_queued } => {
            if kept.is_empty() || not_queued.first().is_some_and(|(position, _)| *position == 0) {
                return None;
            }
            let in_queue = |(position, error): &(usize, ServerError)| {
                refusal_of(request, error).map(|refusal| Refused { refusal, position: *position })
            };
            let aborted =
                matches!(&kept[..], [Value::ServerError(error)] if is_exec_abort(error)) && !not_queued.is_empty();
            if aborted {
                return every(not_queued.iter().map(in_queue));
            }
            every(executed(request, kept).iter().enumerate().map(in_value))
        }
    }
}

/// Returns the replies inside an executed transaction that runs scripts, because servers refuse scripts one by one.
fn executed<'a>(request: &Request<'_>, kept: &'a [Value]) -> &'a [Value] {
    match kept {
        [Value::Array(all)] if request.is_transaction() && request.runs_script && !all.is_empty() => all,
        _ => kept,
    }
}

/// Returns the first refusal, if all are refusals.
fn every(refusals: impl Iterator<Item = Option<Refused>>) -> Option<Refused> {
    refusals.reduce(|all, next| all.and_then(|first| next.map(|_| first))).flatten()
}

/// Returns the refusal that an error stands for, if it proves that nothing of the request was executed.
fn refusal_of(request: &Request<'_>, error: &ServerError) -> Option<Refusal> {
    let refusal = Refusal::of_request(request, error)?;
    (request.is_read() || executed_nothing_before(request, refusal, error)).then_some(refusal)
}

/// Returns whether a refusal proves that nothing of a write, a script or a function was executed.
fn executed_nothing_before(request: &Request<'_>, refusal: Refusal, error: &ServerError) -> bool {
    match refusal {
        // The other refusals apply to every write of a script. This one does not: DEL needs no memory, for example, so a
        // script that caught the error may have continued.
        Refusal::OutOfMemory if request.runs_script => {
            !request.may_catch_errors() || stopped_script(error) || is_exec_abort(error)
        }
        // A refused MULTI lets the commands behind it run one by one.
        Refusal::NoRights => !request.runs_script && !request.is_transaction(),
        _ => true,
    }
}

fn is_exec_abort(error: &ServerError) -> bool {
    error.code() == "EXECABORT"
}

/// Returns whether an error reply proves that nothing was executed, even for requests that may fail half-way.
pub(crate) fn executed_nothing(request: &Request<'_>, error: &ServerError) -> bool {
    match Refusal::of_request(request, error) {
        Some(refusal) => executed_nothing_before(request, refusal, error),
        None => is_exec_abort(error) && (!request.runs_script || request.is_transaction()),
    }
}

/// Returns the refusal of a write by a server that is not ready, or not the master: its connection must not be lent again.
#[inline]
pub(crate) fn refused_as_not_serving(request: &Request<'_>, reply: &Reply) -> Option<Refusal> {
    let ends_transaction = || request.is_transaction() || request.step() == Some(TransactionStep::Exec);
    let refusal = |value: &Value| match value {
        Value::ServerError(error) => not_serving_refusal(request, error),
        Value::Array(all) if ends_transaction() => all.iter().find_map(refused_script),
        _ => None,
    };
    match reply {
        _ if request.is_read() => None,
        Reply::One(value) => refusal(value),
        Reply::Many { kept, not_queued } => {
            let in_queue = || not_queued.iter().find_map(|(_, error)| not_serving_refusal(request, error));
            kept.iter().find_map(refusal).or_else(in_queue)
        }
    }
}

#[cold]
fn not_serving_refusal(request: &Request<'_>, error: &ServerError) -> Option<Refusal> {
    Refusal::of_request(request, error).filter(|refusal| refusal.is_not_serving())
}

/// Returns the refusal of a script inside an executed transaction, where no other command can be refused.
#[cold]
fn refused_script(value: &Value) -> Option<Refusal> {
    match value {
        Value::ServerError(error) => Refusal::of_script(error).filter(|refusal| refusal.is_not_serving()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
