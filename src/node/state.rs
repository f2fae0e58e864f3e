//! A node: its address, its roles and its measurements.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::heartbeat::Heartbeat;
use super::latency::{Latency, Measured, Moment};
use super::percentiles::{LatencyBuckets, Percentiles};
use super::record::{Outcome, Record};
use super::sync_state::SyncState;
use crate::addr::NodeAddr;
use crate::hash::Fnv;
use crate::lanes::Padded;
use crate::replication::{Report, Role};

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
    /// Set once: by the configuration, or from the server's report.
    pub(super) zone: OnceLock<Box<str>>,
    /// The role that the server says it has.
    is_master: AtomicBool,
    /// The sync state: what a replica's data is worth.
    pub(super) sync_state: AtomicU8,
    /// Several processes answer at this address: a shared endpoint.
    is_shared: AtomicBool,
    /// What every call changes, apart from what every call only reads.
    pub(super) traffic: Padded<Traffic>,
    /// The results of attempts, from which health follows.
    pub(super) record: Record,
    /// The strategy needs latencies.
    is_timed: bool,
    heartbeat: Heartbeat,
    /// The latencies of the last minutes. Only answers that are timed change it.
    buckets: LatencyBuckets,
    /// The last report of the server, and when it came. Calls that are answered do not take this lock.
    pub(super) reported: Mutex<Option<(Instant, Arc<Report>)>>,
}

/// What calls that are answered change at their node: on one cache line, which each of them needs anyway.
#[derive(Debug)]
pub(super) struct Traffic {
    in_flight: AtomicU32,
    /// Complete replies.
    pub(super) answered: AtomicU64,
    pub(super) latency: Latency,
}

/// One request that is in flight to a node; counted in [`Node::in_flight`] until dropped.
///
/// ```
/// use redis_replicated::Node;
///
/// let node = Node::new("cache-1:6379".parse()?);
/// {
///     let _in_flight = node.begin();
///     assert_eq!(node.in_flight(), 1);
/// }
/// assert_eq!(node.in_flight(), 0);
/// # Ok::<(), redis_replicated::ParseNodeAddrError>(())
/// ```
#[must_use = "the request counts as in flight only while this lives"]
#[derive(Debug)]
pub struct InFlight<'a>(&'a Node);

