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
    let call = Call::new(router, request, options, affinity, Instant::now());
    let (reply, topology, position) =
        drive(call, around, |server, deadline, has_more| attempt(request, around, server, deadline, has_more))?;
    Ok(Served { reply, topology, position })
}

/// Obtains a connection, instead of a reply, from a server that may serve the request.
pub(crate) fn connect<T: Obtained>(
    router: &Router,
    request: &Request<'_>,
    options: CallOptions,
    affinity: Affinity<'_>,
    open: impl FnMut(&Assigned, &Deadline, bool) -> Result<T, Fault>,
) -> Result<(T, Arc<Topology>, usize), Stop> {
    drive(Call::new(router, request, options, affinity, Instant::now()).connecting(), &Plain, open)
}

/// Drives a call to its end.
#[inline]
fn drive<T: Obtained>(
    mut call: Call<'_>,
    around: &impl Around,
    mut attempt: impl FnMut(&Assigned, &Deadline, bool) -> Result<T, Fault>,
) -> Result<(T, Arc<Topology>, usize), Stop> {
    let mut now = call.deadline.now();
    loop {
        match call.next(around, now) {
            Next::Attempt(selected) => {
                let (position, has_more) = (selected.position, selected.has_more);
                let attempted = attempt(call.server(&selected), &call.deadline, has_more);
                if let Some(end) = call.record(selected, attempted, Instant::now) {
                    return end.map(|obtained| (obtained, call.topology, position));
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
        match wait {
            Wait::Topology(pause) => {
                if !store.is_monitored() && (!self.topology.is_settled() || self.topology.master().is_none()) {
                    self.router.monitor.suspect();
                }
                self.resume(store.wait_for_change(&self.topology, pause));
            }
            Wait::Permit(until) => {
                permits.wait(until);
                self.resume(store.current());
            }
            Wait::Pause(pause) => thread::sleep(pause),
        }
    }
}

impl Served {
    /// Returns the node that served the request.
    pub(crate) fn node(&self) -> &NodeAddr {
        self.topology.servers()[self.position].node.addr()
    }

    /// Returns whether the reply came from a shared endpoint.
    pub(crate) fn is_from_shared_endpoint(&self) -> bool {
        self.topology.servers()[self.position].node.is_shared()
    }
}
