//! What one attempt on one node came to.

use redis::{RedisError, ServerError, Value};

use super::{Obstacle, missing_right};
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::consistency::Loss;
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
    /// Answered; what was put around the request had it refused, and is left away the next time.
    Spoiled,
    /// Sent; the node left its place in the set, or was ejected, before the reply was complete.
    Withdrawn,
    /// Answered; the node does not prove to contain what the reply has to contain.
    Unproven,
    /// Answered; the node does not tell how far it is.
    Silent,
    /// Not executed: what proves it later could not be written along.
    Unfenced,
    /// Answered by a master that does not contain what the session has seen.
    Lost(Loss),
    /// Written, and confirmed by fewer replicas than asked for.
    Unacknowledged { confirmed: u32, asked: u32 },
    /// Written; the server refused to wait for replicas.
    Unconfirmed,
}

impl Reply {
    /// Tells whether the server answered with an error, of a pipeline to one of its commands.
    pub(crate) fn has_error(&self) -> bool {
        let is_error = |value: &Value| matches!(value, Value::ServerError(_));
        match self {
            Self::One(value) => is_error(value),
            Self::Many { kept, not_queued } => !not_queued.is_empty() || kept.iter().any(is_error),
        }
    }
}

/// Tells the caller what the session cannot read any more.
pub(crate) fn loss_error(loss: Loss) -> Error {
    match loss {
        Loss::Lost => {
            let text = "something that this session wrote or read is not in the master's history any more";
            Error::new(ErrorKind::WriteLost, text)
        }
        Loss::Unproven => {
            let text = "nobody can tell whether the master still has what this session wrote and read";
            Error::new(ErrorKind::Unproven, text)
        }
    }
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
            Stage::Withdrawn => {
                (ErrorKind::Interrupted, format!("left its place in the set before it had answered {request}"))
            }
            Stage::Unproven if request.is_read() => {
                let why = self.missing_right().map_or_else(String::new, |right| format!(": the user lacks {right}"));
                let text =
                    format!("{request}: does not prove to have what the session has seen, or to be fresh enough{why}");
                let error = Error::unproven_read(text).on(node);
                return match self.cause {
                    Some(cause) => error.because(cause),
                    None => error,
                };
            }
            Stage::Unproven => {
                (ErrorKind::Unproven, format!("stopped being the master during {request}: what it read may be old"))
            }
            Stage::Unfenced => {
                let text = format!("{request} was not executed: the fence of its session could not be raised");
                let error = Error::new(ErrorKind::Unproven, text).on(node);
                return match self.cause {
                    Some(cause) => error.because(cause),
                    None => error,
                };
            }
            Stage::Silent => (ErrorKind::Unproven, self.why_silent()),
            Stage::Spoiled => (ErrorKind::Unavailable, format!("refused {request} inside a transaction")),
            Stage::Lost(loss) => return loss_error(loss).on(node),
            Stage::Unacknowledged { confirmed, asked } => {
                let message =
                    format!("{request} was applied, but only {confirmed} of {asked} replicas confirmed it in time");
                return Error::new(ErrorKind::Unacknowledged, message).on(node).executed(true).confirmed_by(confirmed);
            }
            Stage::Unconfirmed => {
                let why = self.missing_right().map_or_else(String::new, |right| format!(": the user lacks {right}"));
                let text = format!("{request} was applied, but the server refused to wait for replicas (WAIT){why}");
                (ErrorKind::Unacknowledged, text)
            }
        };
        let is_sent = matches!(kind, ErrorKind::Interrupted | ErrorKind::Unproven | ErrorKind::Unacknowledged);
        let error = Error::new(kind, message).on(node).executed(is_sent && !request.is_read());
        match self.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }

    /// Says why a node does not tell what proves a reply.
    fn why_silent(&self) -> String {
        match self.missing_right() {
            Some(right) => {
                let asked = right.trim_start_matches('+').to_ascii_uppercase();
                format!("does not tell what proves a reply: the user may not ask ({asked}), it lacks {right}")
            }
            None => "does not tell what proves a reply: the user may not ask (INFO, or the key of a fence), or it is no server that says so".to_owned(),
        }
    }

    /// Returns the right for want of which the server refused, if it named it.
    fn missing_right(&self) -> Option<String> {
        let errors = self.cause.clone()?.into_server_errors()?;
        missing_right(&errors.first()?.1)
    }

    /// The other side, or the network, closed the connection.
    pub(crate) fn was_closed(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_connection_dropped)
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_timeout)
    }

    /// Returns whether the request was sent and got no complete reply.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.stage, Stage::Sent | Stage::Stale | Stage::Withdrawn)
    }

    /// Returns what stood in the way of a new connection.
    pub(crate) fn obstacle(&self) -> Obstacle {
        self.cause.as_ref().map_or(Obstacle::Node, Obstacle::of)
    }

    /// Returns whether the server took the connection but not the login: waiting will not change that.
    pub(crate) fn is_refusal_by_server(&self) -> bool {
        self.stage == Stage::Connect && self.obstacle() == Obstacle::Login
    }
}
