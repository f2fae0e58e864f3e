//! What happens in one call, collected for observers, spans and the log of slow calls.

use std::fmt;
use std::time::Instant;

use redis::{ServerError, Value};
use tracing::span::EnteredSpan;

use super::call::{AttemptEnded, CallEnded};
use super::code::known_code;
use super::event::Event;
use super::interest::Interest;
use super::observers::Observers;
use super::{log, span};
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::Error;
use crate::replication::Role;
use crate::retry::{Reply, Timing};

/// What happened in one call so far.
pub(crate) struct Trace<'c> {
    observers: &'c Observers,
    request: &'c Request<'c>,
    began: Instant,
    attempts: u32,
    /// The node of the last attempt, its role and its database.
    last: Option<(NodeAddr, Role, i64)>,
    timing: Timing,
    is_fallback: bool,
    permit_waits: u32,
    budget_pauses: u32,
    span: Option<EnteredSpan>,
}

/// One attempt, as the call records it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempted<'a> {
    pub(crate) node: &'a NodeAddr,
    /// The role that the topology assigned to the node.
    pub(crate) role: Role,
    pub(crate) database: i64,
    /// When the attempt began.
    pub(crate) began: Instant,
    /// What it took beside the wait for the reply.
    pub(crate) timing: Timing,
    pub(crate) is_fallback: bool,
    /// The call ends with this attempt.
    pub(crate) is_last: bool,
}

/// What a call lacked when it paused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lack {
    /// A node that may serve.
    Node,
    /// A permit for a fallback read.
    Permit,
    /// A retry in the budget.
    Budget,
}

impl Observers {
    /// Begins to trace a call, if somebody wants to know.
    #[inline]
    pub(crate) fn trace<'c>(&'c self, request: &'c Request<'c>, began: Instant) -> Option<Trace<'c>> {
        let reads_spans = span::is_enabled();
        (self.traces_calls || reads_spans).then(|| Trace::begin(self, request, began, reads_spans))
    }

    /// Tells that a call ended without an attempt, because it got no connection. A request without bytes is no call.
    #[cold]
    pub(crate) fn call_failed(&self, request: &Request<'_>, began: Instant, error: &Error) {
        if let Some(trace) = self.trace(request, began).filter(|_| !request.bytes.is_empty()) {
            trace.end(Err(error), false);
        }
    }
}

impl<'c> Trace<'c> {
    #[cold]
    fn begin(observers: &'c Observers, request: &'c Request<'c>, began: Instant, reads_spans: bool) -> Self {
        Self {
            observers,
            request,
            began,
            attempts: 0,
            last: None,
            timing: Timing::default(),
            is_fallback: false,
            permit_waits: 0,
            budget_pauses: 0,
            span: reads_spans.then(|| span::begin(request)),
        }
    }

    /// Records an attempt that has just ended; `error`: why it failed.
    pub(crate) fn attempted(&mut self, attempt: Attempted<'_>, error: Option<&Error>) {
        let took = attempt.began.elapsed();
        // What is left was the wait for the reply: an attempt without a connection has recorded all its time.
        let replying = took.saturating_sub(attempt.timing.total());
        let timing = Timing { replying, ..attempt.timing };
        self.attempts += 1;
        self.last = Some((attempt.node.clone(), attempt.role, attempt.database));
        self.timing.add(timing);
        self.is_fallback = attempt.is_fallback;
        if self.observers.want(Interest::ATTEMPTS) {
            self.observers.tell(&Event::Attempt(AttemptEnded {
                request: self.request,
                node: attempt.node,
                role: attempt.role,
                error,
                number: self.attempts,
                took,
                timing,
                fallback: attempt.is_fallback,
                is_last: attempt.is_last,
            }));
        }
    }

    /// Records a pause that began at `since` and has just ended.
    pub(crate) fn paused(&mut self, lack: Lack, since: Instant) {
        self.timing.pausing += since.elapsed();
        match lack {
            Lack::Node => {}
            Lack::Permit => self.permit_waits += 1,
            Lack::Budget => self.budget_pauses += 1,
        }
    }

