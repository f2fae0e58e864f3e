//! Connections to one node: how they are bounded, lent, opened and given back.
//!
//! r2d2 lends *slots*. A slot may be empty; the caller that got it connects under its own deadline. So r2d2 never
//! connects, never waits for a port that refuses, never backs off and never sends a PING; it bounds, lends and reaps.
//!
//! A pool never retries and never picks another node: that is the business of [`client`](crate::client). No lock is held
//! across I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use self::access::Access;
use self::connector::Connector;
use self::slots::Slots;
use self::unpooled::Unpooled;
use crate::error::Result;
use crate::replication::Role;
use crate::retry::{Fault, Obstacle, Stage};

mod access;
mod connector;
mod greeting;
mod hello;
#[cfg(test)]
mod hostile;
mod housekeeping;
mod lease;
mod line;
mod live;
mod means;
mod patience;
mod probe;
mod resolver;
mod slots;
mod socket;
mod talk;
mod tls;
mod transport;
mod unpooled;
mod wire;

pub(crate) use self::greeting::Login;
pub(crate) use self::hello::{replicates_without_order, role_in_greeting};
pub(crate) use self::housekeeping::Housekeeping;
pub(crate) use self::lease::Lease;
pub(crate) use self::line::{Line, Silence};
pub(crate) use self::means::Means;
pub(crate) use self::patience::Patience;
pub(crate) use self::resolver::Resolver;
pub(crate) use self::talk::Talk;
pub(crate) use self::tls::{Certificates, Pem, Tls, check_features};

/// The bounds of one pool and the time limits of one attempt. The deadline of the call bounds them all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) size: u32,
    /// Handshakes under way at a time.
    pub(crate) connecting: u32,
    pub(crate) connect: Duration,
    pub(crate) checkout: Duration,
    pub(crate) response: Duration,
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size: 10,
            connecting: 2,
            connect: Duration::from_millis(500),
            checkout: Duration::from_millis(250),
            response: Duration::from_secs(1),
            idle: Duration::from_secs(600),
        }
    }
}

/// The pool of one node.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: r2d2::Pool<Slots>,
    /// For commands that block, so that those which wake them always get a connection. Made when the first one comes.
    blocking: OnceLock<r2d2::Pool<Slots>>,
    access: Arc<Access>,
    unpooled: Unpooled,
    means: Means,
    client_name: Option<String>,
    limits: Limits,
    housekeeping: Housekeeping,
    epoch: Instant,
    /// Idle connections last used before this are not trusted; in nanoseconds since `epoch`.
    distrusted_until: AtomicU64,
}

/// What a caller wants a connection for, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// The command blocks by its own argument.
    pub(crate) blocks: bool,
    /// There is another node to turn to: a free connection is waited for no longer than the checkout limit.
    pub(crate) has_more: bool,
    /// Requests that have or want a connection, as far as they are counted.
    pub(crate) in_flight: u32,
    /// When the attempt must be over. `None`: never.
    pub(crate) end: Option<Instant>,
}

impl Pool {
    /// Makes an empty pool; nothing is connected.
    pub(crate) fn new(login: Login, limits: Limits, means: &Means, housekeeping: &Housekeeping) -> Result<Self> {
        let client_name = login.client_name.clone();
        let access = access_to(login, limits, means)?;
        Ok(Self {
            slots: slots(limits, housekeeping),
            blocking: OnceLock::new(),
            access,
            unpooled: Unpooled::default(),
            means: means.clone(),
            client_name,
            limits,
            housekeeping: housekeeping.clone(),
            epoch: Instant::now(),
            distrusted_until: AtomicU64::new(0),
        })
    }

    /// Lends a live connection: one that is idle, one opened now if the slot is empty, or one that comes back.
    #[inline]
    pub(crate) fn checkout(&self, want: Want) -> Result<Lease, Fault> {
        let slots = if want.blocks { self.blocking_slots() } else { &self.slots };
        // With more requests than slots a look would mostly be in vain, and cost everybody the lock.
        let look = if self.is_crowded(want) { None } else { slots.try_get() };
        let mut lease = match look {
            Some(slot) => Lease::new(slot, false),
            None => Lease::new(self.wait_for_slot(slots, want)?, true),
        };
        if self.is_worn(&lease) {
            lease.discard();
        }
        if lease.is_live() { Ok(lease) } else { self.fill(slots, lease, want) }
    }

