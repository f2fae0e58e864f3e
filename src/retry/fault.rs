//! What one attempt on one node came to.

use std::time::{Duration, Instant};

use redis::RedisError;

use super::deadline::DEADLINE;
use super::obstacle::Obstacle;
use crate::classification::{Block, Request};
use crate::error::{Error, ErrorKind, Time, TlsError};
use crate::node::{Node, SyncState};
use crate::replication::Role;

/// An attempt without a complete reply.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) stage: Stage,
    pub(crate) cause: Option<RedisError>,
    /// How long was waited in vain, where that is why it failed.
    pub(crate) waited: Option<Waited>,
    /// The caller's time was over long before the limit: that says nothing about the node.
    pub(crate) is_hasty: bool,
    /// What the caller is told, where that does not follow from the rest.
    pub(crate) error: Option<Box<Error>>,
}

/// A time limit that was met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waited {
    /// The setting that it comes from.
    pub(crate) setting: &'static str,
    pub(crate) time: Duration,
}

/// A node that did not answer within less than this part of its limit may be slow, or far away: the caller had no time.
const TELLING_PART: u32 = 8;

/// How far an attempt got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The node is ejected, and another call is finding out whether it is back.
    Avoided,
    /// All connections of the pool stayed lent.
    Checkout,
    /// As many connections as may be opened at a time were being opened, and none was ready in time.
    Turn,
    /// No connection could be made, or the server refused the login.
    Connect,
    /// The node is not what the topology takes it for.
    WrongRole,
    /// Answered; what takes itself for the master is not the set's.
    Deposed,
    /// Nothing was sent: the connection had been closed while it was idle.
    Idle,
    /// Sent on a connection that had served before and turned out to be closed.
    Stale,
    /// Sent; the connection failed before the reply was complete.
    Sent,
    /// Answered; what was sent along had the request refused, and is left out the next time.
    Respell,
    /// Sent; the node left its place in the set, or was ejected, before the reply was complete.
    Withdrawn,
    /// Answered; the node does not prove to contain what the reply has to contain. Another one may.
    Behind,
    /// Answered; the node does not say how much it contains. Another one may.
    NoEvidence,
    /// Answered, or refused; no attempt will go better.
    Ended,
}

impl Fault {
    pub(crate) fn new(stage: Stage, cause: impl Into<Option<RedisError>>) -> Self {
        Self { stage, cause: cause.into(), waited: None, is_hasty: false, error: None }
    }

    /// An answer that is not handed out, and what the caller is told if no other attempt goes better.
    pub(crate) fn answered(stage: Stage, error: Error) -> Self {
        Self { error: Some(Box::new(error)), ..Self::new(stage, None) }
    }

    /// Records which limit the wait for a reply met that began at `since`: that of the reply, or the attempt's `end`.
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

