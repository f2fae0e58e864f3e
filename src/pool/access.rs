//! What a pool, its connections and the monitor's line to one node share: how to log in, which generation of connections
//! is in service, how many are open, and who may open another one.
//!
//! At most `max_connecting` handshakes are under way at a time, so that a failover does not end in a storm of logins. A
//! server that refuses one more connection, or its login, says nothing about those that are open: connecting pauses, and
//! callers take what comes back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use redis::{RedisError, RedisResult};

use super::connector::Connector;
use super::live::Live;
use crate::retry::Obstacle;

/// How long connecting pauses after a refusal; doubles with each refusal in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const DOUBLINGS: u32 = 4;
/// How long the monitor waits for its turn to connect: it must not be kept from a node by callers that hang there.
const MONITOR_WAITS: Duration = Duration::from_millis(200);

/// How often a caller that waits looks for itself.
const LOOKS_EVERY: Duration = Duration::from_millis(10);

/// The way to one node.
pub(super) struct Access {
    connector: RwLock<Arc<Connector>>,
    /// Grows when the connections that are open now must not be used any more.
    generation: AtomicU64,
    /// Open connections of the pool, lent or idle.
    open: AtomicU32,
    most_connecting: u32,
    state: Mutex<State>,
    /// A connection came back, or a turn to connect ended.
    changed: Condvar,
    /// A turn to connect ended: for the monitor, whom nothing else concerns.
    turn_ended: Condvar,
    /// Callers that wait for a connection to come back.
    waiting: AtomicU32,
}

/// Who connects, and whether anybody should.
#[derive(Debug, Default)]
pub(super) struct State {
    connecting: u32,
    /// Questions of the monitor that wait for their turn to connect: theirs is the next one.
    waiting_questions: u32,
    /// How many connections came back while somebody waited.
    pub(super) returned: u64,
    /// Refusals in a row.
    refusals: u32,
    paused: Option<Pause>,
    /// Why the last connection could not be made.
    pub(super) failure: Option<RedisError>,
}

/// Connecting pauses, because the server refused it.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    pub(super) cause: RedisError,
}

/// The turn of one handshake, which ends when this is dropped.
pub(super) struct Turn {
    access: Arc<Access>,
    connector: Arc<Connector>,
}

/// How long a connection is in service: one that is lent, until its generation ends.
#[derive(Clone)]
pub(super) struct Term {
    access: Arc<Access>,
    generation: u64,
    is_pooled: bool,
}

/// A caller that waits for a connection, counted until dropped.
pub(super) struct Waiting<'a>(&'a Access);

impl Access {
    pub(super) fn new(connector: Connector, most_connecting: u32) -> Self {
        Self {
            connector: RwLock::new(Arc::new(connector)),
            generation: AtomicU64::new(0),
            open: AtomicU32::new(0),
            most_connecting,
            state: Mutex::default(),
            changed: Condvar::new(),
            turn_ended: Condvar::new(),
            waiting: AtomicU32::new(0),
        }
    }

    pub(super) fn connector(&self) -> Arc<Connector> {
        Arc::clone(&self.connector.read())
    }

    /// Opens further connections in another way, at once. Those that are open stay.
    pub(super) fn set_connector(&self, connector: Connector) {
        *self.connector.write() = Arc::new(connector);
        let mut state = self.state.lock();
        (state.paused, state.refusals) = (None, 0);
        self.changed.notify_all();
    }

    /// Returns the present term: that of a connection which begins to be opened now. `is_pooled`: it will be lent.
    pub(super) fn term(self: &Arc<Self>, is_pooled: bool) -> Term {
        Term { access: Arc::clone(self), generation: self.generation.load(Ordering::Acquire), is_pooled }
    }

