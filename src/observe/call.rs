//! Calls and attempts that ended.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};
use crate::replication::Role;
use crate::retry::Timing;

/// A call that ended, from the caller's view: all attempts, waits and pauses included.
///
/// Commands, pipelines and transactions are one call each. So is each page of a scan. A read that a replica refuses as a write is
/// told once, as the write that the master serves.
///
/// What this process alone decides is not part of a call: that it refuses a command ([`ErrorKind::Refused`]), that a reply cannot
/// be converted ([`ErrorKind::Conversion`]), or that a session reports a loss which is known already.
#[derive(Clone, Copy)]
pub struct CallEnded<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) database: i64,
    pub(super) node: Option<&'a NodeAddr>,
    pub(super) role: Option<Role>,
    pub(super) error: Option<&'a Error>,
    pub(super) code: Option<&'a str>,
    pub(super) attempts: u32,
    pub(super) took: Duration,
    pub(super) timing: Timing,
    pub(super) fallback: bool,
    /// The call ended while it waited for a permit for a fallback read.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only metrics count it"))]
    pub(super) is_refused_fallback: bool,
    pub(super) permit_waits: u32,
    pub(super) budget_pauses: u32,
    pub(super) is_slow: bool,
}

impl CallEnded<'_> {
    /// Returns the name of the command in upper case (`OBJECT ENCODING` for subcommands), `PIPELINE` for a pipeline, `MULTI` for
    /// a transaction, or `OTHER` for a command that the crate does not know: anyone can invent names, and a metric needs few.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.request.operation()
    }

    /// Returns the name of the command as it was sent, in upper case; for pipelines, that of the first command. For people.
    #[must_use]
    pub fn command(&self) -> impl Display {
        *self.request
    }

    /// Returns the number of commands of a pipeline or a transaction; `None` for a single command.
    #[must_use]
    pub fn batch_size(&self) -> Option<usize> {
        self.request.batch_size()
    }

    /// Returns whether the request went where reads go.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.request.is_read()
    }

    /// Returns the number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.database
    }

    /// Returns the node that served the call, or that the error is about; `None` if there was none.
    #[must_use]
    pub fn node(&self) -> Option<&NodeAddr> {
        self.node
    }

    /// Returns the role that the topology assigned to the node of the last attempt; `None` if there was no attempt.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Returns the error of a call without an answer. An error reply is an answer: see [`code`](Self::code).
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error
    }

    /// Returns the kind of the failure, [`ErrorKind::Server`] for error replies; `None` if the call succeeded.
    #[must_use]
    pub fn error_kind(&self) -> Option<ErrorKind> {
        self.error.map(Error::kind).or_else(|| self.code.map(|_| ErrorKind::Server))
    }

    /// Returns the first word of the server's error, such as `WRONGTYPE`; of a pipeline or a transaction, that of its first error.
    /// It is `OTHER` for a word that a script or an unknown command made up: it may be a key.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code
    }

    /// Returns how many attempts there were. 0: the call found no node, its deadline was over, or it was the first of a transaction
    /// or a watch and got no connection for that.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns how many attempts there were beyond the first.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.attempts.saturating_sub(1)
    }

    /// Returns how long the call took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Returns where the time went.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Returns whether the master served the read because no replica could.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.fallback
    }

    /// Returns how often the call had to wait because the master served as many fallback reads as it may
    /// ([`Builder::fallback_limit`](crate::Builder::fallback_limit)).
    #[must_use]
    pub fn permit_waits(&self) -> u32 {
        self.permit_waits
    }

    /// Returns how often the call paused because the retry budget was empty.
    #[must_use]
    pub fn budget_pauses(&self) -> u32 {
        self.budget_pauses
    }

    /// Returns whether the call took longer than [`Builder::slow_call`](crate::Builder::slow_call).
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.is_slow
    }
}

/// One attempt of a call on one node that ended.
#[derive(Clone, Copy)]
pub struct AttemptEnded<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) node: &'a NodeAddr,
    pub(super) role: Role,
    pub(super) error: Option<&'a Error>,
    pub(super) number: u32,
    pub(super) took: Duration,
    pub(super) timing: Timing,
    pub(super) fallback: bool,
    pub(super) is_last: bool,
}

impl AttemptEnded<'_> {
    /// Returns the name of the command: see [`CallEnded::operation`].
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.request.operation()
    }

    /// Returns the name of the command as it was sent: see [`CallEnded::command`].
    #[must_use]
    pub fn command(&self) -> impl Display {
        *self.request
    }

    /// Returns the node.
    #[must_use]
    pub fn node(&self) -> &NodeAddr {
        self.node
    }

    /// Returns the role that the topology assigned to the node.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns why the attempt failed; `None` if its reply went to the caller. An error of the application is a reply.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error
    }

    /// Returns the number of the attempt in its call; the first one is 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns how long the attempt took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Returns where the time went.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Returns whether the master was asked because no replica could serve.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.fallback
    }

    /// Returns whether the call ended with this attempt. If not, it goes on: elsewhere, or on this node again.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.is_last
    }
}

// By hand, because a request contains keys and values.

impl fmt::Debug for CallEnded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CallEnded");
        out.field("operation", &self.operation()).field("node", &self.node).field("role", &self.role);
        out.field("error", &self.error).field("code", &self.code).field("attempts", &self.attempts);
        out.field("took", &self.took).field("timing", &self.timing).finish_non_exhaustive()
    }
}

impl fmt::Debug for AttemptEnded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AttemptEnded");
        out.field("operation", &self.operation()).field("node", &self.node).field("role", &self.role);
        out.field("error", &self.error).field("number", &self.number);
        out.field("took", &self.took).field("timing", &self.timing).finish_non_exhaustive()
    }
}
