//! One server process: its address, its role, its sync state, its measurements and its health.
//!
//! A node knows no pool and no socket, and makes no events. Others record here what attempts and questions came to; selection
//! and strategies read it. What calls touch are atomics: a call that is answered takes no lock here.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::health::Health;
use self::heartbeat::Heartbeat;
use self::latency::Latency;
use crate::addr::NodeAddr;
use crate::hash::Fnv;
use crate::replication::{Report, Role};

mod health;
mod heartbeat;
mod latency;
mod record;
mod sync_state;
mod window;

pub(crate) use self::health::Ejection;
pub use self::health::Outcome;
pub(crate) use self::latency::{Measured, Moment};
pub use self::sync_state::SyncState;

/// One server process of a replicated set, as strategies see it.
///
/// Anyone can make nodes, so that a strategy can be tested without a server:
///
/// ```
/// use redis_replicated::{Node, Role};
///
/// let node = Node::new("cache-1:6379".parse()?).with_role(Role::Replica).with_zone("eu-1a");
/// let running = node.begin();
/// assert_eq!(node.in_flight(), 1);
/// drop(running);
/// assert_eq!(node.in_flight(), 0);
/// # Ok::<(), redis_replicated::ParseNodeAddrError>(())
/// ```
pub struct Node {
    addr: NodeAddr,
    /// The hash of the text of the address.
    hash: u64,
    weight: AtomicU32,
    /// Set once: by hand, or from what the server says.
    zone: OnceLock<Box<str>>,
    /// The role: what the server says it is.
    is_master: AtomicBool,
    /// The sync state: what a replica's data is worth.
    sync_state: AtomicU8,
    /// Several processes answer at this address: a shared endpoint.
    is_shared: AtomicBool,
    in_flight: AtomicU32,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Available, ejected, probing or in slow start: what the calls say.
    health: Health,
    latency: Latency,
    /// The strategy needs latencies.
    is_timed: bool,
    heartbeat: Heartbeat,
    /// Why no connection could be made, if that is why the node is ejected.
    reason: Mutex<Option<Arc<str>>>,
    /// What the server last said of itself, and when. Calls that are answered do not take this lock.
    told: Mutex<Option<(Instant, Arc<Report>)>>,
}

/// One request that is on its way to a node; counted in [`Node::in_flight`] until dropped.
#[must_use = "the request counts as in flight only while this lives"]
#[derive(Debug)]
pub struct InFlight<'a>(&'a Node);

impl Node {
    /// Makes a replica of weight 1 in no zone.
    #[must_use]
    pub fn new(addr: NodeAddr) -> Self {
        let epoch = Instant::now();
        Self {
            hash: Fnv::of_text(&addr),
            addr,
            weight: AtomicU32::new(1),
            zone: OnceLock::new(),
            is_master: AtomicBool::new(false),
            sync_state: AtomicU8::new(SyncState::InSync as u8),
            is_shared: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            health: Health::new(epoch),
            latency: Latency::new(),
            is_timed: true,
            heartbeat: Heartbeat::default(),
            reason: Mutex::new(None),
            told: Mutex::new(None),
        }
    }

