//! Brings a command to a call, and its reply to the caller.
//!
//! The loop itself is in [`call`](crate::call), what sessions add in [`session`](crate::session).

use std::borrow::Borrow;
use std::time::Instant;

use redis::{Cmd, FromRedisValue, Value};

use super::ReplicatedClient;
use crate::call::{Pinned, Plain, Router, Served, Stop, run};
use crate::classification::{Classification, Classifier, Request};
use crate::error::{Error, Result};
use crate::observe::log;
use crate::retry::{Reply, server_error};
use crate::selection::Affinity;
use crate::session::{SessionCall, Watermark};

/// Any command.
impl ReplicatedClient {
    /// Runs any command, by value or by reference, and converts its reply.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let places: Vec<String> = client.query(redis::cmd("ZRANGE").arg("places").arg(0).arg(-1))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`](crate::ErrorKind) but [`Config`](crate::ErrorKind::Config).
    /// [`Refused`](crate::ErrorKind::Refused) is for commands that would change the state of a pooled connection, for steps of
    /// a transaction (see [`connection`](Self::connection)), and for cursors other than 0.
    pub fn query<T: FromRedisValue>(&self, cmd: impl Borrow<Cmd>) -> Result<T> {
        self.query_with(cmd.borrow(), Affinity::Any, false)
    }

    /// As [`query`](Self::query). `has_script_text`: the caller sends the text of the script where a node does not know it.
    #[inline]
    pub(crate) fn query_with<T: FromRedisValue>(
        &self,
        cmd: &Cmd,
        affinity: Affinity<'_>,
        has_script_text: bool,
    ) -> Result<T> {
        let packed = cmd.get_packed_command();
        let mut request =
            Request::packed(cmd, &packed, self.classifier()).map_err(|_| Error::refused("an empty command"))?;
        request.has_script_text = has_script_text;
        // Any connection can serve it.
        let is_simple =
            request.class != Classification::Connection && !request.continues_scan && request.step().is_none();
        if !is_simple || cmd.is_no_response() {
            return Err(refusal(&request));
        }
        let mut served = self.call(&request, affinity)?;
        let value = match std::mem::take(&mut served.reply) {
            Reply::One(value) => value,
            // Not reached: a single command never gets the replies of a pipeline.
            Reply::Many { kept, .. } => Value::Array(kept),
        };
        let value = value.extract_error().map_err(|cause| server_error(&request, cause).on(served.node()))?;
        let what = kind_of(&value);
        // The redis crate's error is replaced, because it quotes the value.
        T::from_redis_value(value).map_err(|_| conversion_error::<T>(&request, &served, what))
    }

    /// Routes a request and returns the reply.
    #[inline]
    pub(crate) fn call(&self, request: &Request<'_>, affinity: Affinity<'_>) -> Result<Served> {
        self.call_with(request, affinity, None).map(|(served, _)| served)
    }

    /// Routes a request. `began_at`: for a later page of a scan, the watermark that the first page had to contain. Also returns
    /// the watermark that this reply had to contain.
    #[inline]
    pub(crate) fn call_with(
        &self,
        request: &Request<'_>,
        affinity: Affinity<'_>,
        began_at: Option<Watermark>,
    ) -> Result<(Served, Option<Watermark>)> {
        let called = match self.session_call(began_at) {
            None => run(self.router(), request, self.call_options(), affinity, &Plain).map(|served| (served, None)),
            Some(call) => call.run(request, affinity),
        };
        called.or_else(|stop| self.stopped(request, stop))
    }

    /// Runs a request on a pinned connection. `proves`: the guarantees of the handle hold for its reply.
    pub(crate) fn call_pinned(
        &self,
        pinned: &mut Pinned,
        request: &Request<'_>,
        (proves, began_at): (bool, Option<Watermark>),
        began: Instant,
    ) -> Result<(Reply, Option<Watermark>)> {
        let options = self.limited(self.options.call.since(began));
        match self.session_call(began_at).filter(|_| proves) {
            None => pinned.run(self.router(), request, options, &Plain).map(|reply| (reply, None)),
            Some(call) => SessionCall { options, ..call }.run_pinned(pinned, request),
        }
    }

    /// Returns a call with the guarantees of the handle; `None`: it has none.
    #[inline]
    pub(super) fn session_call(&self, began_at: Option<Watermark>) -> Option<SessionCall<'_>> {
        let guarantees = self.options.guarantees.as_ref()?;
        Some(SessionCall { router: self.router(), options: self.call_options(), guarantees, began_at })
    }

    /// Ends a call without an answer. A request that a replica refused as a write goes to the master, and the classifier learns
    /// the command.
    #[cold]
    fn stopped(&self, request: &Request<'_>, stop: Stop) -> Result<(Served, Option<Watermark>)> {
        match stop {
            Stop::Error(error) => Err(error),
            Stop::IsWrite { position, refused, left } => {
                if let (Some(command), Some(node)) =
                    (self.classifier().learn_write(request.bytes, position), refused.node())
                {
                    log::command_reclassified(&command, node);
                }
                let rest = self.deadline(left).call_with(&request.as_write(), Affinity::Any, None);
                rest.map_err(|error| error.after(Some(&refused)))
            }
        }
    }

    #[inline]
    pub(crate) fn router(&self) -> &Router {
        &self.shared.router
    }

    #[inline]
    pub(crate) fn classifier(&self) -> &Classifier {
        &self.shared.router.classifier
    }
}

/// Returns the type of a reply, without its value.
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

/// Returns the error for a command that no pooled connection may run on its own.
#[cold]
fn refusal(request: &Request<'_>) -> Error {
    Error::refused(if request.class == Classification::Connection {
        format!("{request} would change a pooled connection for its next user: use dedicated()")
    } else if request.continues_scan {
        format!("{request} continues a cursor, which only its node knows: use connection() or dedicated()")
    } else if request.step().is_some() {
        format!("{request} is a step of a transaction, which needs one connection: use connection() or dedicated()")
    } else {
        format!("{request} does not wait for its reply, which the connection's next user would get: use dedicated()")
    })
}

/// Returns the error for a reply that cannot be converted; `what` names its type.
#[cold]
fn conversion_error<T>(request: &Request<'_>, served: &Served, what: &str) -> Error {
    let error = Error::conversion(format!("the reply to {request} is {what}, which is no {}", type_name::<T>()));
    error.on(served.node()).executed(!request.is_read())
}

/// Returns the name of a type without the paths of its parts: `Vec<String>`.
pub(crate) fn type_name<T>() -> String {
    let parts = std::any::type_name::<T>().split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_');
    parts.filter(|part| !part.ends_with(':')).collect()
}