    /// Returns whether there are more requests than slots. Those that block have slots of their own.
    #[inline]
    fn is_crowded(&self, want: Want) -> bool {
        want.in_flight > self.limits.size && want.in_flight - self.blocked().min(want.in_flight) > self.limits.size
    }

    fn blocked(&self) -> u32 {
        self.blocking.get().map_or(0, lent)
    }

    /// Opens a connection in an empty slot, or waits for one that comes back where none may be opened now.
    #[cold]
    fn fill(&self, slots: &r2d2::Pool<Slots>, empty: Lease, want: Want) -> Result<Lease, Fault> {
        // It has a slot, also if it blocks: from here on, nobody keeps it out for ever.
        let (end, term) = (self.end_of_wait(Want { blocks: false, ..want }), self.access.term(true));
        let mut empty = Some(empty);
        loop {
            let now = Instant::now();
            let mut state = self.access.state();
            let (returned, pause) = (state.returned, state.pause(now).cloned());
            let turn = empty.as_ref().and_then(|_| self.access.begin(&mut state, now));
            drop(state);
            if let Some((turn, mut lease)) = turn.and_then(|turn| Some((turn, empty.take()?))) {
                match turn.connect(true, self.end_of_connect(want.end)) {
                    Ok(live) => {
                        lease.fill(live);
                        return Ok(lease);
                    }
                    Err(cause) if !self.waits_after(&cause) => return Err(Fault::new(Stage::Connect, cause)),
                    Err(_) => empty = Some(lease),
                }
                continue;
            }
            let refusal = pause.map(|pause| pause.cause);
            // Where the server takes no more, an idle connection of the other calls serves as well.
            if let (true, Some(slot)) = (want.blocks && refusal.is_some(), &mut empty)
                && let (Some(mut idle), _) = self.look_for_live(&self.slots)
            {
                slot.take_over(&mut idle);
                return Ok(empty.take().unwrap_or(idle));
            }
            if let Some(cause) = refusal.clone().filter(|_| !self.access.has_open()) {
                return Err(Fault::new(Stage::Connect, cause));
            }
            if term.is_over() {
                return Err(Fault::new(Stage::Avoided, None));
            }
            let _waiting = self.access.wait_from_now();
            // Others may need the slot for a connection that comes back.
            drop(empty.take());
            let (live, slot) = self.look_for_live(slots);
            if let Some(live) = live {
                return Ok(live);
            }
            if now >= end {
                let stage = if self.access.has_open() { Stage::Checkout } else { Stage::Connecting };
                return Err(Fault::new(stage, refusal));
            }
            empty = slot;
            self.access.wait(returned, end);
        }
    }

    /// Returns whether a caller that was refused a new connection waits for an open one.
    fn waits_after(&self, cause: &redis::RedisError) -> bool {
        Obstacle::of(cause).spares_the_node() && self.access.has_open()
    }

