//! Connections to one node: how they are bounded, lent, opened and given back.
//!
//! r2d2 lends *slots*. A slot may be empty; the caller that got it connects under its own deadline. So r2d2 never
//! connects, never waits for a port that refuses, never backs off and never sends a PING; it bounds, lends and reaps.
//!
//! A pool never retries and never picks another node: that is the business of [`client`](crate::client). No lock is held
//! across I/O.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scheduled_thread_pool::{OnPoolDropBehavior, ScheduledThreadPool};

use self::connector::Connector;
use self::slots::Slots;
use crate::error::{Error, Result};
use crate::node::Role;
use crate::routing::{Fault, Stage};

mod connector;
mod hello;
#[cfg(test)]
mod hostile;
mod lease;
mod line;
mod live;
mod patience;
mod slots;
mod wire;

pub(crate) use self::connector::Login;
pub(crate) use self::hello::role_in_greeting;
pub(crate) use self::lease::Lease;
pub(crate) use self::line::{Line, Silence};
pub(crate) use self::patience::{Patience, socket_limit};

/// The bounds of one pool and the time limits of one attempt. The deadline of the call bounds them all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) size: u32,
    pub(crate) connect: Duration,
    pub(crate) checkout: Duration,
    pub(crate) response: Duration,
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size: 10,
            connect: Duration::from_millis(500),
            checkout: Duration::from_millis(250),
            response: Duration::from_secs(1),
            idle: Duration::from_secs(600),
        }
    }
}

/// The one thread on which r2d2 reaps idle connections, shared by all pools of a client.
#[derive(Clone)]
pub(crate) struct Housekeeping(Arc<ScheduledThreadPool>);

impl Housekeeping {
    pub(crate) fn new() -> Self {
        let thread = ScheduledThreadPool::builder()
            .num_threads(1)
            .thread_name_pattern("redis-replicated")
            // The thread ends with the last handle instead of waiting for the next round.
            .on_drop_behavior(OnPoolDropBehavior::DiscardPendingScheduled)
            .build();
        Self(Arc::new(thread))
    }
}

impl fmt::Debug for Housekeeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Housekeeping")
    }
}

/// The pool of one node.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: r2d2::Pool<Slots>,
    connector: Connector,
    login: Login,
    limits: Limits,
    epoch: Instant,
    /// Idle connections last used before this are not trusted; in nanoseconds since `epoch`.
    distrusted_until: AtomicU64,
}

impl Pool {
    /// Makes an empty pool; nothing is connected.
    pub(crate) fn new(login: Login, limits: Limits, housekeeping: &Housekeeping) -> Result<Self> {
        let connector = Connector::new(login.clone())
            .map_err(|error| Error::config("an endpoint cannot be used").because(error))?;
        let slots = r2d2::Pool::builder()
            .max_size(limits.size)
            // All slots exist from the start; they cost nothing while they are empty. With a smaller number r2d2 loses
            // wake-ups of waiting callers.
            .min_idle(None)
            .test_on_check_out(false)
            .idle_timeout(Some(limits.idle))
            .max_lifetime(None)
            .thread_pool(Arc::clone(&housekeeping.0))
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Slots);
        Ok(Self { slots, connector, login, limits, epoch: Instant::now(), distrusted_until: AtomicU64::new(0) })
    }

    /// Lends a live connection, opened now if the slot is empty, by `end` at the latest.
    ///
    /// `in_flight` is the number of requests that have or want a connection, as far as they are counted.
    #[inline]
    pub(crate) fn checkout(&self, in_flight: u32, end: Option<Instant>) -> Result<Lease, Fault> {
        // With more requests than slots a look would mostly be in vain, and cost everybody the lock.
        let look = if in_flight > self.limits.size { None } else { self.slots.try_get() };
        let mut lease = match look {
            Some(slot) => Lease::new(slot, false),
            None => Lease::new(self.wait_for_slot(end)?, true),
        };
        if let Some(last_used) = lease.last_used() {
            // 0 until the first connection died while idle: no clock is read on the way of a healthy call.
            let distrusted = self.distrusted_until.load(Ordering::Relaxed);
            if distrusted != 0 && self.since_epoch(last_used) <= distrusted {
                lease.discard();
            }
        }
        if !lease.is_live() {
            self.fill(&mut lease, end)?;
        }
        Ok(lease)
    }

    #[cold]
    fn fill(&self, lease: &mut Lease, end: Option<Instant>) -> Result<(), Fault> {
        let limit = within(end, self.limits.connect);
        lease.fill(self.connector.connect(limit).map_err(|cause| Fault::new(Stage::Connect, cause))?);
        Ok(())
    }

    /// Stops lending connections that have been idle for as long as one that turned out to be dead.
    pub(crate) fn distrust_until(&self, last_used: Instant) {
        self.distrusted_until.fetch_max(self.since_epoch(last_used), Ordering::Relaxed);
    }

    /// Ends a generation of connections, because the node is not what it was when they were opened: they are not lent any
    /// more, and what becomes of those that are lent says nothing about the node.
    pub(crate) fn end_generation(&self, now: Instant) {
        self.distrust_until(now);
    }

    /// Tells whether a connection that was last used, or opened, at this time is of an earlier generation.
    pub(crate) fn is_of_old(&self, last_used: Instant) -> bool {
        self.since_epoch(last_used) <= self.distrusted_until.load(Ordering::Relaxed)
    }

    /// Returns a line on which the node can be asked how it is, beside the slots. Connects to nothing.
    pub(crate) fn line(&self) -> redis::RedisResult<Line> {
        Line::new(self.login.clone(), self.limits.connect, self.limits.response)
    }

    /// Opens a connection that belongs to no pool, and tells the role of the node.
    pub(crate) fn connect_unpooled(&self, end: Option<Instant>) -> Result<(redis::Connection, Option<Role>), Fault> {
        let limit = within(end, self.limits.connect);
        self.connector.connect_plain(limit).map_err(|cause| Fault::new(Stage::Connect, cause))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn database(&self) -> i64 {
        self.connector.database()
    }

    /// Returns how many slots are lent.
    pub(crate) fn lent(&self) -> u32 {
        let state = self.slots.state();
        state.connections.saturating_sub(state.idle_connections)
    }

    #[cold]
    fn wait_for_slot(&self, end: Option<Instant>) -> Result<r2d2::PooledConnection<Slots>, Fault> {
        let limit = within(end, self.limits.checkout);
        // r2d2's error is a text; the only reason here is that all slots are lent.
        self.slots.get_timeout(limit).map_err(|_| Fault::new(Stage::Checkout, None))
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        // One more, so that 0 always means "never"; 584 years fit.
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// The limit, cut to what is left until `end`.
fn within(end: Option<Instant>, limit: Duration) -> Duration {
    end.map_or(limit, |end| limit.min(end.saturating_duration_since(Instant::now())))
}