    /// Withdraws all connections that are open now from service.
    pub(super) fn end_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether connections of the pool are open.
    pub(super) fn has_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins a handshake, if there are not too many and connecting does not pause.
    pub(super) fn begin(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Turn> {
        let has_turn = state.connecting + state.waiting_questions < self.most_connecting;
        if !has_turn || state.pause(now).is_some() {
            return None;
        }
        state.connecting += 1;
        Some(self.turn())
    }

    /// Begins a handshake of the monitor, which waits only a moment for its turn. A pause does not keep it off: it finds out
    /// whether the server takes connections again.
    fn begin_for_monitor(self: &Arc<Self>, end: Instant) -> Turn {
        let end = end.min(Instant::now() + MONITOR_WAITS);
        let mut state = self.state.lock();
        state.waiting_questions += 1;
        while state.connecting >= self.most_connecting && !self.turn_ended.wait_until(&mut state, end).timed_out() {}
        state.waiting_questions -= 1;
        state.connecting += 1;
        drop(state);
        self.turn()
    }

    fn turn(self: &Arc<Self>) -> Turn {
        Turn { access: Arc::clone(self), connector: self.connector() }
    }

    /// Connects outside the pool, in the turn of the monitor.
    pub(super) fn connect_for_monitor(self: &Arc<Self>, end: Instant) -> RedisResult<Live> {
        self.begin_for_monitor(end).connect(false, end)
    }

    /// Counts a caller that waits from now on, so that whoever gives a connection back says so.
    pub(super) fn wait_from_now(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Waits until something changes, until `end` at the latest. `returned`: as it was before the caller looked for a
    /// connection.
    pub(super) fn wait(&self, returned: u64, end: Instant) {
        let mut state = self.state.lock();
        if state.returned == returned {
            // A connection that came back while nobody waited yet was not told of.
            self.changed.wait_until(&mut state, end.min(Instant::now() + LOOKS_EVERY));
        }
    }

    /// A connection came back, or was closed.
    #[cold]
    pub(super) fn wake_one(&self) {
        self.state.lock().returned += 1;
        self.changed.notify_one();
    }
}

impl State {
    /// The server refused a connection or a login: connecting pauses. `chance`: 0 to 1.
    fn refuse(&mut self, cause: &RedisError, now: Instant, chance: f64) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(DOUBLINGS)).mul_f64(0.8 + 0.4 * chance);
        self.refusals = self.refusals.saturating_add(1);
        self.paused = Some(Pause { until: now + pause, cause: cause.clone() });
    }

    /// Returns the pause that connecting makes now.
    pub(super) fn pause(&self, now: Instant) -> Option<&Pause> {
        self.paused.as_ref().filter(|pause| pause.until > now)
    }
}

impl Term {
    /// Returns whether the generation of the connection has ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_pooled && self.generation != self.access.generation.load(Ordering::Acquire)
    }
}

impl Turn {
    /// Opens a connection, by `end`. Where the server refuses it, connecting pauses. `is_pooled`: it will be lent.
    pub(super) fn connect(self, is_pooled: bool, end: Instant) -> RedisResult<Live> {
        let connected = self.connector.connect(&self.access, is_pooled, end);
        let mut state = self.access.state.lock();
        match connected.as_ref().err().filter(|cause| Obstacle::of(cause).spares_the_node()) {
            // The refusal of an earlier login says nothing about the present one.
            Some(_) if !self.is_current() => {}
            // Spread, so that clients that were refused together do not come back together.
            Some(cause) => state.refuse(cause, Instant::now(), rand::random()),
            None => (state.paused, state.refusals) = (None, 0),
        }
        state.failure = connected.as_ref().err().cloned();
        drop(state);
        connected
    }

    /// Returns whether this is how connections are to be opened now.
    pub(super) fn is_current(&self) -> bool {
        Arc::ptr_eq(&self.connector, &self.access.connector())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.access.state.lock();
        state.connecting = state.connecting.saturating_sub(1);
        self.access.changed.notify_all();
        self.access.turn_ended.notify_one();
    }
}

/// An open connection of the pool, counted until dropped.
pub(super) struct Counted(Arc<Access>);

impl Term {
    /// Counts the connection among those of the pool.
    pub(super) fn count(&self) -> Counted {
        self.access.open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.access))
    }

    /// Returns the way to the node, if somebody waits there for a connection that comes back.
    #[inline]
    pub(super) fn awaited(&self) -> Option<Arc<Access>> {
        (self.access.waiting.load(Ordering::Relaxed) > 0).then(|| Arc::clone(&self.access))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.wake_one();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the login.
        f.debug_struct("Access").field("open", &self.open).field("connecting", &self.state.lock().connecting).finish()
    }
}
