//! The errors of calls that found no server.

use std::time::Instant;

use super::router::Router;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};
use crate::observe::log;
use crate::retry::{Refusal, Reply, missing_right};
use crate::selection::{Affinity, NoSelection, ReadFrom};
use crate::topology::Topology;

/// Returns the error for a request that no server may serve now.
#[cold]
pub(super) fn no_server(why: NoSelection, request: &Request<'_>, read_from: ReadFrom, affinity: Affinity<'_>) -> Error {
    let text = match why {
        NoSelection::Later | NoSelection::Never => format!("no node may serve {request} (read from {read_from})"),
        NoSelection::NoPermit => {
            format!("no replica can serve {request}, and the master serves no more fallback reads (fallback_limit)")
        }
        NoSelection::NotInSet => format!("{request} can only go to one node, which is not in the set (any more)"),
        NoSelection::CannotProve => {
            format!("{request} can only continue on a replica, but only the master can prove what the session has seen")
        }
    };
    let error = Error::new(ErrorKind::Unavailable, text);
    match affinity {
        Affinity::Only(addr) => error.on(addr),
        Affinity::Any | Affinity::First(_) => error,
    }
}

/// Returns the error of a call whose deadline left no time for an attempt.
#[cold]
pub(super) fn no_time(router: &Router, request: &Request<'_>, has_waited: bool, why: Option<&'static str>) -> Error {
    if !has_waited {
        return Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}"));
    }
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    // Why the set could not be described, if it could not.
    let failure = router.monitor.failure();
    let reason = failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default();
    let text = format!("no node that may serve {request} was found before its deadline{why}{reason}");
    Error::new(ErrorKind::Unavailable, text).caused_by(failure.and_then(|failure| failure.as_redis().cloned()))
}

/// Emits an event if the first node refused a request for lack of rights and the second one executed it.
#[cold]
pub(super) fn compare_rights(topology: &Topology, first: &Error, second: &Reply, now: Instant) {
    let refusals = first.as_redis().and_then(|cause| cause.clone().into_server_errors());
    let Some((_, refusal)) = refusals.as_deref().and_then(<[_]>::first) else { return };
    let Some(position) = first.node().and_then(|node| topology.find(node)) else { return };
    let server = &topology.servers()[position];
    let lacks_right = Refusal::of(refusal) == Some(Refusal::NoRights) && !second.has_error();
    if lacks_right && server.refused.may_announce_rights(now) {
        log::node_lacks_rights(server.node.addr(), missing_right(refusal).as_deref());
    }
}