    /// Tells how the call ended. `waits_for_permit`: it did while it waited for a fallback read.
    pub(crate) fn end(self, ended: Result<&Reply, &Error>, waits_for_permit: bool) {
        let may_nest = self.request.runs_script || self.request.is_transaction() || self.request.step().is_some();
        let (error, code) = match ended {
            Ok(reply) => (None, error_in(reply, may_nest).map(ServerError::code)),
            Err(error) => (Some(error), error.as_redis().and_then(redis::RedisError::code)),
        };
        // What a script makes up may be a key.
        let code = if may_nest { code.map(known_code) } else { code };
        let took = self.began.elapsed();
        let (last, role, database) =
            self.last.as_ref().map_or((None, None, 0), |(node, role, database)| (Some(node), Some(*role), *database));
        let call = CallEnded {
            request: self.request,
            database,
            // The error may be that of an earlier attempt.
            node: error.and_then(Error::node).or(last),
            role,
            error,
            code,
            attempts: self.attempts,
            took,
            timing: self.timing,
            fallback: self.is_fallback && error.is_none(),
            is_refused_fallback: waits_for_permit,
            permit_waits: self.permit_waits,
            budget_pauses: self.budget_pauses,
            is_slow: self.observers.slow_call.is_some_and(|slow| took > slow),
        };
        if let Some(span) = &self.span {
            span::end(span, &call);
        }
        if call.is_slow {
            log::slow_call(&call);
        }
        if self.observers.want(Interest::CALLS) {
            self.observers.tell(&Event::Call(call));
        }
    }
}

/// Returns the first error reply. `may_nest`: replies of scripts and transactions may contain errors.
fn error_in(reply: &Reply, may_nest: bool) -> Option<&ServerError> {
    match reply {
        Reply::One(value) => error_of(value, may_nest),
        Reply::Many { kept, not_queued } => {
            let error = kept.iter().find_map(|value| error_of(value, may_nest));
            error.or_else(|| not_queued.first().map(|(_, error)| error))
        }
    }
}

fn error_of(value: &Value, may_nest: bool) -> Option<&ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        Value::Array(items) | Value::Set(items) if may_nest => items.iter().find_map(|item| error_of(item, true)),
        Value::Map(pairs) if may_nest => pairs.iter().find_map(|(_, value)| error_of(value, true)),
        _ => None,
    }
}

impl fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempted, Lack};
    use crate::classification::{Classifier, Request};
    use crate::observe::{Event, Observer, Observers};
    use crate::replication::Role;
    use crate::retry::{Reply, Timing};
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Keeps what a test looks at of the last call: attempts, waits for a permit, pauses for the budget, the time of pauses.
    #[derive(Debug, Default)]
    struct Last(Mutex<(u32, u32, u32, Duration)>);

    impl Observer for Last {
        fn observe(&self, event: &Event<'_>) {
            if let Event::Call(call) = event {
                *self.0.lock() = (call.attempts(), call.permit_waits(), call.budget_pauses(), call.timing().pausing);
            }
        }
    }

    #[test]
    fn each_pause_counts_for_what_was_lacking_and_its_time_as_a_pause() {
        let last = Arc::new(Last::default());
        let observers = Observers::new(vec![Arc::<Last>::clone(&last)], None);
        let packed = redis::cmd("GET").arg("k").get_packed_command();
        let request = Request::command(&packed, &Classifier::new()).unwrap();
        let (node, now) = ("a:1".parse().unwrap(), Instant::now());
        let since = now.checked_sub(Duration::from_secs(1)).unwrap();
        let mut trace = observers.trace(&request, since).unwrap();
        trace.paused(Lack::Node, now);
        trace.paused(Lack::Permit, since);
        [Lack::Budget, Lack::Budget].into_iter().for_each(|lack| trace.paused(lack, now));
        let (role, timing) = (Role::Replica, Timing::default());
        let attempted =
            Attempted { node: &node, role, database: 0, began: now, timing, is_fallback: false, is_last: true };
        trace.attempted(attempted, None);
        trace.end(Ok(&Reply::default()), false);
        let (attempts, permit_waits, budget_pauses, pausing) = *last.0.lock();
        assert_eq!((attempts, permit_waits, budget_pauses), (1, 1, 2));
        assert!(pausing >= Duration::from_secs(1), "{pausing:?}");
    }
}
