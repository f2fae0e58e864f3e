//! When calls share connections to a node, and which ones they share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use redis::RedisResult;

use super::batches::{BatchCounts, Batches};
use super::connection::SharedConnection;
use super::share::Share;
use crate::observe::{CloseReason, ConnectionKind};
use crate::pool::access::Access;

/// Calls no longer share after so many in a row that met fewer than half of the requests in flight with which they began to.
const ENDS_AFTER: u32 = 200;
/// How long calls do not share after a large reply, of which more may come, or after a connection could not be opened.
const PAUSE: Duration = Duration::from_secs(1);

/// The shared connections of one node.
pub(crate) struct Sharing {
    /// One for each connection that calls may share.
    places: Box<[Place]>,
    is_on: AtomicBool,
    /// Calls begin to share with so many requests in flight at the node.
    begins_at: u32,
    /// Calls in a row that met fewer than half as many.
    lonely: AtomicU32,
    /// Calls do not share before, in nanoseconds since `made`.
    paused_until: AtomicU64,
    made: Instant,
    turn: AtomicU32,
    batches: Arc<Batches>,
}

/// A place for a shared connection.
#[derive(Default)]
struct Place {
    connection: ArcSwapOption<SharedConnection>,
    is_opening: AtomicBool,
}

/// The right to open the connection of a place, given back on drop.
struct Opening<'a>(&'a Place);

impl Sharing {
    /// Makes places for this many connections. 0: calls never share. `begins_at`: requests in flight with which calls begin to.
    pub(crate) fn new(connections: u32, begins_at: u32) -> Self {
        Self {
            places: (0..connections).map(|_| Place::default()).collect(),
            is_on: AtomicBool::new(false),
            begins_at,
            lonely: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
            made: Instant::now(),
            turn: AtomicU32::new(0),
            batches: Arc::default(),
        }
    }

    /// Returns whether a call shares, with so many requests in flight at the node.
    #[inline]
    pub(crate) fn is_wanted(&self, in_flight: u32) -> bool {
        if self.places.is_empty() {
            return false;
        }
        if !self.is_on.load(Ordering::Relaxed) {
            if in_flight < self.begins_at {
                return false;
            }
            self.is_on.store(true, Ordering::Relaxed);
        }
        self.stays_on(in_flight)
    }

    /// Returns whether calls still share. A batch that ends leaves few in flight for a moment, which says nothing.
    #[inline]
    fn stays_on(&self, in_flight: u32) -> bool {
        if in_flight >= self.begins_at / 2 {
            // Written only where it changes: all callers read it.
            if self.lonely.load(Ordering::Relaxed) != 0 {
                self.lonely.store(0, Ordering::Relaxed);
            }
            return true;
        }
        let is_on = self.lonely.fetch_add(1, Ordering::Relaxed) < ENDS_AFTER;
        if !is_on {
            self.is_on.store(false, Ordering::Relaxed);
            self.lonely.store(0, Ordering::Relaxed);
        }
        is_on
    }

    /// Returns a shared connection, opening it if there is none. `None`: the call takes a connection of its own, because none
    /// can be shared now or another call is opening it.
    #[inline]
    pub(crate) fn share(&self, access: &Access, end: impl FnOnce() -> Instant) -> RedisResult<Option<Share>> {
        let turn = if self.places.len() > 1 { self.turn.fetch_add(1, Ordering::Relaxed) as usize } else { 0 };
        let Some(place) = self.places.get(turn % self.places.len().max(1)) else { return Ok(None) };
        match place.connection.load_full() {
            Some(connection) if connection.is_open() => Ok(Some(Share::new(connection))),
            other => self.open(place, other, access, end),
        }
    }

    /// Returns a shared connection that is open, if there is one.
    pub(crate) fn find_open(&self) -> Option<Share> {
        let mut open = self.places.iter().filter_map(|place| place.connection.load_full());
        open.find(|connection| connection.is_open()).map(Share::new)
    }

