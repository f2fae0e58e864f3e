//! The pool of one node: checkout, and the connections that belong to no slot.

use std::iter::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::access::Access;
use super::connection::Connection;
use super::handshake::Login;
use super::housekeeping::Housekeeping;
use super::lease::{Lease, Slots};
use super::limits::Limits;
use super::network::Network;
use super::shared::{Share, SharedConnection, Sharing};
use super::status_connection::StatusConnection;
use super::unpooled::Unpooled;
use super::waits::Waits;
use crate::error::Result;
use crate::observe::{CloseReason, ConnectionChange, ConnectionKind, NodeObservers};
use crate::replication::Role;
use crate::retry::{Fault, Obstacle, Stage};

mod counts;

/// How often a caller that waits for a slot checks whether the generation has ended.
const CHECKS_EVERY: Duration = Duration::from_millis(250);
/// Where a call has no end.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 86_400);

/// The pool of one node.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: r2d2::Pool<Slots>,
    /// For commands that block, so that the commands which end their wait always get a connection. Made for the first
    /// one.
    blocking: OnceLock<r2d2::Pool<Slots>>,
    sharing: Sharing,
    access: Arc<Access>,
    unpooled: Unpooled,
    waits: Waits,
    limits: Limits,
    housekeeping: Housekeeping,
    database: i64,
    epoch: Instant,
    /// Idle connections last used before this are not trusted; in nanoseconds since `epoch`.
    distrusted_until: AtomicU64,
}

/// What a caller needs a connection for, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckoutOptions {
    /// The command blocks by its own argument.
    pub(crate) blocks: bool,
    /// Other callers may send on the same connection.
    pub(crate) may_share: bool,
    /// There is another candidate: a free connection is waited for no longer than the checkout limit.
    pub(crate) has_more: bool,
    /// Requests that have or want a connection, as far as they are counted.
    pub(crate) in_flight: u32,
    /// When the attempt must be over. `None`: never.
    pub(crate) end: Option<Instant>,
}

impl Pool {
    /// Makes an empty pool; nothing is connected.
    pub(crate) fn new(
        login: Login,
        limits: Limits,
        network: &Network,
        housekeeping: &Housekeeping,
        observers: NodeObservers,
    ) -> Result<Self> {
        let access = Access::new(login, network, limits.connecting, Some(observers))?;
        Ok(Self {
            database: access.connector().database(),
            slots: slots(limits, housekeeping),
            blocking: OnceLock::new(),
            sharing: Sharing::new(limits.shared, limits.shares_from),
            access,
            unpooled: Unpooled::default(),
            waits: Waits::default(),
            limits,
            housekeeping: housekeeping.clone(),
            epoch: Instant::now(),
            distrusted_until: AtomicU64::new(0),
        })
    }

    /// Returns a connection for one exchange: a share where many callers use the node, or else a lease.
    #[inline]
    pub(crate) fn connect(&self, options: CheckoutOptions) -> Result<Connection, Fault> {
        if options.may_share
            && let Some(share) = self.share(options)?
        {
            return Ok(Connection::Shared(share));
        }
        self.checkout(options).map(Connection::Leased)
    }

    #[inline]
    fn share(&self, options: CheckoutOptions) -> Result<Option<Share>, Fault> {
        if !self.sharing.is_wanted(options.in_flight.saturating_sub(self.blocked())) {
            // Where the server accepts no more connections, the shared one serves as well.
            return Ok(if self.access.is_refused() { self.sharing.find_open() } else { None });
        }
        match self.sharing.share(&self.access, || self.end_of_connect(options.end)) {
            // Where leases are open, they may do.
            Err(cause) if !self.access.has_open() => Err(Fault::new(Stage::Connect, cause)),
            shared => Ok(shared.unwrap_or_default()),
        }
    }

