//! The driver: the one loop that does the I/O of a call.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::around::{Around, Plain};
use super::attempt::attempt;
use super::machine::{Call, Next, Obtained, Stop, Wait};
use super::router::{CallOptions, Router};
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::observe::Lack;
use crate::retry::{Deadline, Fault, Reply};
use crate::selection::Affinity;
use crate::topology::{Assigned, Topology};

/// A reply and the server that gave it.
pub(crate) struct Served {
    pub(crate) reply: Reply,
    pub(super) topology: Arc<Topology>,
    pub(super) position: usize,
}

/// Routes a request and returns the reply.
pub(crate) fn run(
    router: &Router,
    request: &Request<'_>,
    options: CallOptions,
    affinity: Affinity<'_>,
    around: &impl Around,
) -> Result<Served, Stop> {
    let now = Instant::now();
    let mut call = Call::new(router, request, options, affinity, now, router.observers.trace(request, now));
    let attempt = |server: &_, deadline: &_, has_more| attempt(request, around, server, deadline, has_more);
    let driven = drive(&mut call, around, attempt);
    if let Some(trace) = call.trace.take() {
        match &driven {
            Ok((reply, _)) => trace.end(Ok(reply), false),
            Err(Stop::Error(error)) => trace.end(Err(error), call.waits_for_permit),
            // The call goes on, at the master.
            Err(Stop::IsWrite { .. }) => {}
        }
    }
    driven.map(|(reply, position)| Served { reply, topology: call.topology, position })
}

/// Obtains a connection, instead of a reply, from a server that may serve the request.
pub(crate) fn connect<T: Obtained>(
    router: &Router,
    request: &Request<'_>,
    options: CallOptions,
    affinity: Affinity<'_>,
    open: impl FnMut(&Assigned, &Deadline, bool) -> Result<T, Fault>,
) -> Result<(T, Arc<Topology>, usize), Stop> {
    let mut call = Call::new(router, request, options, affinity, Instant::now(), None).connecting();
    drive(&mut call, &Plain, open).map(|(obtained, position)| (obtained, call.topology, position))
}

/// Drives a call to its end.
#[inline]
fn drive<T: Obtained>(
    call: &mut Call<'_>,
    around: &impl Around,
    mut attempt: impl FnMut(&Assigned, &Deadline, bool) -> Result<T, Fault>,
) -> Result<(T, usize), Stop> {
    let mut now = call.deadline.now();
    loop {
        match call.next(around, now) {
            Next::Attempt(selected) => {
                let (position, has_more) = (selected.position, selected.has_more);
                let attempted = attempt(call.server(&selected), &call.deadline, has_more);
                if let Some(end) = call.record(selected, attempted, Instant::now) {
                    return end.map(|obtained| (obtained, position));
                }
            }
            Next::Wait(wait) => call.wait(wait),
            Next::Done(error) => return Err(Stop::Error(error)),
        }
        now = Instant::now();
    }
}

impl Call<'_> {
    /// Waits, and continues with the topology at the end of the wait.
    #[cold]
    fn wait(&mut self, wait: Wait) {
        let (store, permits) = (&self.router.store, &self.router.selector.permits);
        let lack = match wait {
            Wait::Topology(pause) => {
                if !store.is_monitored() && (!self.topology.is_settled() || self.topology.master().is_none()) {
                    self.router.monitor.suspect();
                }
                self.resume(store.wait_for_change(&self.topology, pause));
                Lack::Node
            }
            Wait::Permit(until) => {
                permits.wait(until);
                self.resume(store.current());
                Lack::Permit
            }
            Wait::Pause(pause) => {
                thread::sleep(pause);
                Lack::Budget
            }
        };
        if let Some(trace) = &mut self.trace {
            trace.paused(lack, self.deadline.now());
        }
    }
}

impl Served {
    /// Returns the server that served the request.
    pub(crate) fn server(&self) -> &Assigned {
        &self.topology.servers()[self.position]
    }

    /// Returns the node that served the request.
    pub(crate) fn node(&self) -> &NodeAddr {
        self.server().node.addr()
    }
}