    /// Looks for a live connection among the idle ones, below empty slots as well. Returns an empty slot if there is none.
    fn look_for_live(&self, slots: &r2d2::Pool<Slots>) -> (Option<Lease>, Option<Lease>) {
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
            lease.discard();
        }
        (None, one)
    }

    fn blocking_slots(&self) -> &r2d2::Pool<Slots> {
        self.blocking.get_or_init(|| slots(self.limits, &self.housekeeping))
    }

    /// Has further connections log in in another way, at once; those that are open stay.
    pub(crate) fn set_login(&self, info: redis::ConnectionInfo) -> Result<()> {
        let login = Login { info, client_name: self.client_name.clone() };
        self.access.set_connector(Connector::new(login, self.means.clone())?);
        Ok(())
    }

    /// Stops lending connections that have been idle for as long as one that turned out to be dead.
    pub(crate) fn distrust_until(&self, last_used: Instant) {
        self.distrusted_until.fetch_max(self.since_epoch(last_used), Ordering::Relaxed);
    }

    /// Ends a generation of connections, because the node is not what it was when they were opened: idle ones are closed,
    /// calls that wait on others end within half a second, and what becomes of those says nothing about the node.
    pub(crate) fn end_generation(&self) {
        self.access.end_generation();
        self.distrust_until(Instant::now());
        for slots in [Some(&self.slots), self.blocking.get()].into_iter().flatten() {
            let idle: Vec<Lease> = std::iter::from_fn(|| slots.try_get()).map(|slot| Lease::new(slot, false)).collect();
            idle.into_iter().filter(Lease::is_withdrawn).for_each(|mut lease| lease.discard());
        }
    }

    /// Returns whether a connection must not be used any more: it has been idle for as long as one that died, or the node left
    /// its place since it was opened.
    #[inline]
    fn is_worn(&self, lease: &Lease) -> bool {
        let Some(last_used) = lease.last_used() else { return false };
        // 0 until the first connection died while idle: no clock is read on the way of a healthy call.
        let distrusted = self.distrusted_until.load(Ordering::Relaxed);
        distrusted != 0 && (self.since_epoch(last_used) <= distrusted || lease.is_withdrawn())
    }

    /// Returns whether a connection that was last used, or opened, at this time is of an earlier generation.
    pub(crate) fn is_of_old(&self, last_used: Instant) -> bool {
        self.since_epoch(last_used) <= self.distrusted_until.load(Ordering::Relaxed)
    }

    /// Returns a line on which the node can be asked how it is, beside the slots. Connects to nothing.
    pub(crate) fn line(&self) -> Line {
        Line::new(Arc::clone(&self.access), self.limits.connect, self.limits.response.min(LONGEST_QUESTION))
    }

    /// Opens a connection that belongs to no pool, and returns it with the role of the node.
    pub(crate) fn connect_unpooled(&self, end: Option<Instant>) -> Result<(redis::Connection, Option<Role>), Fault> {
        let connected = self.unpooled.connect(self.access.connector(), self.end_of_connect(end));
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
        self.access.connector().database()
    }

    /// Returns how many connections are lent, those of blocking commands included.
    pub(crate) fn lent(&self) -> u32 {
        lent(&self.slots) + self.blocked()
    }

    #[cold]
    fn wait_for_slot(&self, slots: &r2d2::Pool<Slots>, want: Want) -> Result<r2d2::PooledConnection<Slots>, Fault> {
        let (end, term) = (self.end_of_wait(want), self.access.term(true));
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // r2d2's error is a text; the only reason here is that all slots are lent.
            let slot = slots.get_timeout(left.min(LOOKS_UP_EVERY));
            if term.is_over() {
                return Err(Fault::new(Stage::Avoided, None));
            }
            match slot {
                Ok(slot) => return Ok(slot),
                Err(_) if left > LOOKS_UP_EVERY => {}
                Err(_) => return Err(Fault::new(Stage::Checkout, None)),
            }
        }
    }

    /// When a caller stops waiting for a connection that somebody else has. Where there is no other node, nothing is gained
    /// by giving up early; but one that blocks may keep its connection for ever.
    fn end_of_wait(&self, want: Want) -> Instant {
        let now = Instant::now();
        let limit = if want.has_more || want.blocks { self.limits.checkout } else { LONGEST_WAIT };
        want.end.map_or(now + limit, |end| end.min(now + limit))
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

/// How often a caller that waits for a slot looks at its node.
const LOOKS_UP_EVERY: Duration = Duration::from_millis(250);
/// The monitor waits no longer for an answer.
const LONGEST_QUESTION: Duration = Duration::from_secs(2);
/// Where a call has no end.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 86_400);

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

/// The way to a node that belongs to no pool: for questions to whoever is there.
pub(crate) fn line_to(login: Login, limits: Limits, means: &Means) -> Result<Line> {
    Ok(Line::new(access_to(login, limits, means)?, limits.connect, limits.response.min(LONGEST_QUESTION)))
}

fn access_to(login: Login, limits: Limits, means: &Means) -> Result<Arc<Access>> {
    Ok(Arc::new(Access::new(Connector::new(login, means.clone())?, limits.connecting)))
}
