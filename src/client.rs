//! The handle, and the one loop that routes every call.
//!
//! The loop is the hub: classification, routing, strategy, pool and node are asked in turn, and none of them asks
//! another. What a call does can be read here from top to bottom.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redis::{Cmd, FromRedisValue, RedisError, Value};

use self::clock::Clock;
use crate::addr::NodeAddr;
use crate::classification::{Classification, Classifier, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::pool::{Housekeeping, Lease};
use crate::routing::{
    Decision, Exclusion, Fault, ReadFrom, Reply, Stage, Verdict, executed_nothing, is_not_serving, judge,
};
use crate::strategy::Strategy;
use crate::topology::{Choice, LeftOut, Member, Snapshot, Topology};

mod clock;
mod dedicated;
mod seat;

pub use self::dedicated::Target;
pub(crate) use self::seat::Seat;

/// A connection idle for this long is proven by one question before a write goes out on it.
const PROVEN_FOR: Duration = Duration::from_secs(1);

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
    /// Routes a request and returns the reply; `pin` names the only node that may serve it.
    pub(crate) fn call(&self, request: &Request<'_>, pin: Option<&NodeAddr>) -> Result<Served> {
        let topology = self.shared.current();
        let mut clock = Clock::start(self.options.deadline, request.block);
        if !clock.goes_on() {
            return Err(Error::new(ErrorKind::Checkout, format!("the deadline leaves no time for {request}")));
        }
        let mut left_out = LeftOut::default();
        let mut same_node = match pin {
            Some(addr) => Some(topology.find(addr).ok_or_else(|| gone(request, addr))?),
            None => None,
        };
        loop {
            let (position, has_more) = match same_node {
                Some(position) => (position, false),
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
            let attempt = self.attempt(member, request, &clock, has_more);
            clock.tick();
            let (verdict, outcome) = judge(request, &attempt);
            if let Some(outcome) = outcome {
                member.node.record(outcome, clock.now());
            }
            let error = match (verdict, attempt) {
                (Verdict::Answer, Ok(reply)) => {
                    return Ok(Served { reply, topology, position });
                }
                (_, Ok(reply)) => refused(request, member.node.addr(), reply),
                (_, Err(fault)) => fault.into_error(member.node.addr(), request),
            };
            tracing::debug!(node = %member.node.addr(), command = %request, attempt = clock.attempt(), ?verdict, %error, "attempt failed");
            if verdict == Verdict::GiveUp || !clock.goes_on() {
                return Err(error);
            }
            match verdict {
                Verdict::SameNode => same_node = Some(position),
                _ if pin.is_some() => clock.pause(),
                _ => {
                    left_out.insert(position);
                    same_node = None;
                }
            }
        }
    }

    /// Lets the strategy pick one of the candidates. `None`: all were tried; an error: there never was one.
    fn pick(
        &self,
        topology: &Topology,
        request: &Request<'_>,
        clock: &Clock,
        left_out: LeftOut,
    ) -> Result<Option<(usize, bool)>> {
        let read_from = self.options.read_from;
        let Some(choice) = topology.choose(request.is_read(), read_from, clock.now(), left_out) else {
            let nobody =
                || Error::new(ErrorKind::Unavailable, format!("no node may serve {request} (read from {read_from})"));
            return if left_out.is_empty() { Err(nobody()) } else { Ok(None) };
        };
        let has_more = choice.has_more;
        Ok(self.pick_among(topology, choice, request.key, clock).map(|position| (position, has_more)))
    }

    /// Lets the strategy pick, and checks that it picked a candidate. Candidates are members: there always is a position.
    fn pick_among<'a>(
        &self,
        topology: &'a Topology,
        choice: Choice<'a>,
        key: Option<&'a [u8]>,
        clock: &Clock,
    ) -> Option<usize> {
        let mut candidates = choice.candidates;
        candidates.describe(key, clock.now(), clock.attempt());
        let mut node = self.shared.strategy.pick(&candidates);
        if !candidates.contains(node) {
            tracing::error!(strategy = ?self.shared.strategy, picked = %node.addr(), "strategy picked a node that is not a candidate");
            node = candidates.at(0);
        }
        topology.position(node)
    }

    /// Tries one node once.
    fn attempt(&self, member: &Member, request: &Request<'_>, clock: &Clock, has_more: bool) -> Result<Reply, Fault> {
        let _in_flight = member.node.begin();
        let end = clock.attempt_end(has_more, request.block);
        let mut lease = member.pool.checkout(end)?;
        self.prepare(member, &mut lease, !request.is_read(), clock)?;
        exchange(member, &mut lease, request, clock, end)
    }

    /// Makes sure that a lent connection leads where the topology says, before anything is sent on it.
    pub(crate) fn prepare(
        &self,
        member: &Member,
        lease: &mut Lease,
        must_be_alive: bool,
        clock: &Clock,
    ) -> Result<(), Fault> {
        let rested = || lease.last_used().is_some_and(|last| clock.now().saturating_duration_since(last) >= PROVEN_FOR);
        let is_doubtful = !member.is_in_place(lease.role());
        if is_doubtful || (must_be_alive && lease.has_served() && rested()) {
            let last_used = lease.last_used();
            let end = clock.attempt_end(false, Default::default());
            let limit = clock.now() + member.pool.limits().response;
            lease.ask_role(end.map_or(limit, |end| end.min(limit))).inspect_err(|fault| {
                if let (Stage::Idle, Some(last_used)) = (fault.stage, last_used) {
                    member.pool.distrust_until(last_used);
                }
            })?;
        }
        if let Some(role) = lease.role() {
            if member.node.observe_role(role) {
                tracing::warn!(node = %member.node.addr(), %role, "node changed its role");
            }
            if role != member.place {
                return Err(Fault::new(Stage::WrongRole, None));
            }
        }
        Ok(())
    }

    pub(crate) fn classifier(&self) -> &Classifier {
        &self.shared.classifier
    }

    /// Runs any command and converts its reply.
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`] but [`Config`](ErrorKind::Config). [`Refused`](ErrorKind::Refused) are commands that change the
    /// state of a connection, steps of a transaction (see [`connection`](Self::connection)) and cursors other than 0.
    pub fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T> {
        let packed = cmd.get_packed_command();
        let request = self.admit(cmd, &packed)?;
        let served = self.call(&request, None)?;
        let Served { reply: Reply::One(value), topology, position } = served else {
            return Err(Error::new(ErrorKind::Conversion, "a command got the replies of a pipeline"));
        };
        let node = topology.members()[position].node.addr();
        let value = value.extract_error().map_err(|cause| server_error(&request, cause).on(node))?;
        T::from_redis_value(value).map_err(|cause| {
            let error =
                Error::new(ErrorKind::Conversion, format!("the reply to {request} is not of the type asked for"));
            error.on(node).executed(!request.is_read()).because(cause.into())
        })
    }

    /// Reads a command and refuses what a call on its own cannot serve.
    fn admit<'a>(&self, cmd: &Cmd, packed: &'a [u8]) -> Result<Request<'a>> {
        let request = Request::command(packed, self.classifier()).map_err(|_| Error::refused("an empty command"))?;
        if request.class == Classification::Connection {
            return Err(Error::refused(format!(
                "{request} would change a pooled connection for its next user: use dedicated()"
            )));
        }
        if cmd.is_no_response() {
            return Err(Error::refused(format!(
                "{request} is to go without a reply, which its connection's next user would get: use dedicated()"
            )));
        }
        if request.step.is_some() {
            return Err(Error::refused(format!(
                "{request} is a step of a transaction, which needs one connection: use connection() or dedicated()"
            )));
        }
        if request.class == Classification::Cursor && request.cursor.is_none_or(|cursor| !cursor.first_page) {
            return Err(Error::refused(format!(
                "{request} goes on with a cursor that only its node knows: use connection() or dedicated()"
            )));
        }
        Ok(request)
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

    /// Tells where a command would go right now, and why. Sends nothing.
    #[must_use]
    pub fn explain(&self, cmd: &Cmd) -> Decision {
        let packed = cmd.get_packed_command();
        let (topology, now, read_from) = (self.shared.current(), Instant::now(), self.options.read_from);
        let all = || topology.members().iter().map(|member| member.node.addr().clone());
        let nowhere = |classification, command: String| {
            let excluded = all().map(|addr| (addr, Exclusion::Refused)).collect();
            Decision { command, classification, read_from, candidates: Vec::new(), excluded }
        };
        let Ok(request) = Request::command(&packed, self.classifier()) else {
            return nowhere(Classification::Write, "an empty command".to_owned());
        };
        if request.class == Classification::Connection {
            return nowhere(request.class, request.to_string());
        }
        let choice = topology.choose(request.is_read(), read_from, now, LeftOut::default());
        let candidates: Vec<NodeAddr> =
            choice.iter().flat_map(|choice| choice.candidates.iter()).map(|node| node.addr().clone()).collect();
        let excluded = topology.exclusions(request.is_read(), read_from, now, &candidates);
        Decision { command: request.to_string(), classification: request.class, read_from, candidates, excluded }
    }

    /// Returns the state of all nodes. Sends nothing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.shared.current(), Instant::now())
    }
}

/// Sends a request on a connection that is ready for it.
pub(crate) fn exchange(
    member: &Member,
    lease: &mut Lease,
    request: &Request<'_>,
    clock: &Clock,
    end: Option<Instant>,
) -> Result<Reply, Fault> {
    let last_used = lease.last_used();
    let now = if lease.took_time() { Instant::now() } else { clock.now() };
    let reply = lease.send(request, clock::patience(member.pool.limits().response, request.block, now, end));
    match &reply {
        Ok(reply) if must_close(request, reply) => lease.discard(),
        Ok(_) => lease.served(now),
        Err(fault) => {
            if let (Stage::Stale, Some(last_used)) = (fault.stage, last_used) {
                member.pool.distrust_until(last_used);
            }
        }
    }
    reply
}

/// After a refused write the connection leads to a node that is not, or not yet, a master: the next one asks for its role.
fn must_close(request: &Request<'_>, reply: &Reply) -> bool {
    let refuses = |value: &Value| matches!(value, Value::ServerError(error) if is_not_serving(error));
    !request.is_read()
        && match reply {
            Reply::One(value) => refuses(value),
            Reply::Many { kept, .. } => kept.iter().any(refuses),
        }
}

fn gone(request: &Request<'_>, node: &NodeAddr) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the node that {request} began on left the set")).on(node)
}

/// The error for a reply that the caller gets only because time ran out.
fn refused(request: &Request<'_>, node: &NodeAddr, reply: Reply) -> Error {
    let first = match reply {
        Reply::One(value) => value.extract_error().err(),
        Reply::Many { kept, not_queued } => {
            let queue = not_queued.into_iter().map(|(_, error)| RedisError::from(error)).next();
            queue.or_else(|| kept.into_iter().find_map(|value| value.extract_error().err()))
        }
    };
    match first {
        Some(cause) => server_error(request, cause).on(node).executed(false),
        None => Error::new(ErrorKind::Server, format!("{request} was refused")).on(node),
    }
}

/// The error for an answer of the server that is an error.
pub(crate) fn server_error(request: &Request<'_>, cause: RedisError) -> Error {
    let code = cause.code().unwrap_or("an error");
    let error = Error::new(ErrorKind::Server, format!("{request} was answered with {code}"));
    let untouched = cause
        .clone()
        .into_server_errors()
        .is_some_and(|errors| errors.iter().all(|(_, error)| executed_nothing(error)));
    error.executed(request.partial && !request.is_read() && !untouched).because(cause)
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
