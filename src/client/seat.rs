//! One connection to the master, kept over several requests.

use std::fmt;
use std::sync::Arc;

use super::ReplicatedClient;
use super::attempt::{exchange, prepare};
use super::clock::Clock;
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Lease;
use crate::routing::{Fault, Reply, Stage, Verdict, judge};
use crate::topology::{Member, Topology};

/// A connection to the master that one handle keeps for its transaction. Dropped before it is released, it is closed.
pub(crate) struct Seat {
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
    pub(crate) fn take_seat(&self, request: &Request<'_>, clock: &mut Clock) -> Result<Seat> {
        let topology = self.shared.current();
        let Some(position) = topology.master() else {
            return Err(Error::new(ErrorKind::Unavailable, "the set has no master"));
        };
        let member = &topology.members()[position];
        loop {
            let end = clock.attempt_end(false);
            let taken = member.pool.checkout(member.node.in_flight(), end).and_then(|mut lease| {
                prepare(member, &mut lease, true, clock, end)?;
                Ok(lease)
            });
            clock.tick();
            let fault = match taken {
                Ok(mut lease) => {
                    lease.hold();
                    return Ok(Seat { topology: Arc::clone(&topology), position, lease });
                }
                Err(fault) => fault,
            };
            let is_final = fault.stage == Stage::Checkout || fault.is_refusal_by_server();
            if !is_final && fault.stage != Stage::Idle {
                clock.pause();
            }
            if is_final || !clock.goes_on() {
                return Err(fault.into_error(member.node.addr(), request));
            }
        }
    }
}

impl Seat {
    fn member(&self) -> &Member {
        &self.topology.members()[self.position]
    }

    /// Runs a request on this connection, once.
    pub(crate) fn run(&mut self, request: &Request<'_>, clock: &mut Clock) -> Result<Reply> {
        let member = &self.topology.members()[self.position];
        let _in_flight = member.node.begin();
        let end = clock.attempt_end(false);
        let attempt = exchange(member, &mut self.lease, request, clock, end);
        clock.tick();
        match judge(request, &attempt) {
            (Verdict::Answer, _) => member.node.record_answer(),
            (_, Some(outcome)) => member.node.record_failure(outcome, clock.now()),
            (_, None) => {}
        }
        attempt.map_err(|fault: Fault| fault.into_error(member.node.addr(), request))
    }

    pub(crate) fn node(&self) -> &NodeAddr {
        self.member().node.addr()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.lease.is_live()
    }

    /// Nothing is open any more: the connection may go back to its pool.
    pub(crate) fn release(mut self) {
        self.lease.release();
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(self.member().node.addr()).finish()
    }
}
