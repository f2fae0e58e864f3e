//! The way to one node: by which login its connections are opened, how many are open, and whether another may be opened
//! now.
//!
//! At most `max_connecting` handshakes are under way at a time, so that a failover does not end in a storm of logins. A
//! server that refuses one more connection, or its login, says nothing about those that are open: connecting pauses,
//! and callers wait for a connection that is given back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use redis::{ConnectionInfo, RedisError, RedisResult};

use super::connector::Connector;
use super::generation::Generations;
use super::handshake::Login;
use super::network::Network;
use super::open_connection::OpenConnection;
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{ConnectionChange, ConnectionKind, ConnectionLife, NodeObservers};
use crate::retry::Obstacle;

/// How long connecting pauses after a refusal; doubles with each refusal in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const DOUBLINGS: u32 = 4;
/// How long the monitor waits for other handshakes to end. A server that hangs must not keep it waiting.
const MONITOR_WAITS: Duration = Duration::from_millis(200);
/// How long a caller waits before it looks for a connection again, if it is not woken.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

/// The way to one node.
pub(super) struct Access {
    connector: RwLock<Arc<Connector>>,
    /// The generations of the pool's connections.
    pub(super) generations: Generations,
    /// Open connections of the pool, lent or idle.
    open: AtomicU32,
    most_connecting: u32,
    /// The server refused the last connection.
    is_refused: AtomicBool,
    state: Mutex<State>,
    /// A connection was given back or closed, or a handshake ended.
    changed: Condvar,
    /// A handshake ended. The monitor waits for nothing else.
    handshake_ended: Condvar,
    /// Callers that wait for a connection to be given back.
    pub(super) waiting: AtomicU32,
    /// Callers that wait for a slot.
    pub(super) waiting_for_slot: AtomicU32,
    /// `None`: the connections belong to no pool.
    observers: Option<NodeObservers>,
}

/// Which handshakes are under way, and whether further ones may begin.
#[derive(Debug, Default)]
pub(super) struct State {
    connecting: u32,
    /// Questions of the monitor that wait for a handshake to end. They connect before any caller does.
    waiting_questions: u32,
    /// How many connections were given back while a caller waited.
    pub(super) returned: u64,
    /// Refusals in a row.
    refusals: u32,
    paused: Option<Pause>,
    /// Why the last connection could not be made.
    pub(super) failure: Option<RedisError>,
}

/// Connecting pauses, because the server refused it.
#[derive(Clone, Debug)]
struct Pause {
    until: Instant,
    cause: RedisError,
}

/// The right to one handshake, counted until dropped.
pub(super) struct Connecting<'a>(&'a Access);

/// A caller that waits for a connection, counted until dropped.
pub(super) struct Waiting<'a>(&'a Access);

/// An open connection of the pool, counted until dropped.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) access: Arc<Access>,
    /// Dropped after the connection that this counts.
    pub(super) life: Option<ConnectionLife>,
}

