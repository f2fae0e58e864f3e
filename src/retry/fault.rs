//! The fault of one attempt: how far it got, why it failed, and the error that the caller gets.
//!
//! Whether the request is sent again is decided in [`verdict`](super::verdict).

use std::time::{Duration, Instant};

use redis::RedisError;

use super::deadline::DEADLINE;
use super::obstacle::Obstacle;
use crate::classification::{Block, Request};
use crate::error::{Error, ErrorKind, Time, TlsError};
use crate::node::{Node, SyncState};
use crate::replication::Role;

/// The error of the redis crate, or of the server, behind a failed attempt, if there is one.
pub(crate) type Cause<'a> = Option<&'a RedisError>;

/// An attempt without a complete reply.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) stage: Stage,
    pub(crate) cause: Option<RedisError>,
    /// The time limit that was exceeded, if that is why the attempt failed.
    pub(crate) waited: Option<Waited>,
    /// Health does not count this fault: the caller's time was over long before the limit, or the connection was not a pooled
    /// one.
    pub(crate) is_uncounted: bool,
    /// The error for the caller, where it does not follow from the rest.
    pub(crate) error: Option<Box<Error>>,
}

/// A time limit that was exceeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waited {
    /// The setting that the limit comes from.
    pub(crate) setting: &'static str,
    pub(crate) time: Duration,
}

/// A node is not blamed if it had less than this fraction of the limit to answer: it may be slow, or far away.
const COUNTED_FRACTION: u32 = 8;

/// How far an attempt got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The node is ejected, and another call probes it.
    Avoided,
    /// All connections of the pool stayed in use.
    Checkout,
    /// `max_connecting` connections were being opened, and none was ready in time.
    Connecting,
    /// No connection could be made, or the server refused the login.
    Connect,
    /// The node's role is not the one that the topology assigned to it.
    WrongRole,
    /// Answered; the node says that it is a master, but it is not the master of the set.
    Deposed,
    /// Nothing was sent: the connection had been closed while it was idle.
    Idle,
    /// Sent on a connection that had served before and turned out to be closed.
    Stale,
    /// Sent; the connection failed before the reply was complete.
    Sent,
    /// Answered; the server refused the transaction around the request, which the next attempt leaves out.
    TransactionRefused,
    /// Sent; the node was ejected, or lost its role, before the reply was complete.
    Withdrawn,
    /// Answered; the node does not prove that it contains what is required. Another one may.
    Behind,
    /// Answered; the node gives no evidence of what it contains. Another one may.
    NoEvidence,
    /// Answered, or refused; no further attempt can help.
    Ended,
}

impl Fault {
    pub(crate) fn new(stage: Stage, cause: impl Into<Option<RedisError>>) -> Self {
        Self { stage, cause: cause.into(), waited: None, is_uncounted: false, error: None }
    }

    /// Returns the fault of a reply that the caller must not get, with the error for the case that no other attempt succeeds.
    pub(crate) fn answered(stage: Stage, error: Error) -> Self {
        Self { error: Some(Box::new(error)), ..Self::new(stage, None) }
    }

    /// Records which limit ended the wait for a reply that began at `since`: `response_timeout`, or the attempt's `end`.
    #[cold]
    pub(crate) fn after_reply_wait(
        self,
        response: Duration,
        block: Block,
        since: Instant,
        end: Option<Instant>,
    ) -> Self {
        let blocked = if let Block::For(block) = block { block } else { Duration::ZERO };
        let end = end.and_then(|end| end.checked_add(blocked)).map(|end| (end, DEADLINE));
        self.after_waiting(Waited { setting: "response_timeout", time: response + blocked }, since, end)
    }