    #[cold]
    fn open(
        &self,
        place: &Place,
        spent: Option<Arc<SharedConnection>>,
        access: &Access,
        end: impl FnOnce() -> Instant,
    ) -> RedisResult<Option<Share>> {
        if spent.is_some_and(|spent| spent.is_full()) {
            // Also for the callers that meet its place empty from now on.
            self.pause();
        }
        // Those that wait on it keep it until they go.
        place.clear();
        let now = Instant::now();
        if self.nanos(now) < self.paused_until.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(_opening) = place.begin() else { return Ok(None) };
        if let Some(connection) = place.connection.load_full() {
            // Another call has opened it meanwhile.
            return Ok(Some(Share::new(connection)));
        }
        let Some(connecting) = access.begin(&mut access.state(), now) else { return Ok(None) };
        let kind = Some(ConnectionKind::Shared);
        let connection = connecting.open(kind, &access.generations, end()).inspect_err(|_| self.pause())?;
        let (batches, life) = (Arc::clone(&self.batches), access.life(ConnectionKind::Shared));
        let Some(connection) = SharedConnection::of(connection, batches, life)? else {
            // The redis crate has opened it, and would open the next one.
            self.paused_until.store(u64::MAX, Ordering::Relaxed);
            return Ok(None);
        };
        let connection = Arc::new(connection);
        place.connection.store(Some(Arc::clone(&connection)));
        Ok(Some(Share::opened(connection, now.elapsed())))
    }

    fn pause(&self) {
        self.paused_until.fetch_max(self.nanos(Instant::now() + PAUSE), Ordering::Relaxed);
    }

    fn nanos(&self, now: Instant) -> u64 {
        // 584 years fit.
        u64::try_from(now.saturating_duration_since(self.made).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Puts no further requests on the connections for which `is_worn` holds. They are closed when those that wait have gone.
    pub(crate) fn retire(&self, reason: CloseReason, is_worn: impl Fn(&SharedConnection) -> bool) {
        for place in &self.places {
            if let Some(connection) = place.connection.load_full().filter(|connection| is_worn(connection)) {
                connection.retire(reason);
                place.clear();
            }
        }
    }

    /// Returns on how many connections callers wait.
    pub(crate) fn in_use(&self) -> u32 {
        let is_in_use =
            |place: &&Place| place.connection.load().as_ref().is_some_and(|connection| connection.is_in_use());
        u32::try_from(self.places.iter().filter(is_in_use).count()).unwrap_or(u32::MAX)
    }

    /// Returns how many requests were sent, in how many batches.
    pub(crate) fn batches(&self) -> BatchCounts {
        self.batches.counts()
    }

    /// Returns how many connections are open.
    pub(crate) fn open_connections(&self) -> u32 {
        let is_open = |place: &&Place| place.connection.load().as_ref().is_some_and(|connection| connection.is_open());
        u32::try_from(self.places.iter().filter(is_open).count()).unwrap_or(u32::MAX)
    }
}

impl Place {
    fn begin(&self) -> Option<Opening<'_>> {
        let is_free = self.is_opening.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Made only then: dropping it gives the right back.
        is_free.then(|| Opening(self))
    }

    /// Lets go of a connection that takes no further requests.
    fn clear(&self) {
        let present = self.connection.load();
        if present.as_ref().is_some_and(|connection| !connection.is_open()) {
            // Another call may have put a new one there meanwhile: that one stays.
            self.connection.compare_and_swap(&present, None);
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").field("is_on", &self.is_on).field("open", &self.open_connections()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{ENDS_AFTER, Sharing};

    #[test]
    fn calls_begin_to_share_when_many_are_in_flight_and_stop_when_few_are() {
        let sharing = Sharing::new(1, 6);
        assert!(!sharing.is_wanted(5));
        assert!(sharing.is_wanted(6) && sharing.is_wanted(3));
        assert!((0..ENDS_AFTER).all(|_| sharing.is_wanted(2)) && sharing.is_wanted(3), "it was not for long");
        assert!((0..ENDS_AFTER).all(|_| sharing.is_wanted(2)));
        assert!(!sharing.is_wanted(2) && !sharing.is_wanted(5) && sharing.is_wanted(6));
    }

    #[test]
    fn calls_never_share_where_that_is_switched_off() {
        assert!(!Sharing::new(0, 1).is_wanted(u32::MAX));
    }
}