impl Access {
    pub(super) fn new(
        login: Login,
        network: &Network,
        most_connecting: u32,
        observers: Option<NodeObservers>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            connector: RwLock::new(Arc::new(Connector::new(login, network.clone())?)),
            generations: Generations::default(),
            open: AtomicU32::new(0),
            most_connecting,
            is_refused: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            handshake_ended: Condvar::new(),
            waiting: AtomicU32::new(0),
            waiting_for_slot: AtomicU32::new(0),
            observers,
        }))
    }

    pub(super) fn connector(&self) -> Arc<Connector> {
        Arc::clone(&self.connector.read())
    }

    /// Opens further connections with another login, at once. Those that are open stay.
    pub(super) fn set_login(&self, info: ConnectionInfo) -> Result<()> {
        let connector = self.connector().with_login(info)?;
        *self.connector.write() = Arc::new(connector);
        self.state.lock().resume();
        self.is_refused.store(false, Ordering::Relaxed);
        self.changed.notify_all();
        Ok(())
    }

    /// Returns whether connections of the pool are open.
    pub(super) fn has_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the server refused the last connection: those that are open have to do.
    #[inline]
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Returns how many connections of the pool are open.
    pub(super) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection among those of the pool.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted { access: Arc::clone(self), life: self.life(ConnectionKind::Pooled) }
    }

    /// Begins the life of a connection, for the observers of the node.
    pub(super) fn life(&self, kind: ConnectionKind) -> Option<ConnectionLife> {
        self.observers.clone().map(|observers| ConnectionLife::begin(observers, kind))
    }

    /// Reports to the observers of the node what happened to a connection.
    #[cold]
    pub(super) fn tell(&self, kind: ConnectionKind, change: ConnectionChange<'_>) {
        if let Some(observers) = &self.observers {
            observers.connection_changed(kind, change);
        }
    }

    /// Reports to the observers of the node whether a connection was opened, and how long that took.
    pub(super) fn tell_opened<T>(&self, kind: ConnectionKind, opened: &RedisResult<T>, took: Duration) {
        let Some(observers) = self.observers.as_ref().filter(|observers| observers.want_connections()) else { return };
        match opened {
            Ok(_) => observers.connection_changed(kind, ConnectionChange::Opened { took }),
            Err(cause) => {
                let error = Error::new(ErrorKind::Checkout, "could not connect");
                let error = error.because(cause.clone()).on(observers.node());
                observers.connection_changed(kind, ConnectionChange::Failed { error: &error, took });
            }
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins a handshake, unless there are too many or connecting pauses.
    pub(super) fn begin(&self, state: &mut State, now: Instant) -> Option<Connecting<'_>> {
        let is_crowded = state.connecting + state.waiting_questions >= self.most_connecting;
        if is_crowded || state.pause(now).is_some() {
            return None;
        }
        state.connecting += 1;
        Some(Connecting(self))
    }

    /// Opens a connection of the monitor, which belongs to no pool, by `end`. The monitor waits at most 200 ms for
    /// other handshakes. It connects during a pause as well, to find out whether the server accepts connections again.
    pub(super) fn connect_for_monitor(&self, end: Instant) -> RedisResult<OpenConnection> {
        let latest = end.min(Instant::now() + MONITOR_WAITS);
        let mut state = self.state.lock();
        state.waiting_questions += 1;
        while state.connecting >= self.most_connecting
            && !self.handshake_ended.wait_until(&mut state, latest).timed_out()
        {}
        state.waiting_questions -= 1;
        state.connecting += 1;
        drop(state);
        Connecting(self).open(None, &Generations::default(), end)
    }

    /// Returns how many callers wait for a connection.
    pub(super) fn callers_waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed) + self.waiting_for_slot.load(Ordering::Relaxed)
    }

    /// Counts a caller that waits from now on: it is woken when a connection is given back.
    pub(super) fn begin_to_wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Waits until something changes, until `end` at the latest. `returned`: its value before the caller looked for a
    /// connection.
    pub(super) fn wait(&self, returned: u64, end: Instant) {
        let mut state = self.state.lock();
        if state.returned == returned {
            // A connection that was given back before the caller was counted woke no thread: so look again soon.
            self.changed.wait_until(&mut state, end.min(Instant::now() + LONGEST_SLEEP));
        }
    }

    /// Wakes one waiting caller, because a connection was given back or closed.
    #[cold]
    pub(super) fn wake_one(&self) {
        self.state.lock().returned += 1;
        self.changed.notify_one();
    }
}

impl State {
    /// Pauses connecting, because the server refused a connection or a login. `chance`: 0 to 1.
    fn refuse(&mut self, cause: &RedisError, now: Instant, chance: f64) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(DOUBLINGS)).mul_f64(0.8 + 0.4 * chance);
        self.refusals = self.refusals.saturating_add(1);
        self.paused = Some(Pause { until: now + pause, cause: cause.clone() });
    }

    /// Ends a pause.
    fn resume(&mut self) {
        (self.paused, self.refusals) = (None, 0);
    }

    /// Returns why connecting pauses now, if it does.
    pub(super) fn pause(&self, now: Instant) -> Option<&RedisError> {
        self.paused.as_ref().filter(|pause| pause.until > now).map(|pause| &pause.cause)
    }
}

impl Connecting<'_> {
    /// Opens a connection, by `end`. If the server refuses it, connecting pauses. `kind`: what observers are told; `None`: they
    /// are told nothing.
    pub(super) fn open(
        self,
        kind: Option<ConnectionKind>,
        generations: &Generations,
        end: Instant,
    ) -> RedisResult<OpenConnection> {
        let (access, connector, began) = (self.0, self.0.connector(), Instant::now());
        let opened = connector.connect(generations, end);
        let took = began.elapsed();
        let mut state = self.0.state();
        match opened.as_ref().err().filter(|cause| Obstacle::of(cause).spares_the_node()) {
            // The refusal of an earlier login says nothing about the present one.
            Some(_) if !Arc::ptr_eq(&connector, &self.0.connector()) => {}
            // Spread, so that clients that were refused together do not connect again together.
            Some(cause) => state.refuse(cause, Instant::now(), rand::random()),
            None => state.resume(),
        }
        state.failure = opened.as_ref().err().cloned();
        self.0.is_refused.store(state.paused.is_some(), Ordering::Relaxed);
        drop(state);
        // Told after the handshake has ended: an observer may use the client, and open a connection itself.
        drop(self);
        if let Some(kind) = kind {
            access.tell_opened(kind, &opened, took);
        }
        opened
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.connecting = state.connecting.saturating_sub(1);
        self.0.changed.notify_all();
        self.0.handshake_ended.notify_one();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.access.open.fetch_sub(1, Ordering::Relaxed);
        self.access.wake_one();
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
        f.debug_struct("Access").field("open", &self.open).field("connecting", &self.state().connecting).finish()
    }
}