    /// Records which limit ended a wait that began at `since`: the setting's, or that of `until` if less time was left. Has no
    /// effect if the fault is no timeout, or has a limit already.
    #[cold]
    pub(crate) fn after_waiting(
        mut self,
        limit: Waited,
        since: Instant,
        until: Option<(Instant, &'static str)>,
    ) -> Self {
        let left = until.map(|(end, setting)| Waited { setting, time: end.saturating_duration_since(since) });
        if self.waited.is_none() && (matches!(self.stage, Stage::Checkout | Stage::Connecting) || self.is_timeout()) {
            let left = left.filter(|left| left.time < limit.time);
            let part = if self.stage == Stage::Connect { COUNTED_FRACTION / 2 } else { COUNTED_FRACTION };
            self.is_uncounted = left.is_some_and(|left| left.time < limit.time / part);
            self.waited = Some(left.unwrap_or(limit));
        }
        self
    }

    /// Returns the error for the caller, or that of an `earlier` attempt if this one only ran out of time.
    #[cold]
    pub(crate) fn into_error_after(
        self,
        earlier: Option<Error>,
        node: &Node,
        connections: u32,
        request: &Request<'_>,
    ) -> Error {
        let Some(earlier) = earlier else { return self.into_error(node, connections, request) };
        // The rest of the deadline may be too short for any attempt: the earlier error says what is wrong.
        if self.says_less_than(&earlier, node, request) {
            return earlier;
        }
        // The read was sent in an earlier attempt: the error must not say that nothing was sent.
        let hides_sending = request.is_read() && earlier.was_sent() && !self.was_sent();
        let error = self.into_error(node, connections, request);
        if hides_sending { error.after(Some(&earlier)) } else { error }
    }

    /// Returns whether this fault explains less than the earlier error: it had only the rest of the deadline, or nothing was
    /// tried.
    fn says_less_than(&self, earlier: &Error, node: &Node, request: &Request<'_>) -> bool {
        let is_cut = self.waited.is_some_and(|waited| waited.setting == DEADLINE);
        match self.stage {
            Stage::Avoided => true,
            Stage::Connect => self.is_timeout(),
            Stage::Checkout | Stage::Connecting => is_cut,
            Stage::Sent => is_cut && request.is_repeatable() && earlier.node() == Some(node.addr()),
            _ => false,
        }
    }

    /// Returns the error for the caller. `connections`: the size of the pool.
    pub(crate) fn into_error(self, node: &Node, connections: u32, request: &Request<'_>) -> Error {
        if let Some(error) = self.error {
            return *error;
        }
        let addr = node.addr();
        match self.stage {
            Stage::Avoided => {
                let why = if node.is_ejected() { "ejected after failures" } else { "no longer in its role" };
                let text = format!("cannot serve {request}: it is {why}");
                Error::new(ErrorKind::Unavailable, text).about(addr).because(self.cause)
            }
            Stage::Checkout | Stage::Connecting => {
                let waited = self.waited.map(|waited| waited.to_string()).unwrap_or_default();
                let text = match (self.stage, &self.cause) {
                    (Stage::Connecting, _) => {
                        format!(
                            "could not connect{waited}: other connections to the node were being opened (max_connecting)"
                        )
                    }
                    (_, Some(_)) => {
                        format!("no connection became free{waited}, and the server accepts no further ones")
                    }
                    (_, None) => {
                        let text = format!("all {connections} connections of the pool stayed in use{waited}");
                        text.replace(" within ", " for ")
                    }
                };
                Error::new(ErrorKind::Checkout, text).on(addr).because(self.cause)
            }
            Stage::Connect | Stage::Idle => self.into_connect_error(node),
            Stage::WrongRole => wrong_role(node, request).caused_by(self.cause),
            Stage::Deposed => wrong_role(node, request).sent(),
            Stage::Stale | Stage::Sent => {
                let is_doubtful = !request.is_read();
                let error = match self.waited {
                    Some(waited) => {
                        let text = format!("{request} got no reply{waited}");
                        Error::new(ErrorKind::Interrupted, text).caused_by(self.cause)
                    }
                    None => {
                        let text = format!("{request} got no complete reply");
                        Error::new(ErrorKind::Interrupted, text).because(self.cause)
                    }
                };
                error.sent().on(addr).executed(is_doubtful)
            }
            Stage::Withdrawn => {
                let text = format!("was ejected, or lost its role, before it had answered {request}");
                Error::new(ErrorKind::Interrupted, text).sent().about(addr).executed(!request.is_read())
            }
            // Faults of these stages carry an error of their own, made by `Fault::answered`.
            Stage::TransactionRefused | Stage::Behind | Stage::NoEvidence | Stage::Ended => {
                Error::new(ErrorKind::Unavailable, format!("{request} was answered, but the reply cannot be used"))
                    .sent()
                    .on(addr)
            }
        }
    }

    /// Returns the error for the caller that says why there is no connection.
    pub(crate) fn into_connect_error(self, node: &Node) -> Error {
        let error = match (&self.cause, self.waited) {
            (Some(cause), _) if self.obstacle() == Obstacle::Login && self.stage == Stage::Connect => {
                let what = if is_about_login(cause) { "login" } else { "connection" };
                Error::new(ErrorKind::Server, format!("the server refused the {what}")).because(self.cause)
            }
            // The TLS error says more than the exceeded limit.
            (Some(cause), Some(waited)) if TlsError::of(cause).is_some() && self.obstacle() == Obstacle::Node => {
                Error::new(ErrorKind::Checkout, format!("could not connect{waited}")).because(self.cause)
            }
            (_, Some(waited)) => {
                Error::new(ErrorKind::Checkout, format!("could not connect{waited}")).caused_by(self.cause)
            }
            _ if self.stage == Stage::Idle => {
                Error::new(ErrorKind::Checkout, "the connection was closed while it was idle").caused_by(self.cause)
            }
            _ => Error::new(ErrorKind::Checkout, "could not connect").because(self.cause),
        };
        error.on(node.addr())
    }

    /// Returns why an attempt failed, if it did and that is known.
    pub(crate) fn cause_of<T>(attempt: &Result<T, Self>) -> Cause<'_> {
        attempt.as_ref().err()?.cause.as_ref()
    }