    /// Sets the role. Default: [`Role::Replica`].
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        self.observe_role(role);
        self
    }

    /// Sets the share of the load that the node should get, compared with the others. Default: 1.
    #[must_use]
    pub fn with_weight(self, weight: u32) -> Self {
        self.set_weight(weight);
        self
    }

    /// Sets the availability zone. Default: none.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = OnceLock::from(zone.into().into_boxed_str());
        self
    }

    /// Returns where the node listens.
    #[must_use]
    pub fn addr(&self) -> &NodeAddr {
        &self.addr
    }

    /// Returns the hash of the address: the same in every process.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the role that the node was last seen in; the configured one until a connection has asked.
    #[must_use]
    #[inline]
    pub fn role(&self) -> Role {
        if self.is_master.load(Ordering::Relaxed) { Role::Master } else { Role::Replica }
    }

    /// Returns the share of the load that the node should get, compared with the others.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Returns the availability zone, if one is known.
    #[must_use]
    #[inline]
    pub fn zone(&self) -> Option<&str> {
        self.zone.get().map(AsRef::as_ref)
    }

    /// Returns how many requests of this process are waiting for the node, or for a connection to it.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request as in flight until the guard is dropped, also by a panic.
    #[inline]
    pub fn begin(&self) -> InFlight<'_> {
        // Relaxed, here and below: a count that guides a choice orders nothing.
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Records what a request came to and how long it took, for [`latency_at`](Self::latency_at).
    ///
    /// A failure counts as at least 50 ms and at least twice the response limit (2 s for a node that belongs to no client),
    /// however soon it came.
    pub fn record_at(&self, outcome: Outcome, took: Duration, now: Instant) {
        match outcome {
            Outcome::Answered => self.latency.answered(took, now),
            Outcome::Failed | Outcome::Unreachable | Outcome::NotServing => self.latency.failed(now),
        }
    }

    /// Returns how long the node usually takes to answer, as seen by this process.
    ///
    /// An average: a single late answer raises it by at most a quarter, early answers lower it slowly, and so does time, by half
    /// in a second. An answer that is 20 ms later than the average, and a failure, count at once and in full. `None`: nothing is
    /// known of the node, or it has just come back.
    #[must_use]
    pub fn latency_at(&self, now: Instant) -> Option<Duration> {
        self.measured_at(now.into()).map(|measured| Duration::from_nanos(measured.nanos as u64))
    }

    /// Records how long one of the monitor's questions took, for [`heartbeat`](Self::heartbeat).
    pub fn record_heartbeat(&self, took: Duration) {
        self.heartbeat.record(took);
    }

    /// Returns how long the monitor's questions take on an open connection, on average: how far away the node is. `None`: it
    /// was not asked.
    #[must_use]
    pub fn heartbeat(&self) -> Option<Duration> {
        Some(self.heartbeat_nanos()).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    /// Returns the heartbeat in nanoseconds; 0 if it is not known.
    #[inline]
    pub(crate) fn heartbeat_nanos(&self) -> u64 {
        self.heartbeat.nanos()
    }

    /// Returns the part of its load that the node should get: 1, or less for 10 s after it came back from an ejection.
    #[must_use]
    #[inline]
    pub fn share_at(&self, now: Instant) -> f64 {
        if self.is_eased_in() { self.health.share(now) } else { 1.0 }
    }

    /// Returns the latency with the age of its last sample.
    #[inline]
    pub(crate) fn measured_at(&self, now: Moment) -> Option<Measured> {
        self.latency.at(now)
    }

    /// Sets what a failure counts as, by the time for which a reply is waited.
    pub(crate) fn with_response_limit(mut self, limit: Duration) -> Self {
        self.latency.set_penalty(limit.saturating_mul(2).max(Duration::from_millis(50)));
        self
    }

    /// Has calls timed more often.
    pub(crate) fn with_timing(self, is_timed: bool) -> Self {
        Self { is_timed, ..self }
    }

    /// Returns whether an answer to a call that began `now` is to be timed: reading the clock is a good part of what routing
    /// costs. One in eight is. Where the strategy needs latencies, one in four is, and the first one after a millisecond
    /// without a sample.
    #[inline]
    pub(crate) fn is_timed(&self, now: Instant) -> bool {
        let turn = self.answered() & 7;
        turn == 1 || self.is_timed && (turn == 5 || self.measured_at(now.into()).is_none_or(|last| last.age > 0))
    }

    pub(crate) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Records the role that the server says it has. Returns whether that is news.
    pub(crate) fn observe_role(&self, role: Role) -> bool {
        let news = self.role() != role;
        if news {
            self.is_master.store(role == Role::Master, Ordering::Relaxed);
        }
        news
    }

    /// Returns what the data of the node is worth, apart from its health.
    #[inline]
    pub(crate) fn sync_state(&self) -> SyncState {
        SyncState::of(self.sync_state.load(Ordering::Relaxed))
    }

    /// Records what the data of the node is worth. Returns whether that is news.
    pub(crate) fn set_sync_state(&self, sync_state: SyncState, now: Instant) -> bool {
        let before = SyncState::of(self.sync_state.swap(sync_state as u8, Ordering::Relaxed));
        if before == SyncState::Syncing && sync_state == SyncState::InSync {
            self.health.ease_in(now);
        }
        before != sync_state
    }

    /// Returns whether several processes were seen to answer at this address: connections lead to one or another of them.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Records that several processes answer at this address.
    pub(crate) fn share_endpoint(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`share_at`](Self::share_at) may be less than 1.
    #[inline]
    pub(crate) fn is_eased_in(&self) -> bool {
        self.health.is_eased_in()
    }

    /// Ends the slow start, if its time is over.
    pub(crate) fn end_slow_start(&self, now: Instant) {
        self.health.end_slow_start(now);
    }

    /// Returns what the server last said of itself.
    pub(crate) fn report(&self) -> Option<Arc<Report>> {
        self.told.lock().as_ref().map(|(_, report)| Arc::clone(report))
    }

    /// Returns when the server last said something of itself.
    pub(crate) fn told_at(&self) -> Option<Instant> {
        self.told.lock().as_ref().map(|(at, _)| *at)
    }

    /// Keeps what the server said of itself. Returns the report before.
    pub(crate) fn tell(&self, report: Arc<Report>, now: Instant) -> Option<Arc<Report>> {
        if let Some(zone) = &report.zone {
            // One set by hand stays.
            let _ = self.zone.set(zone.clone());
        }
        self.health.mark(now, self.answered());
        self.health.end_slow_start(now);
        self.told.lock().replace((now, report)).map(|(_, before)| before)
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Node");
        out.field("addr", &self.addr).field("role", &self.role()).field("weight", &self.weight());
        out.field("zone", &self.zone()).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_request_counts_as_in_flight_until_it_ends_even_by_a_panic() {
        let node = Node::new("a:1".parse().unwrap());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _running = node.begin();
            assert_eq!(node.in_flight(), 1);
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(node.in_flight(), 0);
    }
}
