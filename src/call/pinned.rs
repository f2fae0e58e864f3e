//! Pinned connections: one connection, kept for several requests of one handle.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::around::Around;
use super::attempt::exchange;
use super::driver::{Served, connect};
use super::machine::{Obtained, Stop};
use super::router::{CallOptions, Router};
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::node::SyncState;
use crate::pool::Connection;
use crate::retry::{Deadline, Fault, Reply, Setting, Stage, Verdict, judge, judge_fault};
use crate::selection::Affinity;
use crate::topology::{Assigned, Purpose, Topology};

const PINNED: Purpose = Purpose { must_be_alive: true, blocks: false, may_share: false, has_more: false };

/// A connection that one handle keeps for its transaction or its scans. Dropping it without a release closes it.
pub(crate) struct Pinned {
    topology: Arc<Topology>,
    position: usize,
    connection: Connection,
}

impl Obtained for Connection {}

impl Pinned {
    /// Takes a validated connection to the server that `request` would go to, which is no read. Does not send the request.
    pub(crate) fn take(router: &Router, request: &Request<'_>, options: CallOptions) -> Result<Self> {
        let take =
            |server: &Assigned, deadline: &Deadline, _| server.checkout(PINNED, deadline, deadline.attempt_end(false));
        let began = Instant::now();
        let taken = connect(router, request, options, Affinity::Any, take).map_err(Stop::into_error);
        let (connection, topology, position) =
            taken.inspect_err(|error| router.observers.call_failed(request, began, error))?;
        Ok(Self::of(topology, position, connection))
    }

    /// Takes a connection to the server that has just served the first page of a scan.
    pub(crate) fn beside(
        router: &Router,
        served: &Served,
        request: &Request<'_>,
        options: CallOptions,
    ) -> Result<Self> {
        let server = &served.topology.servers()[served.position];
        let deadline = Deadline::start(options.deadline, Instant::now());
        let take = || server.checkout(PINNED, &deadline, deadline.attempt_end(false));
        let taken = match take() {
            // A connection that was closed while it was idle is replaced at once.
            Err(fault) if fault.stage == Stage::Idle => take(),
            taken => taken,
        };
        let connection = taken.map_err(|fault| {
            if let Some(outcome) = judge_fault(request, &fault).1 {
                router.record_failure(server, outcome, fault.cause.as_ref(), Instant::now());
            }
            fault.into_error(&server.node, server.pool.limits().size, request)
        })?;
        Ok(Self::of(Arc::clone(&served.topology), served.position, connection))
    }

    fn of(topology: Arc<Topology>, position: usize, mut connection: Connection) -> Self {
        connection.hold();
        Self { topology, position, connection }
    }

    /// Runs a request on this connection, once.
    pub(crate) fn run(
        &mut self,
        router: &Router,
        request: &Request<'_>,
        options: CallOptions,
        around: &impl Around,
    ) -> Result<Reply> {
        let server = &self.topology.servers()[self.position];
        if server.node.sync_state() == SyncState::Diverged {
            let text = format!("cannot serve {request} on its pinned connection: another node is the master now");
            let error = Error::new(ErrorKind::Unavailable, text).about(server.node.addr());
            router.observers.call_failed(request, Instant::now(), &error);
            return Err(error);
        }
        let _in_flight = server.node.begin();
        let deadline = Deadline::start(options.deadline, Instant::now());
        let trace = router.observers.trace(request, deadline.now());
        let mut attempt =
            exchange(request, around, server, &mut self.connection, &deadline, deadline.attempt_end(false));
        // A pinned request goes nowhere else: the settings keep the verdict from asking another node.
        let setting = Setting { assigned_role: server.assigned_role, is_second: true, has_recent_failover: &|| false };
        let (verdict, outcome) = match &attempt {
            Ok(reply) => judge(request, reply, setting),
            Err(fault) => judge_fault(request, fault),
        };
        match (verdict, outcome) {
            (Verdict::Answer, _) => server.record_answer(request.is_read()),
            (_, Some(outcome)) => router.record_failure(server, outcome, Fault::cause_of(&attempt), Instant::now()),
            (_, None) => {}
        }
        if let Ok(reply) = &mut attempt {
            reply.hide_arguments(request);
        }
        let ended = attempt.map_err(|fault| fault.into_error(&server.node, server.pool.limits().size, request));
        if let Some(mut trace) = trace {
            trace.attempted(server.attempted(&deadline), ended.as_ref().err());
            trace.end(ended.as_ref(), false);
        }
        ended
    }

    /// Returns the node to which the connection leads.
    pub(crate) fn node(&self) -> &NodeAddr {
        self.topology.servers()[self.position].node.addr()
    }

    /// Returns whether the connection can still be used.
    pub(crate) fn is_live(&self) -> bool {
        self.connection.is_live()
    }

    /// Returns the connection to its pool. No transaction and no scan may be open on it.
    pub(crate) fn release(mut self) {
        self.connection.release();
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pinned").field(self.node()).finish()
    }
}
