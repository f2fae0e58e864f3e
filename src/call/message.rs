//! What a caller is told of a call that has no answer.

use std::time::Instant;

use super::router::Router;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};
use crate::events;
use crate::retry::{Refusal, Reply, missing_right};
use crate::selection::{Affinity, NoSelection, ReadFrom};
use crate::topology::Topology;

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
