//! The handle, and the one loop that routes every call.
//!
//! The loop is the hub: classification, routing, strategy, pool and node are asked in turn, and none of them asks
//! another. What a call does can be read here from top to bottom.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::attempt::{attempt, explain_failure};
use self::clock::Clock;
use self::pick::{NoPick, Picked};
use self::setbacks::Setbacks;
use crate::addr::NodeAddr;
use crate::classification::{Classifier, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Outcome;
use crate::replication::Role;
use crate::retry::{Budget, Reply, Setting, Verdict, judge};
use crate::selection::{Permits, ReadFrom};
use crate::session::{Seen, Session, SessionMode};
use crate::strategy::Strategy;
use crate::topology::{Assigned, Fixed, LeftOut, Topology, TopologyStore};

mod attempt;
mod check;
mod clock;
mod dedicated;
mod envelope;
mod explain;
mod fence;
mod guard;
mod pick;
mod pinned;
mod query;
mod sealed;
mod second;
mod session;
mod set;
mod setbacks;

pub use self::dedicated::Target;
pub(crate) use self::guard::{Confirmation, Guard};
pub(crate) use self::pinned::Pinned;
pub(crate) use self::query::{server_error, type_name};

/// A request that was refused for now is not sent again with less time left: it is certain that it was not executed, and
/// would not be once a reply is late.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// A handle to a master and its replicas.
///
/// Writes go to the master, reads to the replicas that the read preference and the strategy choose. Handles are cheap to
/// clone, share their pools, and may be used by many threads at once; each carries its own options.
///
/// # Processes that fork
///
/// Build the client in the process that uses it. After a `fork` without `exec`, parent and child hold the same sockets: each
/// reads replies that belong to the other, and *returns them as its own*. The child also has none of the threads that watch the
/// nodes. Servers that fork workers (prefork) build one client in each worker, after the fork. Nothing checks this: asking for
/// the process id before each call would be a system call on each call.
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
    pub(crate) store: Arc<TopologyStore>,
    pub(crate) classifier: Classifier,
    pub(crate) strategy: Box<dyn Strategy>,
    pub(crate) budget: Budget,
    pub(crate) permits: Permits,
    pub(crate) session_mode: SessionMode,
    /// The nodes that were named, if no provider describes the set.
    pub(crate) fixed: Option<Arc<Fixed>>,
}

/// What each handle has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) read_from: ReadFrom,
    pub(crate) deadline: Duration,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) confirmation: Option<Confirmation>,
    pub(crate) session: Option<Arc<Session>>,
}

