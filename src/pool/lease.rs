//! A lent connection. It comes back to its pool only if nothing is owed on it.

use std::time::Instant;

use redis::RedisResult;

use super::live::Live;
use super::patience::Patience;
use super::slots::{Slot, Slots};
use crate::classification::Request;
use crate::node::Role;
use crate::routing::{Fault, Reply, Stage};

/// A lent connection.
///
/// Given back on drop. It is closed instead if a reply is owed or was lost, also when a panic unwinds through the call,
/// and if a transaction or a watch is open on it.
#[derive(Debug)]
pub(crate) struct Lease {
    slot: r2d2::PooledConnection<Slots>,
    /// Nothing is owed: the next user finds the connection as the first one did.
    is_settled: bool,
    /// Getting it ready took time: the clock is to be read again.
    took_time: bool,
}

impl Lease {
    #[inline]
    pub(super) fn new(slot: r2d2::PooledConnection<Slots>, took_time: bool) -> Self {
        Self { slot, is_settled: true, took_time }
    }

    pub(super) fn fill(&mut self, live: Live) {
        self.slot.live = Some(Box::new(live));
        self.took_time = true;
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.slot.live.is_some()
    }

    /// Tells whether the caller waited for the slot, for the connection or for a proof.
    pub(crate) fn took_time(&self) -> bool {
        self.took_time
    }

    /// Closes the connection.
    pub(crate) fn discard(&mut self) {
        self.slot.live = None;
    }

    /// Returns when the connection was last used, or opened.
    #[inline]
    pub(crate) fn last_used(&self) -> Option<Instant> {
        self.slot.live.as_ref().map(|live| live.last_used)
    }

    /// Tells whether the connection has answered before.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        self.slot.live.as_ref().is_some_and(|live| live.has_served)
    }

    /// Returns what the server last said it was, if it said so.
    #[inline]
    pub(crate) fn role(&self) -> Option<Role> {
        self.slot.live.as_ref().and_then(|live| live.role)
    }

    /// Keeps the connection from being lent again while a transaction or a watch is open on it.
    pub(crate) fn hold(&mut self) {
        self.is_settled = false;
    }

    /// The transaction ended: the connection may be lent again.
    pub(crate) fn release(&mut self) {
        self.is_settled = true;
    }

    /// Asks the server for its role: proves that it is there and what it is.
    pub(crate) fn ask_role(&mut self, end: Instant) -> Result<(), Fault> {
        let has_served = self.has_served();
        self.took_time = true;
        self.exchange(Stage::Connect, |live| live.ask_role(end)).map_err(|fault| {
            let stage = if has_served && fault.was_closed() { Stage::Idle } else { Stage::Connect };
            Fault { stage, ..fault }
        })
    }

    /// Sends a request and waits for its reply.
    #[inline]
    pub(crate) fn send(&mut self, request: &Request<'_>, patience: Patience) -> Result<Reply, Fault> {
        let has_served = self.has_served();
        self.exchange(Stage::Sent, |live| live.send(request, patience)).map_err(|fault| {
            let stage = if has_served && fault.was_closed() { Stage::Stale } else { Stage::Sent };
            Fault { stage, ..fault }
        })
    }

    /// Notes that a request was answered at `now`.
    #[inline]
    pub(crate) fn served(&mut self, now: Instant) {
        if let Slot { live: Some(live) } = &mut *self.slot {
            live.has_served = true;
            live.last_used = now;
        }
    }

    /// Does I/O on the connection; whatever ends it early, a panic included, leaves it unsettled or closed.
    #[inline]
    fn exchange<T>(&mut self, stage: Stage, io: impl FnOnce(&mut Live) -> RedisResult<T>) -> Result<T, Fault> {
        let was_settled = std::mem::replace(&mut self.is_settled, false);
        let Some(live) = self.slot.live.as_mut() else { return Err(Fault::new(stage, None)) };
        match io(live) {
            Ok(done) => {
                self.is_settled = was_settled;
                Ok(done)
            }
            Err(cause) => {
                self.discard();
                Err(Fault::new(stage, cause))
            }
        }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if !self.is_settled {
            self.discard();
        }
    }
}
