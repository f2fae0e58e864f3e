//! One connection to the master, kept over several requests.

use std::fmt;
use std::sync::Arc;

use super::attempt::{Purpose, exchange, failure, take};
use super::clock::Clock;
use super::guard::Guard;
use super::{ReplicatedClient, Served};
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::node::SyncState;
use crate::pool::Lease;
use crate::retry::{Fault, Reply, Setting, Stage, Verdict, judge, outcome_of};
use crate::topology::{Assigned, Topology};

/// A connection that is kept.
const PINNED: Purpose = Purpose { must_be_alive: true, blocks: false, has_more: false };

/// A connection to the master that one handle keeps for its transaction. Dropped before it is released, it is closed.
pub(crate) struct Pinned {
    topology: Arc<Topology>,
    position: usize,
    lease: Lease,
}

impl ReplicatedClient {
    /// Starts the time of a call.
    pub(crate) fn clock(&self) -> Clock {
        Clock::start(self.options.deadline)
    }

    /// Takes a proven connection to the master, waiting for one until the deadline. Nothing of `request` is sent.
    pub(crate) fn pin(&self, request: &Request<'_>, clock: &mut Clock) -> Result<Pinned> {
        if !clock.goes_on() {
            return Err(Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}")));
        }
        let mut topology = self.shared.store.current();
        loop {
            let error = match topology.master().filter(|_| topology.is_settled()) {
                None => Error::new(ErrorKind::Unavailable, "no master is known"),
                Some(position) => match self.sit_down(&topology, position, clock) {
                    Ok(lease) => return Ok(Pinned { topology, position, lease }),
                    Err(fault) => {
                        let error = |fault: Fault| failure(&topology.servers()[position], request, fault);
                        if matches!(fault.stage, Stage::Checkout | Stage::Turn) || fault.is_refusal() {
                            return Err(error(fault));
                        }
                        error(fault)
                    }
                },
            };
            if !clock.goes_on() {
                return Err(error);
            }
            topology = self.wait(&topology, clock);
        }
    }

    /// Takes a connection to the node that has just served something, to go on with it there.
    pub(crate) fn pin_beside(&self, served: &Served, request: &Request<'_>) -> Result<Pinned> {
        let (topology, position) = (Arc::clone(&served.topology), served.position);
        let lease = self.sit_down(&topology, position, &mut self.clock());
        let lease = lease.map_err(|fault| failure(&topology.servers()[position], request, fault))?;
        Ok(Pinned { topology, position, lease })
    }

    /// Takes a proven connection; one that was closed while idle is replaced at once.
    fn sit_down(&self, topology: &Topology, position: usize, clock: &mut Clock) -> Result<Lease, Fault> {
        let server = &topology.servers()[position];
        let mut take_once = || {
            let taken = take(server, PINNED, clock, clock.attempt_end(false));
            clock.tick();
            taken
        };
        let taken = match take_once() {
            Err(fault) if fault.stage == Stage::Idle => take_once(),
            taken => taken,
        };
        match taken {
            Ok(mut lease) => {
                lease.hold();
                Ok(lease)
            }
            Err(fault) => {
                self.note(server, outcome_of(&fault), clock);
                Err(fault)
            }
        }
    }
}

impl Pinned {
    fn server(&self) -> &Assigned {
        &self.topology.servers()[self.position]
    }

    /// Runs a request on this connection, once.
    pub(crate) fn run(&mut self, client: &ReplicatedClient, guard: &Guard<'_>, clock: &mut Clock) -> Result<Reply> {
        let request = guard.request();
        let server = &self.topology.servers()[self.position];
        if server.node.sync_state() == SyncState::Diverged {
            let text = format!("{request} is not sent any more: another node is the master now");
            return Err(Error::new(ErrorKind::Unavailable, text).on(server.node.addr()));
        }
        let _in_flight = server.node.begin();
        let end = clock.attempt_end(false);
        let attempt = exchange(server, &mut self.lease, guard, clock, end);
        clock.tick();
        // Whoever holds a connection decides what to do about a refusal.
        let setting = Setting { assigned_role: server.assigned_role, is_second: true, has_new_master: &|| false };
        match judge(request, &attempt, setting) {
            (Verdict::Answer, _) => server.record_answer(),
            (_, outcome) => client.note(server, outcome, clock),
        }
        match attempt {
            Ok(mut reply) => {
                reply.hide_arguments(request);
                Ok(reply)
            }
            Err(fault) => Err(failure(server, request, fault)),
        }
    }

    pub(crate) fn node(&self) -> &NodeAddr {
        self.server().node.addr()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.lease.is_live()
    }

    /// Nothing is open any more: the connection may go back to its pool.
    pub(crate) fn release(mut self) {
        self.lease.release();
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pinned").field(self.server().node.addr()).finish()
    }
}
