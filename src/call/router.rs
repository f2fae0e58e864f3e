//! The router: what all calls of a client share to find their server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::classification::{Classifier, Request};
use crate::error::{Error, ErrorKind};
use crate::monitor::Monitor;
use crate::node::Outcome;
use crate::observe::Observers;
use crate::replication::Role;
use crate::retry::{Budget, Cause};
use crate::selection::{ReadFrom, Selector};
use crate::topology::{Assigned, TopologyStore};

/// The parts by which a call finds its server.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) store: Arc<TopologyStore>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) classifier: Classifier,
    pub(crate) selector: Selector,
    pub(crate) budget: Budget,
    pub(crate) observers: Observers,
}

/// What a handle sets for its calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOptions {
    pub(crate) read_from: ReadFrom,
    pub(crate) deadline: Duration,
}

impl CallOptions {
    /// Returns the options with the time that is left of a call that began at `began`.
    pub(crate) fn since(self, began: Instant) -> Self {
        Self { deadline: self.deadline.saturating_sub(began.elapsed()), ..self }
    }
}

impl Router {
    /// Records what a failed attempt says about its server, and requests a check of the set if it may have changed.
    #[cold]
    pub(super) fn record_failure(&self, server: &Assigned, outcome: Outcome, cause: Cause<'_>, now: Instant) {
        let has_moved = server.node.role() != server.assigned_role;
        if has_moved {
            // Only its role is wrong: it ranks last as long as its role is not the assigned one.
            server.node.count_failure();
        } else {
            server.record_failure(outcome, cause, now);
        }
        if has_moved || (server.assigned_role == Role::Master && server.node.is_ejected()) {
            self.monitor.suspect();
        } else if server.assigned_role == Role::Master {
            // The time for which it has not answered decides when another node may replace it.
            server.request_check();
        }
    }

    /// Returns the error of a call whose deadline left no time for an attempt. `why`: why only the master can serve it.
    #[cold]
    pub(super) fn no_time(&self, request: &Request<'_>, has_waited: bool, why: Option<&'static str>) -> Error {
        if !has_waited {
            return Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}"));
        }
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        // Why the set could not be described, if it could not.
        let failure = self.monitor.failure();
        let reason = failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default();
        let text = format!("no node that may serve {request} was found before its deadline{why}{reason}");
        Error::new(ErrorKind::Unavailable, text).caused_by(failure.and_then(|failure| failure.as_redis().cloned()))
    }
}