    /// Lends a live connection: one that is idle, one opened now if the slot is empty, or one that is given back.
    #[inline]
    fn checkout(&self, options: CheckoutOptions) -> Result<Lease, Fault> {
        let slots = if options.blocks { self.blocking_slots() } else { &self.slots };
        // With more requests than slots, trying first would mostly fail, and cost every caller the lock.
        let free = if self.is_crowded(options) { None } else { slots.try_get() };
        let mut lease = match free {
            Some(slot) => Lease::new(slot, false),
            None => self.wait_for_slot(slots, options)?,
        };
        if self.is_worn(&lease) {
            lease.discard(CloseReason::Unhealthy);
        }
        if lease.is_live() { Ok(lease) } else { self.fill(slots, lease, options) }
    }

    /// Returns whether there are more requests than slots. Commands that block have slots of their own.
    #[inline]
    fn is_crowded(&self, options: CheckoutOptions) -> bool {
        let in_flight = options.in_flight;
        in_flight > self.limits.size && in_flight - self.blocked().min(in_flight) > self.limits.size
    }

    fn blocked(&self) -> u32 {
        self.blocking.get().map_or(0, lent)
    }

    fn blocking_slots(&self) -> &r2d2::Pool<Slots> {
        self.blocking.get_or_init(|| slots(self.limits, &self.housekeeping))
    }

    #[cold]
    fn wait_for_slot(&self, slots: &r2d2::Pool<Slots>, options: CheckoutOptions) -> Result<Lease, Fault> {
        let began = Instant::now();
        self.access.waiting_for_slot.fetch_add(1, Ordering::Relaxed);
        let mut lease = self.slot_in_time(slots, options);
        self.access.waiting_for_slot.fetch_sub(1, Ordering::Relaxed);
        self.record_wait(began.elapsed(), &mut lease);
        lease
    }

    /// Records how long a caller waited for a connection, and tells whether it got one.
    fn record_wait(&self, took: Duration, got: &mut Result<Lease, Fault>) {
        if let Ok(lease) = got {
            lease.waited(took);
        }
        let is_late = |fault: &Fault| matches!(fault.stage, Stage::Checkout | Stage::Connecting);
        let (got_one, timed_out) = (got.is_ok(), got.as_ref().err().is_some_and(is_late));
        self.waits.record(took, got_one);
        self.access.tell(ConnectionKind::Pooled, ConnectionChange::Waited { took, got_one, timed_out });
    }

