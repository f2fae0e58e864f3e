//! A lent connection, and the slot of r2d2 that holds it. It is closed instead of given back if a reply is still
//! expected on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult};

use super::access::{Access, Counted};
use super::open_connection::OpenConnection;
use super::transport::TimeLimit;
use crate::classification::Request;
use crate::observe::CloseReason;
use crate::replication::Role;
use crate::retry::{Fault, Reply, Spent, Stage};

/// Makes empty slots; never connects, checks or rejects anything.
#[derive(Debug)]
pub(super) struct Slots;

/// A place for a connection, empty until a caller fills it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Boxed: r2d2 moves a slot several times for each lease.
    pooled: Option<Box<Pooled>>,
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) struct Pooled {
    connection: OpenConnection,
    counted: Counted,
    /// How long it may lie idle.
    idle: Duration,
}

/// A lent connection.
///
/// Given back on drop. It is closed instead if a reply is expected or was lost, also when a panic unwinds through the
/// call, and if a transaction or a watch is open on it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// `None` only while it is given back.
    slot: Option<r2d2::PooledConnection<Slots>>,
    /// No reply is expected and no transaction is open: the next user finds the connection as the first one did.
    is_settled: bool,
    /// The caller waited for the connection: the clock is to be read again.
    took_time: bool,
    /// Where the time of the caller went.
    spent: Spent,
}

impl r2d2::ManageConnection for Slots {
    type Connection = Slot;
    type Error = Infallible;

    fn connect(&self) -> Result<Slot, Infallible> {
        Ok(Slot::default())
    }

    fn is_valid(&self, _: &mut Slot) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Slot) -> bool {
        // A broken connection was dropped by its lease; the slot itself is as good as before.
        false
    }
}

impl Pooled {
    /// Records why the connection is closed. The first reason counts.
    fn ends_by(&self, reason: CloseReason) {
        if let Some(life) = &self.counted.life {
            life.ends_by(reason);
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // The only ones without a reason are those that r2d2 closes, because they were idle, and those of a pool that ends.
        if self.connection.last_used.elapsed() >= self.idle {
            self.ends_by(CloseReason::Idle);
        }
    }
}

/// Returns why a connection is closed on which this happened.
pub(super) fn reason_of(cause: &RedisError) -> CloseReason {
    if cause.is_connection_dropped() { CloseReason::Server } else { CloseReason::Error }
}

impl Lease {
    #[inline]
    pub(super) fn new(slot: r2d2::PooledConnection<Slots>, took_time: bool) -> Self {
        Self { slot: Some(slot), is_settled: true, took_time, spent: Spent::default() }
    }

    /// Puts a connection into the slot, which was just opened and took so long. It may lie idle for `idle`.
    pub(super) fn fill(&mut self, connection: OpenConnection, access: &Arc<Access>, took: Duration, idle: Duration) {
        if let Some(slot) = &mut self.slot {
            slot.pooled = Some(Box::new(Pooled { connection, counted: access.count(), idle }));
        }
        self.took_time = true;
        self.spent = self.spent.and(Spent::connecting(took));
    }

    /// Takes the connection of another slot.
    pub(super) fn take_over(&mut self, other: &mut Self) {
        if let (Some(own), Some(other)) = (&mut self.slot, &mut other.slot) {
            own.pooled = other.pooled.take();
        }
    }

    #[inline]
    fn pooled(&self) -> Option<&Pooled> {
        self.slot.as_ref()?.pooled.as_deref()
    }

    #[inline]
    fn connection(&self) -> Option<&OpenConnection> {
        Some(&self.pooled()?.connection)
    }

    #[inline]
    fn connection_mut(&mut self) -> Option<&mut OpenConnection> {
        Some(&mut self.slot.as_mut()?.pooled.as_mut()?.connection)
    }

    /// Returns whether there is a connection in the slot.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.pooled().is_some()
    }

    /// Returns whether the caller waited for the slot, for the connection or for its validation.
    pub(crate) fn took_time(&self) -> bool {
        self.took_time
    }

    /// Records that the caller waited so long for a connection that another one had.
    pub(super) fn waited(&mut self, time: Duration) {
        self.spent = self.spent.and(Spent::waiting(time));
    }

