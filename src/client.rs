//! The handle, and the one loop that routes every call.
//!
//! The loop is the hub: classification, routing, strategy, pool and node are asked in turn, and none of them asks
//! another. What a call does can be read here from top to bottom.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use self::attempt::{attempt, explain_failure};
use self::clock::Clock;
use crate::addr::NodeAddr;
use crate::classification::{Classifier, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Housekeeping;
use crate::routing::{ReadFrom, Reply, Verdict, judge};
use crate::strategy::{Candidates, Strategy};
use crate::topology::{LeftOut, Topology};

mod attempt;
mod clock;
mod dedicated;
mod explain;
mod query;
mod seat;

pub use self::dedicated::Target;
pub(crate) use self::query::server_error;
pub(crate) use self::seat::Seat;

/// A handle to a master and its replicas.
///
/// Writes go to the master, reads to the replicas that the read preference and the strategy choose. Handles are cheap to
/// clone, share their pools, and may be used by many threads at once; each carries its own options.
///
/// ```no_run
/// use redis_replicated::ReplicatedClient;
///
/// let client = ReplicatedClient::builder()
///     .master("redis://127.0.0.1:6379")
///     .replicas(["redis://127.0.0.1:6380", "redis://127.0.0.1:6381"])
///     .build()?;
/// client.set("greeting", "hello")?;
/// let greeting: Option<String> = client.get("greeting")?;
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[derive(Clone)]
pub struct ReplicatedClient {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
}

/// What all handles of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    topology: RwLock<Arc<Topology>>,
    classifier: Classifier,
    strategy: Box<dyn Strategy>,
    _housekeeping: Housekeeping,
}

/// What each handle has for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) read_from: ReadFrom,
    pub(crate) deadline: Duration,
}

/// Which node a call is to go to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim<'a> {
    /// Any candidate.
    Any,
    /// This node, and any candidate if it fails.
    First(&'a NodeAddr),
    /// This node and no other.
    Only(&'a NodeAddr),
}

/// A reply and the node that gave it.
pub(crate) struct Served {
    pub(crate) reply: Reply,
    topology: Arc<Topology>,
    position: usize,
}

impl Shared {
    pub(crate) fn new(
        topology: Topology,
        classifier: Classifier,
        strategy: Box<dyn Strategy>,
        housekeeping: Housekeeping,
    ) -> Self {
        Self { topology: RwLock::new(Arc::new(topology)), classifier, strategy, _housekeeping: housekeeping }
    }

    /// Returns the present topology. A call takes it once and works with it to its end.
    #[inline]
    pub(crate) fn current(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read())
    }
}

impl Served {
    pub(crate) fn node(&self) -> &NodeAddr {
        self.topology.members()[self.position].node.addr()
    }
}

impl ReplicatedClient {
    /// Routes a request and returns the reply.
    pub(crate) fn call(&self, request: &Request<'_>, aim: Aim<'_>) -> Result<Served> {
        let topology = self.shared.current();
        let mut clock = Clock::start(self.options.deadline);
        let mut left_out = LeftOut::default();
        let mut earlier: Option<Error> = None;
        let mut same_node = match aim {
            Aim::Any => None,
            Aim::First(addr) => topology.find(addr).map(|position| (position, topology.members().len() > 1)),
            Aim::Only(addr) => Some((topology.find(addr).ok_or_else(|| gone(request, addr))?, false)),
        };
        loop {
            if !clock.goes_on() {
                return Err(earlier.unwrap_or_else(|| no_time(request)));
            }
            let (position, has_more) = match same_node {
                Some(picked) => picked,
                None => match self.pick(&topology, request, &clock, left_out)? {
                    Some(picked) => picked,
                    None => {
                        // Everybody was tried once: nodes whose connections were killed are alive.
                        left_out = LeftOut::default();
                        clock.pause();
                        continue;
                    }
                },
            };
            let member = &topology.members()[position];
            let attempt = attempt(member, request, &clock, has_more);
            let (verdict, outcome) = judge(request, &attempt);
            let error = match (verdict, attempt) {
                (Verdict::Answer, Ok(reply)) => {
                    member.node.record_answer();
                    return Ok(Served { reply, topology, position });
                }
                (_, failed) => explain_failure(request, member, failed, earlier),
            };
            clock.tick();
            if let Some(outcome) = outcome {
                member.node.record_failure(outcome, clock.now());
            }
            tracing::debug!(node = %member.node.addr(), command = %request, attempt = clock.attempt(), ?verdict, %error, "attempt failed");
            match verdict {
                Verdict::GiveUp | Verdict::Answer => return Err(error),
                Verdict::SameNode => same_node = Some((position, has_more)),
                Verdict::Elsewhere if matches!(aim, Aim::Only(_)) => clock.pause(),
                Verdict::Elsewhere => {
                    left_out.insert(position);
                    same_node = None;
                }
            }
            earlier = Some(error);
        }
    }

    /// Lets the strategy pick one of the candidates. `None`: all were tried; an error: there never was one.
    #[inline]
    fn pick(
        &self,
        topology: &Topology,
        request: &Request<'_>,
        clock: &Clock,
        left_out: LeftOut,
    ) -> Result<Option<(usize, bool)>> {
        let read_from = self.options.read_from;
        let Some(mut choice) = topology.choose(request.is_read(), read_from, clock.now(), left_out) else {
            return if left_out.is_empty() { Err(nobody(request, read_from)) } else { Ok(None) };
        };
        let position = self.pick_among(topology, &mut choice.candidates, request.key, clock);
        Ok(position.map(|position| (position, choice.has_more)))
    }

    /// Lets the strategy pick, and checks that it picked a candidate. Candidates are members: there always is a position.
    #[inline]
    fn pick_among<'a>(
        &self,
        topology: &'a Topology,
        candidates: &mut Candidates<'a>,
        key: Option<&'a [u8]>,
        clock: &Clock,
    ) -> Option<usize> {
        if let [only] = *candidates.as_slice() {
            // No choice: writes must not use up the turns of reads.
            return topology.position(only);
        }
        candidates.describe(key, clock.now(), clock.attempt());
        let mut node = self.shared.strategy.pick(candidates);
        if !candidates.contains(node) {
            tracing::error!(strategy = ?self.shared.strategy, picked = %node.addr(), "strategy picked a node that is not a candidate");
            node = candidates.at(0);
        }
        topology.position(node)
    }

    pub(crate) fn classifier(&self) -> &Classifier {
        &self.shared.classifier
    }

    /// Returns a handle that reads from elsewhere; the pools are shared.
    #[must_use]
    pub fn read_from(&self, read_from: ReadFrom) -> Self {
        let options = Options { read_from, ..self.options };
        Self { shared: Arc::clone(&self.shared), options }
    }

    /// Returns a handle whose calls each end after `deadline`, retries included; the pools are shared.
    ///
    /// A deadline of 1 ms or less fails every call with [`ErrorKind::Checkout`].
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Self {
        let options = Options { deadline, ..self.options };
        Self { shared: Arc::clone(&self.shared), options }
    }
}

#[cold]
fn no_time(request: &Request<'_>) -> Error {
    Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}"))
}

#[cold]
fn nobody(request: &Request<'_>, read_from: ReadFrom) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no node may serve {request} (read from {read_from})"))
}

#[cold]
fn gone(request: &Request<'_>, node: &NodeAddr) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the node that {request} began on left the set")).on(node)
}

impl fmt::Debug for ReplicatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.shared.current();
        let nodes: Vec<_> = topology.members().iter().map(|member| &member.node).collect();
        f.debug_struct("ReplicatedClient")
            .field("nodes", &nodes)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