/// Which node a call is to go to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim<'a> {
    /// Any candidate.
    Any,
    /// This node, and any candidate if it fails.
    First(&'a NodeAddr),
    /// This node and no other: it goes on with something that had to contain what was `seen`.
    Only { node: &'a NodeAddr, seen: Option<Seen> },
}

/// A reply and the node that gave it.
pub(crate) struct Served {
    pub(crate) reply: Reply,
    /// What it had to contain.
    pub(crate) seen: Option<Seen>,
    topology: Arc<Topology>,
    position: usize,
}

impl Served {
    pub(crate) fn node(&self) -> &NodeAddr {
        self.topology.servers()[self.position].node.addr()
    }

    /// Tells whether several processes answer where this came from.
    pub(crate) fn is_from_shared_endpoint(&self) -> bool {
        self.topology.servers()[self.position].node.is_shared()
    }
}

impl ReplicatedClient {
    /// Routes a request and returns the reply.
    pub(crate) fn call(&self, request: &Request<'_>, aim: Aim<'_>) -> Result<Served> {
        let mut topology = self.shared.store.current();
        let mut clock = Clock::start(self.options.deadline);
        let mut guard = self.guard(request, aim, &mut clock)?;
        let mut left_out = guard.left_out(&topology);
        let mut setbacks = Setbacks::default();
        let mut picked: Option<Picked<'_>> = None;
        // Asking on for a node that is not behind, or that does what the first one may not, is no retry.
        let mut is_free = true;
        loop {
            if !clock.goes_on() {
                return Err(setbacks.last().unwrap_or_else(|| self.no_time(&guard, &clock)));
            }
            let target = match picked.take().map_or_else(|| self.pick(&topology, &guard, aim, &clock, left_out), Ok) {
                Ok(target) => target,
                Err(nobody) => {
                    topology = self.wait_for_node(nobody, &topology, &mut setbacks, &mut clock)?;
                    left_out = guard.left_out(&topology).and(setbacks.left_out(&topology));
                    continue;
                }
            };
            if !is_free && !self.may_attempt(request, &clock) {
                // Nothing is held meanwhile.
                drop(target);
                clock.pause();
                continue;
            }
            let server = &topology.servers()[target.position];
            let attempt = attempt(server, &guard, &clock, target.has_more);
            let has_new_master = &|| self.shared.store.has_new_master();
            let setting = Setting {
                assigned_role: server.assigned_role,
                is_second: setbacks.first_answer.is_some(),
                has_new_master,
            };
            let (verdict, outcome) = setbacks.count(server, &attempt, &mut clock, judge(request, &attempt, setting));
            let error = match (verdict, attempt) {
                (Verdict::Answer, Ok(mut reply)) => {
                    self.conclude(&topology, server, &reply, &setbacks, &clock);
                    reply.hide_arguments(request);
                    return Ok(Served { reply, seen: guard.seen(), topology, position: target.position });
                }
                (_, failed) => explain_failure(request, server, failed, setbacks.error.take()),
            };
            clock.tick();
            is_free = matches!(verdict, Verdict::Unproven | Verdict::Another | Verdict::Master);
            self.note(server, outcome, &clock);
            tracing::debug!(node = %server.node.addr(), command = %request, attempt = clock.attempt(), ?verdict, %error, "attempt failed");
            match verdict {
                Verdict::GiveUp | Verdict::Answer => return Err(error),
                Verdict::SameNode => picked = Some(target),
                Verdict::Elsewhere => left_out.insert(target.position),
                Verdict::Another | Verdict::Master => {
                    guard.turn_from(&server.node, verdict == Verdict::Master);
                    left_out = left_out.and(guard.left_out(&topology));
                    setbacks.first_answer = Some(error.clone());
                }
                Verdict::Write { position } => return self.call_as_write(request, position, &clock, &error),
                Verdict::Later => {
                    drop(target);
                    topology = self.wait(&topology, &mut clock);
                    if clock.left() < LAST_CHANCE.min(self.options.deadline / 8) {
                        return Err(error);
                    }
                    left_out = guard.left_out(&topology);
                }
                Verdict::Unproven => left_out = self.closer(&topology, left_out, target.position, &clock),
            }
            setbacks.error = Some(error);
        }
    }

    /// Records an answer, and what it says of the nodes that were asked before.
    #[inline]
    fn conclude(&self, topology: &Topology, server: &Assigned, reply: &Reply, setbacks: &Setbacks, clock: &Clock) {
        setbacks.blame(clock.now());
        server.record_answer();
        if let Some(first) = &setbacks.first_answer {
            self.compare(topology, first, reply, clock.now());
        }
    }

    /// Waits until there may be a node for another attempt; returns what the set is then.
    #[cold]
    fn wait_for_node(
        &self,
        nobody: NoPick,
        topology: &Topology,
        setbacks: &mut Setbacks,
        clock: &mut Clock,
    ) -> Result<Arc<Topology>> {
        match nobody {
            NoPick::Later => match setbacks.end_round(topology) {
                Some(error) => Err(error),
                // Everybody was tried once, or nobody is there yet: nodes whose connections were killed are alive.
                None => Ok(self.wait(topology, clock)),
            },
            NoPick::Full(_) if self.wait_for_room(clock) => Ok(self.shared.store.current()),
            NoPick::Full(error) | NoPick::Never(error) => Err(setbacks.or(error)),
        }
    }

    /// Tells whether there may be another attempt: reads share a budget of those, and waiting for a master is free.
    #[inline]
    fn may_attempt(&self, request: &Request<'_>, clock: &Clock) -> bool {
        let answered = || self.shared.store.current().answered();
        !request.is_read() || self.shared.budget.withdraw(answered, clock.now())
    }

    /// Leaves a node out that lags behind what is asked for: after a second one, and where there are too many second attempts,
    /// all replicas, so that the master is next.
    #[cold]
    fn closer(&self, topology: &Topology, mut left_out: LeftOut, position: usize, clock: &Clock) -> LeftOut {
        let is_second = !left_out.is_empty();
        left_out.insert(position);
        let answered = || self.shared.store.current().answered();
        let may_ask_another = !is_second && self.shared.budget.withdraw(answered, clock.now());
        // While it is out, there may be nobody but the replicas.
        let serves = |master: usize| !topology.servers()[master].node.is_ejected();
        let has_last_word = topology.master().is_some_and(serves) && self.options.read_from != ReadFrom::Replica;
        if may_ask_another || !has_last_word { left_out } else { left_out.and(topology.replicas()) }
    }

    /// Waits until the set has changed, or for a pause; returns what the set is then.
    #[cold]
    fn wait(&self, known: &Topology, clock: &mut Clock) -> Arc<Topology> {
        let store = &self.shared.store;
        if !store.is_monitored() && (!known.is_settled() || known.master().is_none()) {
            store.suspect();
        }
        let next = store.wait_for_change(known, clock.next_pause());
        clock.look();
        next
    }

    /// Waits until there is room for one more fallback read. Returns whether there is.
    #[cold]
    fn wait_for_room(&self, clock: &mut Clock) -> bool {
        let permits = &self.shared.permits;
        let has_room = permits.wait_for_room(clock.permit_end(permits.patience()));
        clock.look();
        has_room
    }

    /// Notes what an attempt says about its node, and has the set looked at if it may have changed.
    #[cold]
    fn note(&self, server: &Assigned, outcome: Option<Outcome>, clock: &Clock) {
        let Some(outcome) = outcome else { return };
        let store = &self.shared.store;
        let has_moved = server.node.role() != server.assigned_role;
        if has_moved {
            // Nothing is wrong with it but its place: it is asked last as long as that is another than its role.
            server.node.count_failure();
        } else {
            server.record_failure(outcome, clock.now());
        }
        if has_moved || (server.assigned_role == Role::Master && server.node.is_ejected()) {
            store.suspect();
        } else if server.assigned_role == Role::Master {
            // How long it has been silent decides when another may take its place.
            server.request_check();
        }
    }

    /// The error of a call for which no attempt was made.
    #[cold]
    fn no_time(&self, guard: &Guard<'_>, clock: &Clock) -> Error {
        let request = guard.request();
        if !clock.has_waited() {
            return Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}"));
        }
        let why = guard.why_master().map(|why| format!(": {why}")).unwrap_or_default();
        self.missing(format!("no node that may serve {request} was found in time{why}"))
    }

    /// The error where nobody is there, with the reason why the set could not be described if there is one.
    #[cold]
    fn missing(&self, missing: String) -> Error {
        match self.shared.store.failure() {
            Some(failure) => {
                let error = Error::new(ErrorKind::Unavailable, format!("{missing} ({failure})"));
                error.caused_by(failure.as_redis().cloned())
            }
            None => Error::new(ErrorKind::Unavailable, missing),
        }
    }

    fn with(&self, options: Options) -> Self {
        Self { shared: Arc::clone(&self.shared), options }
    }

    pub(crate) fn classifier(&self) -> &Classifier {
        &self.shared.classifier
    }

    /// Returns a handle that reads from elsewhere; the pools are shared.
    #[must_use]
    pub fn read_from(&self, read_from: ReadFrom) -> Self {
        self.with(Options { read_from, ..self.options.clone() })
    }

    /// Returns a handle whose calls each end after `deadline`, retries included; the pools are shared.
    ///
    /// A deadline of 1 ms or less fails every call with [`ErrorKind::Checkout`].
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Self {
        self.with(Options { deadline, ..self.options.clone() })
    }
}

impl fmt::Debug for ReplicatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.shared.store.current();
        let nodes: Vec<_> = topology.servers().iter().map(|server| &server.node).collect();
        let mut out = f.debug_struct("ReplicatedClient");
        if nodes.is_empty() {
            // It has not told of a node yet.
            out.field("provider", self.shared.store.provider());
        } else {
            out.field("nodes", &nodes);
        }
        out.field("options", &self.options).finish_non_exhaustive()
    }
}