    /// Returns whether the server, or the network, closed the connection.
    pub(crate) fn was_closed(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_connection_dropped)
    }

    /// Returns whether a time limit ended the attempt.
    pub(crate) fn is_timeout(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_timeout)
    }

    /// Returns whether the request was sent.
    pub(crate) fn was_sent(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Avoided | Stage::Checkout | Stage::Connecting | Stage::Connect | Stage::WrongRole | Stage::Idle
        )
    }

    /// Returns whether the request was sent and got no complete reply.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.stage, Stage::Sent | Stage::Stale | Stage::Withdrawn)
    }

    /// Returns why no connection could be made.
    pub(crate) fn obstacle(&self) -> Obstacle {
        self.cause.as_ref().map_or(Obstacle::Node, Obstacle::of)
    }

    /// Returns whether the login or a certificate was refused: waiting does not change that.
    pub(crate) fn is_refusal(&self) -> bool {
        self.stage == Stage::Connect && self.obstacle().is_refusal()
    }
}

/// Returns whether a server refused this login, and not every connection.
fn is_about_login(refusal: &RedisError) -> bool {
    let says = |text: &str| refusal.detail().is_some_and(|details| details.contains(text));
    match refusal.code() {
        // Before Redis 6 a wrong password is an `ERR` as well.
        Some("ERR") => says("password") || says("AUTH"),
        Some("LOADING" | "BUSY" | "MASTERDOWN") => false,
        _ => true,
    }
}

/// Returns the error for a node whose role is not the assigned one, with its actual role.
fn wrong_role(node: &Node, request: &Request<'_>) -> Error {
    let text = match (node.role(), node.sync_state()) {
        (Role::Replica, _) => {
            let report = node.report();
            let master = report.as_ref().and_then(|report| report.link.as_ref()?.master.as_ref());
            let of = master.map(|master| format!(" of {master}")).unwrap_or_default();
            let missing = if request.is_read() { "" } else { "; no master was found" };
            format!("is a replica{of}{missing}")
        }
        (Role::Master, SyncState::Diverged) => "is no longer the master of the set".to_owned(),
        (Role::Master, _) => "is a master, and not a replica of the set".to_owned(),
    };
    Error::new(ErrorKind::Unavailable, text).about(node.addr())
}

impl std::fmt::Display for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, " within {} ({})", Time(self.time), self.setting)
    }
}
