//! One command of any kind: what a call on its own cannot serve, and what the caller gets to know.

use redis::{Cmd, FromRedisValue, RedisError, Value};

use super::{ReplicatedClient, Served};
use crate::classification::{Classification, Request};
use crate::error::{Error, Result};
use crate::retry::{Reply, server_error};
use crate::selection::Affinity;

impl ReplicatedClient {
    /// Runs any command and converts its reply.
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`](crate::ErrorKind) but [`Config`](crate::ErrorKind::Config). [`Refused`](crate::ErrorKind::Refused) are commands that change the
    /// state of a connection, steps of a transaction (see [`connection`](Self::connection)) and cursors other than 0.
    pub fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T> {
        let packed = cmd.get_packed_command();
        let request =
            Request::packed(cmd, &packed, self.classifier()).map_err(|_| Error::refused("an empty command"))?;
        if !is_simple(&request) || cmd.is_no_response() {
            return Err(refusal(&request));
        }
        let mut served = self.call(&request, Affinity::Any)?;
        let value = served.take_value().extract_error().map_err(|cause| failure(&request, &served, cause))?;
        let what = kind_of(&value);
        // The redis crate's error quotes the value.
        T::from_redis_value(value).map_err(|_| misfit::<T>(&request, &served, what))
    }
}

impl Served {
    /// Takes the reply to a single command.
    fn take_value(&mut self) -> Value {
        match std::mem::take(&mut self.reply) {
            Reply::One(value) => value,
            // A command never gets the replies of a pipeline.
            Reply::Many { kept, .. } => Value::Array(kept),
        }
    }
}

/// Tells whether a call on its own can serve the command, on whatever connection it gets.
fn is_simple(request: &Request<'_>) -> bool {
    request.class != Classification::Connection && !request.continues_scan && request.step().is_none()
}

#[cold]
fn refusal(request: &Request<'_>) -> Error {
    Error::refused(if request.class == Classification::Connection {
        format!("{request} would change a pooled connection for its next user: use dedicated()")
    } else if request.continues_scan {
        format!("{request} goes on with a cursor that only its node knows: use connection() or dedicated()")
    } else if request.step().is_some() {
        format!("{request} is a step of a transaction, which needs one connection: use connection() or dedicated()")
    } else {
        format!("{request} is to go without a reply, which its connection's next user would get: use dedicated()")
    })
}

#[cold]
fn failure(request: &Request<'_>, served: &Served, cause: RedisError) -> Error {
    server_error(request, cause).on(served.node())
}

#[cold]
fn misfit<T>(request: &Request<'_>, served: &Served, what: &str) -> Error {
    let error = Error::conversion(format!("the reply to {request} is {what}, which is no {}", type_name::<T>()));
    error.on(served.node()).executed(!request.is_read())
}

/// What a reply is, without what it says.
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

/// The name of a type without the paths of its parts: `Vec<String>`.
pub(crate) fn type_name<T>() -> String {
    let whole = std::any::type_name::<T>();
    let mut name = String::with_capacity(whole.len());
    for part in whole.split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_') {
        match part.strip_suffix(':') {
            Some(_) => {}
            None => name.push_str(part),
        }
    }
    name
}