    /// Records which limit a wait met that began at `since`: the setting's, or what was left `until` its end if that was
    /// shorter. Not of faults that came earlier.
    #[cold]
    pub(crate) fn after_waiting(
        mut self,
        limit: Waited,
        since: Instant,
        until: Option<(Instant, &'static str)>,
    ) -> Self {
        let left = until.map(|(end, setting)| Waited { setting, time: end.saturating_duration_since(since) });
        if self.waited.is_none() && (matches!(self.stage, Stage::Checkout | Stage::Turn) || self.is_timeout()) {
            let left = left.filter(|left| left.time < limit.time);
            let part = if self.stage == Stage::Connect { TELLING_PART / 2 } else { TELLING_PART };
            self.is_hasty = left.is_some_and(|left| left.time < limit.time / part);
            self.waited = Some(left.unwrap_or(limit));
        }
        self
    }

    /// Returns what the caller is told, or what an `earlier` attempt came to if this one only ran out of time.
    #[cold]
    pub(crate) fn into_error_after(
        self,
        earlier: Option<Error>,
        node: &Node,
        connections: u32,
        request: &Request<'_>,
    ) -> Error {
        let Some(earlier) = earlier else { return self.into_error(node, connections, request) };
        // What is left of the deadline may be too short for anything: the attempts before it say what is wrong.
        if self.says_less_than(&earlier, node, request) {
            return earlier;
        }
        // A read that was answered, or lost, before: it must not say that nothing was sent.
        let hides_sending = request.is_read() && earlier.was_sent() && !self.was_sent();
        let error = self.into_error(node, connections, request);
        if hides_sending { error.after(Some(&earlier)) } else { error }
    }

    /// Returns whether an attempt says less than the one before it: it had only the rest of the deadline, or none was made.
    fn says_less_than(&self, earlier: &Error, node: &Node, request: &Request<'_>) -> bool {
        let is_cut = self.waited.is_some_and(|waited| waited.setting == DEADLINE);
        match self.stage {
            Stage::Avoided => true,
            Stage::Connect => self.is_timeout(),
            Stage::Checkout | Stage::Turn => is_cut,
            Stage::Sent => is_cut && request.is_repeatable() && earlier.node() == Some(node.addr()),
            _ => false,
        }
    }

    /// Returns what the caller is told. `connections`: how many the pool has.
    pub(crate) fn into_error(self, node: &Node, connections: u32, request: &Request<'_>) -> Error {
        if let Some(error) = self.error {
            return *error;
        }
        let addr = node.addr();
        match self.stage {
            Stage::Avoided => {
                let text = if node.is_ejected() { "ejected after failures" } else { "not in its place any more" };
                Error::new(ErrorKind::Unavailable, text).on(addr).because(self.cause)
            }
            Stage::Checkout | Stage::Turn => {
                let waited = self.waited.map(|waited| waited.to_string()).unwrap_or_default();
                let text = match (self.stage, &self.cause) {
                    (Stage::Turn, _) => {
                        format!("could not connect{waited}: other connections to it were being opened (max_connecting)")
                    }
                    (_, Some(_)) => format!("no connection became free{waited}, and it takes no more"),
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
                Error::new(ErrorKind::Interrupted, text).sent().on(addr).executed(!request.is_read())
            }
            // Whoever refused the answer says why; these have an error of their own.
            Stage::Respell | Stage::Behind | Stage::NoEvidence | Stage::Ended => {
                Error::new(ErrorKind::Unavailable, format!("{request} was answered, but not as asked for"))
                    .sent()
                    .on(addr)
            }
        }
    }

    /// Tells the caller why there is no connection.
    pub(crate) fn into_connect_error(self, node: &Node) -> Error {
        let error = match (&self.cause, self.waited) {
            (Some(cause), _) if self.obstacle() == Obstacle::Login && self.stage == Stage::Connect => {
                let what = if is_about_login(cause) { "login" } else { "connection" };
                Error::new(ErrorKind::Server, format!("the server refused the {what}")).because(self.cause)
            }
            // It says more than the time that it took.
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

    /// The other side, or the network, closed the connection.
    pub(crate) fn was_closed(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_connection_dropped)
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.cause.as_ref().is_some_and(RedisError::is_timeout)
    }

    /// Returns whether the request was sent.
    pub(crate) fn was_sent(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Avoided | Stage::Checkout | Stage::Turn | Stage::Connect | Stage::WrongRole | Stage::Idle
        )
    }

    /// Returns whether the request was sent and got no complete reply.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.stage, Stage::Sent | Stage::Stale | Stage::Withdrawn)
    }

    /// Returns what stood in the way of a new connection.
    pub(crate) fn obstacle(&self) -> Obstacle {
        self.cause.as_ref().map_or(Obstacle::Node, Obstacle::of)
    }

    /// Returns whether the login or a certificate was refused: waiting will not change that.
    pub(crate) fn is_refusal(&self) -> bool {
        self.stage == Stage::Connect && self.obstacle().is_refusal()
    }
}

/// Returns whether a server refused who wants to log in, and not everybody.
fn is_about_login(refusal: &RedisError) -> bool {
    let says = |text: &str| refusal.detail().is_some_and(|details| details.contains(text));
    match refusal.code() {
        // Before Redis 6 a wrong password is an `ERR` as well.
        Some("ERR") => says("password") || says("AUTH"),
        Some("LOADING" | "BUSY" | "MASTERDOWN") => false,
        _ => true,
    }
}

/// The error for a node that is not what the topology takes it for, with what it is instead.
fn wrong_role(node: &Node, request: &Request<'_>) -> Error {
    let text = match (node.role(), node.sync_state()) {
        (Role::Replica, _) => {
            let report = node.report();
            let master = report.as_ref().and_then(|report| report.link.as_ref()?.master.as_ref());
            let of = master.map(|master| format!(" of {master}")).unwrap_or_default();
            let missing = if request.is_read() { "" } else { "; no master was found" };
            format!("is a replica{of}{missing}")
        }
        (Role::Master, SyncState::Diverged) => "is not the master of the set any more".to_owned(),
        (Role::Master, _) => "is a master, and not a replica of the set".to_owned(),
    };
    Error::new(ErrorKind::Unavailable, text).about(node.addr())
}

impl std::fmt::Display for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, " within {} ({})", Time(self.time), self.setting)
    }
}
