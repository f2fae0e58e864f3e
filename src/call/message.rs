//! What a caller is told of a call that has no answer.

use std::time::Instant;

use redis::{RedisError, Value};

use super::router::Router;
use crate::classification::Request;
use crate::error::{Error, ErrorKind, words_of};
use crate::events;
use crate::retry::{DEADLINE, Fault, Refusal, Reply, Stage, executed_nothing, missing_right};
use crate::selection::{Affinity, NoSelection, ReadFrom};
use crate::topology::{Assigned, Topology};

/// The error for a failed attempt, or for an earlier one if this one only ran out of time.
#[cold]
pub(super) fn explain(
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

/// The error for an answer of the server that is an error.
pub(crate) fn server_error(request: &Request<'_>, cause: RedisError) -> Error {
    let errors = cause.clone().into_server_errors();
    let untouched = errors.is_some_and(|errors| errors.iter().all(|(_, error)| executed_nothing(request, error)));
    let error = Error::new(ErrorKind::Server, format!("{request} was answered with {}", words_of(&cause)));
    error.executed(request.partial && !request.is_read() && !untouched).caused_by(cause)
}

/// The error where no server may serve a request now.
#[cold]
pub(super) fn nobody(why: NoSelection, request: &Request<'_>, read_from: ReadFrom, affinity: Affinity<'_>) -> Error {
    let text = match why {
        NoSelection::Later | NoSelection::Nobody => format!("no node may serve {request} (read from {read_from})"),
        NoSelection::NoPermit => {
            format!("no replica can serve {request}, and the master has enough of such reads (fallback_limit)")
        }
        NoSelection::Gone => format!("the node to which {request} has to go is not in the set (any more)"),
        NoSelection::Unable => {
            format!("{request} goes on at a replica, and only the master can prove what the session has seen since")
        }
    };
    let error = Error::new(ErrorKind::Unavailable, text);
    match affinity {
        Affinity::Only(addr) => error.on(addr),
        Affinity::Any | Affinity::First(_) => error,
    }
}

/// The error of a call for which no attempt was made.
#[cold]
pub(super) fn no_time(router: &Router, request: &Request<'_>, has_waited: bool, why: Option<&'static str>) -> Error {
    if !has_waited {
        return Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}"));
    }
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    router.missing(format!("no node that may serve {request} was found in time{why}"))
}

/// Emits an event that a node lacks a right, if a second one had it.
#[cold]
pub(super) fn compare_rights(topology: &Topology, first: &Error, second: &Reply, now: Instant) {
    let refusals = first.as_redis().and_then(|cause| cause.clone().into_server_errors());
    let Some((_, refusal)) = refusals.as_deref().and_then(<[_]>::first) else { return };
    let Some(position) = first.node().and_then(|node| topology.find(node)) else { return };
    let server = &topology.servers()[position];
    let lacks_right = Refusal::of(refusal) == Some(Refusal::NoRights) && !second.has_error();
    if lacks_right && server.refused.may_announce_rights(now) {
        events::node_lacks_rights(server.node.addr(), missing_right(refusal).as_deref());
    }
}