    /// Returns where the time of the caller went since it was last asked.
    pub(crate) fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    /// Closes the connection.
    pub(crate) fn discard(&mut self, reason: CloseReason) {
        drop(self.take(reason));
    }

    /// Takes the connection out of the slot. Dropping it closes it.
    pub(super) fn take(&mut self, reason: CloseReason) -> Option<Box<Pooled>> {
        self.slot.as_mut().and_then(|slot| slot.pooled.take()).inspect(|pooled| pooled.ends_by(reason))
    }

    /// Returns when the connection was last used, or opened.
    #[inline]
    pub(crate) fn last_used(&self) -> Option<Instant> {
        self.connection().map(|connection| connection.last_used)
    }

    /// Returns whether the connection has answered before.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        self.connection().is_some_and(|connection| connection.has_served)
    }

    /// Returns the role in the server's last answer, if it contained one.
    #[inline]
    pub(crate) fn role(&self) -> Option<Role> {
        self.connection().and_then(|connection| connection.role)
    }

    /// Returns whether the generation of the connection has ended.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.connection().is_some_and(OpenConnection::is_withdrawn)
    }

    /// Keeps the connection from being lent again while a transaction or a watch is open on it.
    pub(crate) fn hold(&mut self) {
        self.is_settled = false;
    }

    /// Allows the connection to be lent again, because the transaction has ended.
    pub(crate) fn release(&mut self) {
        self.is_settled = true;
    }

    /// Asks the server for its role. The answer proves that the connection works.
    pub(crate) fn ask_role(&mut self, end: Instant) -> Result<(), Fault> {
        let has_served = self.has_served();
        self.took_time = true;
        self.exchange(Stage::Connect, |connection| connection.ask_role(end)).map_err(|fault| {
            let stage = if has_served && fault.was_closed() { Stage::Idle } else { Stage::Connect };
            Fault { stage, ..fault }
        })
    }

    /// Sends a request and waits for its reply.
    #[inline]
    pub(crate) fn send(&mut self, request: &Request<'_>, limit: TimeLimit) -> Result<Reply, Fault> {
        let has_served = self.has_served();
        let mut sending = Duration::ZERO;
        let sent = self.exchange(Stage::Sent, |connection| connection.send(request, limit, &mut sending));
        if !sending.is_zero() {
            self.spent = self.spent.and(Spent::sending(sending));
        }
        sent.map_err(|fault| {
            let is_stale = fault.stage == Stage::Sent && has_served && fault.was_closed();
            if is_stale { Fault { stage: Stage::Stale, ..fault } } else { fault }
        })
    }

    /// Records that a request was answered at `now`.
    #[inline]
    pub(crate) fn served(&mut self, now: Instant) {
        if let Some(connection) = self.connection_mut() {
            (connection.has_served, connection.last_used) = (true, now);
        }
    }

    /// Does I/O on the connection. If it ends early, by an error or a panic, the connection will not be lent again.
    #[inline]
    fn exchange<T>(
        &mut self,
        stage: Stage,
        io: impl FnOnce(&mut OpenConnection) -> RedisResult<T>,
    ) -> Result<T, Fault> {
        let was_settled = std::mem::replace(&mut self.is_settled, false);
        let Some(connection) = self.connection_mut() else { return Err(Fault::new(stage, None)) };
        match io(connection) {
            Ok(done) => {
                self.is_settled = was_settled;
                Ok(done)
            }
            Err(cause) => {
                let is_withdrawn = self.is_withdrawn();
                self.discard(if is_withdrawn { CloseReason::Unhealthy } else { reason_of(&cause) });
                let is_withdrawn = stage == Stage::Sent && is_withdrawn;
                Err(Fault::new(if is_withdrawn { Stage::Withdrawn } else { stage }, cause))
            }
        }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if !self.is_settled {
            // A reply is still expected, or a transaction is open.
            self.discard(CloseReason::Application);
        }
        let access = self.pooled().map(|pooled| &pooled.counted.access);
        let awaited = access.filter(|access| access.waiting.load(Ordering::Relaxed) > 0).cloned();
        // Given back first: the caller that is woken has to find it.
        self.slot = None;
        if let Some(access) = awaited {
            access.wake_one();
        }
    }
}