impl Node {
    /// Makes a node that is a replica, has the weight 1 and is in no zone.
    #[must_use]
    pub fn new(addr: NodeAddr) -> Self {
        Self {
            hash: Fnv::of_text(&addr),
            addr,
            weight: AtomicU32::new(1),
            zone: OnceLock::new(),
            is_master: AtomicBool::new(false),
            sync_state: AtomicU8::new(SyncState::InSync as u8),
            is_shared: AtomicBool::new(false),
            traffic: Padded(Traffic {
                in_flight: AtomicU32::new(0),
                answered: AtomicU64::new(0),
                latency: Latency::new(),
            }),
            record: Record::new(),
            is_timed: true,
            heartbeat: Heartbeat::default(),
            buckets: LatencyBuckets::new(),
            reported: Mutex::new(None),
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

    /// Returns the address on which the node listens.
    #[must_use]
    pub fn addr(&self) -> &NodeAddr {
        &self.addr
    }

    /// Returns the hash of the address: the same in every process.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the role that the server last said it has; the configured role before its first answer.
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

    /// Returns how many requests of this process wait for the node, or for a connection to it.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.traffic.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request as in flight until the returned guard is dropped, even by a panic.
    #[inline]
    pub fn begin(&self) -> InFlight<'_> {
        // Relaxed, here and below: strategies only compare counts.
        self.traffic.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Records the outcome of a request and the time that it took, for [`latency_at`](Self::latency_at).
    ///
    /// However soon it came, a failure counts as at least 50 ms and at least twice the response limit; that is 2 s for a node
    /// that belongs to no client.
    pub fn record_at(&self, outcome: Outcome, took: Duration, now: Instant) {
        match outcome {
            Outcome::Answered => {
                self.traffic.latency.answered(took, now);
                self.buckets.record(took, self.record.nanos(now));
            }
            Outcome::Failed | Outcome::Unreachable | Outcome::NotServing => self.traffic.latency.failed(now),
        }
    }

    /// Returns the average time that the node takes to answer this process.
    ///
    /// A single late answer raises the average by at most a quarter. Early answers lower it slowly, and so does time: by half in
    /// a second. A failure counts at once and in full, and so does a second answer that is more than 20 ms late. Returns `None`
    /// before the first measurement, and after an ejection.
    #[must_use]
    pub fn latency_at(&self, now: Instant) -> Option<Duration> {
        self.measured_at(now.into()).map(|measured| Duration::from_nanos(measured.nanos as u64))
    }

    /// Returns the distribution of the latencies of the last one to two minutes; `None` if no answer was timed in them.
    #[must_use]
    pub fn percentiles_at(&self, now: Instant) -> Option<Percentiles> {
        self.buckets.percentiles(self.record.nanos(now))
    }

    /// Records the round-trip time of one of the monitor's questions, for [`heartbeat`](Self::heartbeat).
    pub fn record_heartbeat(&self, took: Duration) {
        self.heartbeat.record(took);
    }

    /// Returns the average round-trip time of the monitor's questions on an open connection: the distance of the node. Returns
    /// `None` before the first question.
    #[must_use]
    pub fn heartbeat(&self) -> Option<Duration> {
        Some(self.heartbeat_nanos()).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    /// Returns the heartbeat in nanoseconds; 0 if it is not known.
    #[inline]
    pub(crate) fn heartbeat_nanos(&self) -> u64 {
        self.heartbeat.nanos()
    }

    /// Returns the latency with the age of its last sample.
    #[inline]
    pub(crate) fn measured_at(&self, now: Moment) -> Option<Measured> {
        self.traffic.latency.at(now)
    }

    /// Sets what a failure counts as, by the response limit.
    pub(crate) fn with_response_limit(mut self, limit: Duration) -> Self {
        self.traffic.0.latency.set_penalty(limit.saturating_mul(2).max(Duration::from_millis(50)));
        self
    }

    /// Sets whether calls are timed more often, as the strategy needs latencies.
    pub(crate) fn with_timing(self, is_timed: bool) -> Self {
        Self { is_timed, ..self }
    }

    /// Returns whether to time the answer to a call. Reading the clock is a good part of the cost of routing, so one answer in
    /// eight is timed. Where the strategy needs latencies, it is one in four, and the first one after a millisecond without a
    /// sample.
    #[inline]
    pub(crate) fn is_timed(&self, now: Instant) -> bool {
        let turn = self.answered() & 7;
        turn == 1 || self.is_timed && (turn == 5 || self.measured_at(now.into()).is_none_or(|last| last.age > 0))
    }

    pub(crate) fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Records the role that the server says it has. Returns whether it is new.
    pub(crate) fn observe_role(&self, role: Role) -> bool {
        let is_new = self.role() != role;
        if is_new {
            self.is_master.store(role == Role::Master, Ordering::Relaxed);
        }
        is_new
    }

    /// Returns the sync state: what the data of the node is worth.
    #[inline]
    pub(crate) fn sync_state(&self) -> SyncState {
        SyncState::of(self.sync_state.load(Ordering::Relaxed))
    }

    /// Returns whether several processes answer at this address: each connection leads to one of them.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Records that several processes answer at this address.
    pub(crate) fn share_endpoint(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Returns the last report of the server.
    pub(crate) fn report(&self) -> Option<Arc<Report>> {
        self.reported.lock().as_ref().map(|(_, report)| Arc::clone(report))
    }

    /// Returns when the last report came.
    pub(crate) fn reported_at(&self) -> Option<Instant> {
        self.reported.lock().as_ref().map(|(at, _)| *at)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.traffic.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.record.failed.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.traffic.in_flight.fetch_sub(1, Ordering::Relaxed);
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
