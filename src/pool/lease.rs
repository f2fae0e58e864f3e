//! A lent connection. It comes back to its pool only if nothing is owed on it.

use std::time::Instant;

use redis::RedisResult;

use super::live::Live;
use super::patience::Patience;
use super::slots::Slots;
use crate::classification::Request;
use crate::replication::Role;
use crate::retry::{Fault, Reply, Stage};

/// A lent connection.
///
/// Given back on drop. It is closed instead if a reply is owed or was lost, also when a panic unwinds through the call,
/// and if a transaction or a watch is open on it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// `None` only while it is given back.
    slot: Option<r2d2::PooledConnection<Slots>>,
    /// Nothing is owed: the next user finds the connection as the first one did.
    is_settled: bool,
    /// Getting it ready took time: the clock is to be read again.
    took_time: bool,
}

impl Lease {
    #[inline]
    pub(super) fn new(slot: r2d2::PooledConnection<Slots>, took_time: bool) -> Self {
        Self { slot: Some(slot), is_settled: true, took_time }
    }

    pub(super) fn fill(&mut self, mut live: Live) {
        live.count();
        if let Some(slot) = &mut self.slot {
            slot.live = Some(Box::new(live));
        }
        self.took_time = true;
    }

    /// Takes the connection of another slot.
    pub(super) fn take_over(&mut self, other: &mut Self) {
        if let (Some(own), Some(other)) = (&mut self.slot, &mut other.slot) {
            own.live = other.live.take();
        }
    }

    #[inline]
    fn live(&self) -> Option<&Live> {
        self.slot.as_ref()?.live.as_deref()
    }

    #[inline]
    fn live_mut(&mut self) -> Option<&mut Live> {
        self.slot.as_mut()?.live.as_deref_mut()
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Returns whether the caller waited for the slot, for the connection or for a proof.
    pub(crate) fn took_time(&self) -> bool {
        self.took_time
    }

    /// Closes the connection.
    pub(crate) fn discard(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.live = None;
        }
    }

    /// Returns when the connection was last used, or opened.
    #[inline]
    pub(crate) fn last_used(&self) -> Option<Instant> {
        self.live().map(|live| live.last_used)
    }

    /// Returns whether the connection has answered before.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        self.live().is_some_and(|live| live.has_served)
    }

    /// Returns what the server last said it was, if it said so.
    #[inline]
    pub(crate) fn role(&self) -> Option<Role> {
        self.live().and_then(|live| live.role)
    }

    /// Returns whether the node left its place in the set since the connection was opened.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.live().is_some_and(Live::is_withdrawn)
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
            let is_stale = fault.stage == Stage::Sent && has_served && fault.was_closed();
            if is_stale { Fault { stage: Stage::Stale, ..fault } } else { fault }
        })
    }

    /// Records that a request was answered at `now`.
    #[inline]
    pub(crate) fn served(&mut self, now: Instant) {
        if let Some(live) = self.live_mut() {
            live.has_served = true;
            live.last_used = now;
        }
    }

    /// Does I/O on the connection; whatever ends it early, a panic included, leaves it unsettled or closed.
    #[inline]
    fn exchange<T>(&mut self, stage: Stage, io: impl FnOnce(&mut Live) -> RedisResult<T>) -> Result<T, Fault> {
        let was_settled = std::mem::replace(&mut self.is_settled, false);
        let Some(live) = self.live_mut() else { return Err(Fault::new(stage, None)) };
        match io(live) {
            Ok(done) => {
                self.is_settled = was_settled;
                Ok(done)
            }
            Err(cause) => {
                let is_withdrawn = stage == Stage::Sent && self.is_withdrawn();
                self.discard();
                Err(Fault::new(if is_withdrawn { Stage::Withdrawn } else { stage }, cause))
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
        let awaited = self.live().and_then(Live::awaited);
        // Given back first: whoever is woken has to find it.
        self.slot = None;
        if let Some(access) = awaited {
            access.wake_one();
        }
    }
}