    fn slot_in_time(&self, slots: &r2d2::Pool<Slots>, options: CheckoutOptions) -> Result<Lease, Fault> {
        let (end, generation) = (self.end_of_wait(options), self.access.generations.present());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // r2d2's error is a text; the only reason here is that all slots are lent.
            let slot = slots.get_timeout(left.min(CHECKS_EVERY));
            if generation.is_over() {
                return Err(Fault::new(Stage::Avoided, None));
            }
            match slot {
                Ok(slot) => return Ok(Lease::new(slot, true)),
                Err(_) if left > CHECKS_EVERY => {}
                Err(_) => return Err(Fault::new(Stage::Checkout, None)),
            }
        }
    }

    /// Opens a connection in an empty slot. Where none may be opened now, waits for one that is given back.
    #[cold]
    fn fill(&self, slots: &r2d2::Pool<Slots>, empty: Lease, options: CheckoutOptions) -> Result<Lease, Fault> {
        let mut waited = Duration::ZERO;
        let mut lease = self.fill_or_wait(slots, empty, options, &mut waited);
        if !waited.is_zero() {
            self.record_wait(waited, &mut lease);
        }
        lease
    }

    /// `waited`: how long the caller has waited for a connection that is given back.
    fn fill_or_wait(
        &self,
        slots: &r2d2::Pool<Slots>,
        empty: Lease,
        options: CheckoutOptions,
        waited: &mut Duration,
    ) -> Result<Lease, Fault> {
        // A command that blocks has a slot already. From here on no other command can delay it for ever.
        let end = self.end_of_wait(CheckoutOptions { blocks: false, ..options });
        let generation = self.access.generations.present();
        let mut empty = Some(empty);
        loop {
            let now = Instant::now();
            let mut state = self.access.state();
            let (returned, refusal) = (state.returned, state.pause(now).cloned());
            let connecting = empty.as_ref().and_then(|_| self.access.begin(&mut state, now));
            drop(state);
            if let Some((connecting, mut lease)) = connecting.and_then(|connecting| Some((connecting, empty.take()?))) {
                let (kind, end) = (Some(ConnectionKind::Pooled), self.end_of_connect(options.end));
                match connecting.open(kind, &self.access.generations, end) {
                    Ok(connection) => {
                        lease.fill(connection, &self.access, now.elapsed(), self.limits.idle);
                        return Ok(lease);
                    }
                    Err(cause) if !self.waits_after(&cause) => return Err(Fault::new(Stage::Connect, cause)),
                    Err(_) => empty = Some(lease),
                }
                continue;
            }
            // If the server accepts no more connections, an idle one of the other slots serves as well.
            if let (true, Some(slot)) = (options.blocks && refusal.is_some(), &mut empty)
                && let (Some(mut idle), _) = self.find_live(&self.slots)
            {
                slot.take_over(&mut idle);
                return Ok(empty.take().unwrap_or(idle));
            }
            if let Some(cause) = refusal.clone().filter(|_| !self.access.has_open()) {
                return Err(Fault::new(Stage::Connect, cause));
            }
            if generation.is_over() {
                return Err(Fault::new(Stage::Avoided, None));
            }
            let _waiting = self.access.begin_to_wait();
            // Another caller may need the slot to give its connection back.
            drop(empty.take());
            let (live, slot) = self.find_live(slots);
            if let Some(live) = live {
                return Ok(live);
            }
            if now >= end {
                let stage = if self.access.has_open() { Stage::Checkout } else { Stage::Connecting };
                return Err(Fault::new(stage, refusal));
            }
            empty = slot;
            self.access.wait(returned, end);
            *waited += now.elapsed();
        }
    }

    /// Returns whether a caller that was refused a new connection waits for an open one.
    fn waits_after(&self, cause: &redis::RedisError) -> bool {
        Obstacle::of(cause).spares_the_node() && self.access.has_open()
    }

    /// Looks for a live connection in all free slots. Returns an empty slot if there is none.
    fn find_live(&self, slots: &r2d2::Pool<Slots>) -> (Option<Lease>, Option<Lease>) {
        let mut empty = Vec::new();
        while let Some(slot) = slots.try_get() {
            let lease = Lease::new(slot, true);
            if lease.is_live() && !self.is_worn(&lease) {
                return (Some(lease), None);
            }
            empty.push(lease);
        }
        let mut one = empty.pop();
        if let Some(lease) = &mut one {
            lease.discard(CloseReason::Unhealthy);
        }
        (None, one)
    }

    /// Opens further connections with another login, at once; those that are open stay.
    pub(crate) fn set_login(&self, info: redis::ConnectionInfo) -> Result<()> {
        self.access.set_login(info)
    }

    /// Stops lending connections that have been idle for as long as one that turned out to be dead.
    pub(crate) fn distrust_until(&self, last_used: Instant) {
        self.distrusted_until.fetch_max(self.since_epoch(last_used), Ordering::Relaxed);
        self.sharing.retire(CloseReason::Unhealthy, |connection| connection.last_used() <= last_used);
    }

    /// Closes shared connections that take no further requests, or have been idle for longer than the limit. r2d2 closes
    /// leases.
    pub(crate) fn close_idle(&self, now: Instant) {
        let is_idle = |last_used: Instant| last_used + self.limits.idle <= now;
        self.sharing.retire(CloseReason::Application, SharedConnection::is_full);
        self.sharing.retire(CloseReason::Unhealthy, |connection| !connection.is_open());
        self.sharing.retire(CloseReason::Idle, |connection| is_idle(connection.last_used()));
    }

    /// Ends a generation of connections, because the node is not what it was when they were opened. Idle ones are
    /// closed. Calls that wait on others end within half a second, and their faults do not count against the node.
    pub(crate) fn end_generation(&self) {
        self.access.generations.end();
        self.distrust_until(Instant::now());
        self.sharing.retire(CloseReason::Unhealthy, |connection| !connection.is_open());
        for slots in [Some(&self.slots), self.blocking.get()].into_iter().flatten() {
            let idle: Vec<Lease> = from_fn(|| slots.try_get()).map(|slot| Lease::new(slot, false)).collect();
            let withdrawn = idle.into_iter().filter(Lease::is_withdrawn);
            let closed: Vec<_> = withdrawn.filter_map(|mut lease| lease.take(CloseReason::Unhealthy)).collect();
            // Closed only when the slots are given back: an observer that is told may need one.
            drop(closed);
        }
    }

    /// Returns whether a connection must not be used any more: it has been idle for as long as one that died, or its
    /// generation has ended.
    #[inline]
    fn is_worn(&self, lease: &Lease) -> bool {
        let Some(last_used) = lease.last_used() else { return false };
        // 0 until the first connection died while idle: a healthy call reads no clock here.
        let distrusted = self.distrusted_until.load(Ordering::Relaxed);
        distrusted != 0 && (self.since_epoch(last_used) <= distrusted || lease.is_withdrawn())
    }

    /// Returns whether a connection that was last used, or opened, at this time is of an earlier generation.
    pub(crate) fn is_of_old(&self, last_used: Instant) -> bool {
        self.since_epoch(last_used) <= self.distrusted_until.load(Ordering::Relaxed)
    }

    /// Returns a connection beside the slots, on which the node is asked for its state. Nothing is connected yet.
    pub(crate) fn status_connection(&self) -> StatusConnection {
        StatusConnection::new(Arc::clone(&self.access), &self.limits)
    }

    /// Opens a connection that belongs to no pool, and returns it with the role of the node.
    pub(crate) fn connect_unpooled(&self, end: Option<Instant>) -> Result<(redis::Connection, Option<Role>), Fault> {
        let began = Instant::now();
        let connected = self.unpooled.connect(self.access.connector(), self.end_of_connect(end));
        self.access.tell_opened(ConnectionKind::Dedicated, &connected, began.elapsed());
        connected.map_err(|cause| Fault::new(Stage::Connect, cause))
    }

    /// Returns why the last connection could not be made, if that is so.
    pub(crate) fn failure(&self) -> Option<redis::RedisError> {
        self.access.state().failure.clone()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn database(&self) -> i64 {
        self.database
    }

    /// Returns when a caller stops waiting for a connection that another caller has. If there is no other candidate, it
    /// waits to its end; but a blocking command may keep its connection for ever.
    fn end_of_wait(&self, options: CheckoutOptions) -> Instant {
        let now = Instant::now();
        let limit = if options.has_more || options.blocks { self.limits.checkout } else { LONGEST_WAIT };
        options.end.map_or(now + limit, |end| end.min(now + limit))
    }

    fn end_of_connect(&self, end: Option<Instant>) -> Instant {
        let limit = Instant::now() + self.limits.connect;
        end.map_or(limit, |end| limit.min(end))
    }

    fn since_epoch(&self, at: Instant) -> u64 {
        // One more, so that 0 always means "never"; 584 years fit.
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(1)
    }
}

fn lent(slots: &r2d2::Pool<Slots>) -> u32 {
    let state = slots.state();
    state.connections.saturating_sub(state.idle_connections)
}

fn slots(limits: Limits, housekeeping: &Housekeeping) -> r2d2::Pool<Slots> {
    r2d2::Pool::builder()
        .max_size(limits.size)
        // All slots exist from the start; they cost nothing while they are empty. With a smaller number r2d2 loses
        // wake-ups of waiting callers.
        .min_idle(None)
        .test_on_check_out(false)
        .idle_timeout(Some(limits.idle))
        .max_lifetime(None)
        .thread_pool(housekeeping.workers())
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(Slots)
}
