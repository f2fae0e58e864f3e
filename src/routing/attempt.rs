//! What one attempt on one node came to.

use redis::{RedisError, ServerError, Value};

use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};

/// The complete reply to a request. The server's errors are values in it.
#[derive(Debug)]
pub(crate) enum Reply {
    One(Value),
    Many {
        /// One for each command of a pipeline; of a transaction, the reply to `EXEC`.
        kept: Vec<Value>,
        /// What the server refused to queue, by position in the transaction; position 0 is `MULTI` itself.
        not_queued: Vec<(usize, ServerError)>,
    },
}

/// An attempt without a complete reply.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) stage: Stage,
    pub(crate) cause: Option<RedisError>,
}

/// How far an attempt got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The node is ejected, and another call is finding out whether it is back.
    Avoided,
    /// All connections of the pool stayed lent.
    Checkout,
    /// No connection could be made, or the server refused the login.
    Connect,
    /// The node is not what the topology takes it for.
    WrongRole,
    /// Nothing was sent: the connection had been closed while it was idle.
    Idle,
    /// Sent on a connection that had served before and turned out to be closed.
    Stale,
    /// Sent; the connection failed before the reply was complete.
    Sent,
}

impl Fault {
    pub(crate) fn new(stage: Stage, cause: impl Into<Option<RedisError>>) -> Self {
        Self { stage, cause: cause.into() }
    }

    /// Tells the caller.
    pub(crate) fn into_error(self, node: &NodeAddr, request: &Request<'_>) -> Error {
        let (kind, message) = match self.stage {
            Stage::Avoided => (ErrorKind::Unavailable, "ejected after failures".to_owned()),
            Stage::Checkout => (ErrorKind::Checkout, "all connections of the pool stayed in use".to_owned()),
            Stage::Connect if self.is_refusal_by_server() => {
                (ErrorKind::Server, "the server refused the login".to_owned())
            }
            Stage::Connect | Stage::Idle => (ErrorKind::Checkout, "could not connect".to_owned()),
            Stage::WrongRole => (ErrorKind::Unavailable, format!("not in the role that {request} needs")),
            Stage::Stale | Stage::Sent => (ErrorKind::Interrupted, format!("no complete reply to {request}")),
        };
        let in_doubt = kind == ErrorKind::Interrupted && !request.is_read();
        let error = Error::new(kind, message).on(node).executed(in_doubt);
        match self.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }

    /// The other side, or the network, closed the connection.
    pub(crate) fn was_closed(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_connection_dropped)
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_timeout)
    }

    /// The server took the connection but not the login: waiting will not change that.
    pub(crate) fn is_refusal_by_server(&self) -> bool {
        let refuses =
            |cause: &RedisError| cause.code().is_some() || cause.kind() == redis::ErrorKind::AuthenticationFailed;
        self.cause.as_ref().is_some_and(refuses)
    }
}
