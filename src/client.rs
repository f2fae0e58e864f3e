//! The handle, and what each one sets for its own calls.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, Value};

use crate::call::{CallOptions, Pinned, Plain, Router, Served, Stop, run};
use crate::classification::{Classification, Classifier, Request};
use crate::error::{Error, Result};
use crate::events;
use crate::provider::Fixed;
use crate::retry::Reply;
use crate::selection::{Affinity, ReadFrom};
use crate::session::{Asked, Seen, SessionCall, SessionMode};

mod dedicated;
mod explain;
mod message;
mod session;
mod set;

pub use self::dedicated::Target;
pub(crate) use self::message::type_name;

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
    pub(crate) router: Router,
    pub(crate) session_mode: SessionMode,
    /// The nodes that were named, if no provider describes the set.
    pub(crate) fixed: Option<Arc<Fixed>>,
}

/// What each handle has for itself.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) call: CallOptions,
    /// What is asked of a reply, beside being one.
    pub(crate) asked: Option<Asked>,
}

impl ReplicatedClient {
    /// Runs any command and converts its reply.
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`](crate::ErrorKind) but [`Config`](crate::ErrorKind::Config).
    /// [`Refused`](crate::ErrorKind::Refused) are commands that change the state of a connection, steps of a transaction (see [`connection`](Self::connection)) and cursors other than 0.
    pub fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T> {
        let packed = cmd.get_packed_command();
        let request =
            Request::packed(cmd, &packed, self.classifier()).map_err(|_| Error::refused("an empty command"))?;
        // A call on its own can serve it, on whatever connection it gets.
        let is_simple =
            request.class != Classification::Connection && !request.continues_scan && request.step().is_none();
        if !is_simple || cmd.is_no_response() {
            return Err(message::refusal(&request));
        }
        let mut served = self.call(&request, Affinity::Any)?;
        let value = match std::mem::take(&mut served.reply) {
            Reply::One(value) => value,
            // A command never gets the replies of a pipeline.
            Reply::Many { kept, .. } => Value::Array(kept),
        };
        let value = value.extract_error().map_err(|cause| message::failure(&request, &served, cause))?;
        let what = kind_of(&value);
        // The redis crate's error quotes the value.
        T::from_redis_value(value).map_err(|_| message::misfit::<T>(&request, &served, what))
    }

    /// Routes a request and returns the reply.
    #[inline]
    pub(crate) fn call(&self, request: &Request<'_>, affinity: Affinity<'_>) -> Result<Served> {
        self.call_with(request, affinity, None).map(|(served, _)| served)
    }

    /// Routes a request. `began_at`: what the beginning had to contain, if this goes on with something. Returns also what the
    /// reply had to contain.
    #[inline]
    pub(crate) fn call_with(
        &self,
        request: &Request<'_>,
        affinity: Affinity<'_>,
        began_at: Option<Seen>,
    ) -> Result<(Served, Option<Seen>)> {
        let called = match self.session_call(began_at) {
            None => run(self.router(), request, self.options.call, affinity, &Plain).map(|served| (served, None)),
            Some(call) => call.run(request, affinity),
        };
        called.or_else(|stop| self.stopped(request, stop))
    }

    /// Runs a request on a pinned connection. `proves`: what the handle asks for is asked of this reply.
    pub(crate) fn call_pinned(
        &self,
        pinned: &mut Pinned,
        request: &Request<'_>,
        (proves, began_at): (bool, Option<Seen>),
        began: Instant,
    ) -> Result<(Reply, Option<Seen>)> {
        let options = self.options.call.since(began);
        match self.session_call(began_at).filter(|_| proves) {
            None => pinned.run(self.router(), request, options, &Plain).map(|reply| (reply, None)),
            Some(call) => SessionCall { options, ..call }.run_pinned(pinned, request),
        }
    }

    /// Returns what is asked of the reply to a call; `None`: nothing.
    #[inline]
    fn session_call(&self, began_at: Option<Seen>) -> Option<SessionCall<'_>> {
        let asked = self.options.asked.as_ref()?;
        Some(SessionCall { router: self.router(), options: self.options.call, asked, began_at })
    }

    /// Ends a call that was not answered, or sends to the master what a replica took for a write, and remembers what the
    /// command is.
    #[cold]
    fn stopped(&self, request: &Request<'_>, stop: Stop) -> Result<(Served, Option<Seen>)> {
        match stop {
            Stop::Error(error) => Err(error),
            Stop::IsWrite { position, refused, left } => {
                if let (Some(command), Some(node)) =
                    (self.classifier().learn_write(request.bytes, position), refused.node())
                {
                    events::command_reclassified(&command, node);
                }
                let rest = self.deadline(left).call_with(&request.as_write(), Affinity::Any, None);
                rest.map_err(|error| error.after(Some(&refused)))
            }
        }
    }

    fn with(&self, options: Options) -> Self {
        Self { shared: Arc::clone(&self.shared), options }
    }

    #[inline]
    pub(crate) fn router(&self) -> &Router {
        &self.shared.router
    }

    #[inline]
    pub(crate) fn classifier(&self) -> &Classifier {
        &self.shared.router.classifier
    }

    /// Returns a handle that reads from elsewhere; the pools are shared.
    #[must_use]
    pub fn read_from(&self, read_from: ReadFrom) -> Self {
        let call = CallOptions { read_from, ..self.options.call };
        self.with(Options { call, ..self.options.clone() })
    }

    /// Returns a handle whose calls each end after `deadline`, retries included; the pools are shared.
    ///
    /// A deadline of 1 ms or less fails every call with [`ErrorKind::Checkout`](crate::ErrorKind::Checkout).
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Self {
        let call = CallOptions { deadline, ..self.options.call };
        self.with(Options { call, ..self.options.clone() })
    }
}

impl fmt::Debug for ReplicatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.router().store.current();
        let nodes: Vec<_> = topology.servers().iter().map(|server| &server.node).collect();
        let mut out = f.debug_struct("ReplicatedClient");
        if nodes.is_empty() {
            // No node is known yet.
            out.field("provider", self.router().monitor.provider());
        } else {
            out.field("nodes", &nodes);
        }
        out.field("options", &self.options).finish_non_exhaustive()
    }
}

/// Returns what kind of reply this is, without what it says.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Int(_) => "an integer",
        Value::BulkString(_) => "a bulk string",
        Value::SimpleString(_) | Value::Okay => "a status",
        Value::VerbatimString { .. } => "a text",
        Value::Array(_) => "an array",
        Value::Map(_) => "a map",
        Value::Set(_) => "a set",
        Value::Attribute { .. } => "a reply with attributes",
        Value::Double(_) => "a double",
        Value::Boolean(_) => "a boolean",
        Value::BigNumber(_) => "a big number",
        Value::Push { .. } => "a push message",
        _ => "of another type",
    }
}
