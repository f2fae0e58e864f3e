//! The error of a call: its kind, its node, and whether a write may have been applied.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use redis::RedisError;

use self::reason::{Reason, without_values};
use crate::addr::NodeAddr;

mod cause;
mod foreign;
mod kind;
mod reason;

pub(crate) use self::cause::{Lasts, TlsError, io_error};
pub use self::kind::ErrorKind;
pub(crate) use self::reason::{Time, server_error_of, without_echo, words_of};

/// The result of a call.
///
/// ```no_run
/// use redis_replicated::{ReplicatedClient, Result};
///
/// fn greeting(client: &ReplicatedClient) -> Result<Option<String>> {
///     client.get("greeting")
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed, or settings that [`Builder::build`](crate::Builder::build) refused.
///
/// It contains the kind of failure ([`kind`](Self::kind)), the node ([`node`](Self::node)), and whether the server may have
/// executed the command ([`may_have_executed`](Self::may_have_executed)). Only where that is `false` is it safe to send a
/// write again. No part of it contains a password or a value.
///
/// `Display` shows everything on one line: the node, the reason, and the exceeded limit with the name of its setting. So there
/// is no [`source`](std::error::Error::source), which would repeat it. [`as_redis`](Self::as_redis) returns the error of the
/// redis crate.
///
/// It converts into a [`redis::RedisError`] and back: [`Error::of`] finds it inside one, and `?` converts one into it.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// if let Err(error) = client.incr("visits") {
///     eprintln!("{error}");
///     if !error.may_have_executed() {
///         client.incr("visits")?;
///     }
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[derive(Clone)]
pub struct Error {
    report: Box<Report>,
    cause: Option<RedisError>,
}

#[derive(Clone)]
struct Report {
    kind: ErrorKind,
    node: Option<NodeAddr>,
    message: Cow<'static, str>,
    /// The node is the subject of the message: `127.0.0.1:6380 is a replica`.
    is_about_node: bool,
    /// `Display` adds the words of the cause to the message.
    lacks_reason: bool,
    /// The error of the attempt before.
    earlier: Option<String>,
    may_have_executed: bool,
    /// A read was sent before: it was lost, or its reply could not be used.
    was_sent: bool,
    /// How many replicas confirmed a write.
    acknowledged: Option<u32>,
}

impl Error {
    /// Makes an error of [`ErrorKind::Topology`], for a provider of your own that cannot describe its set.
    pub fn topology(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Topology, message)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let report = Report {
            kind,
            node: None,
            message,
            is_about_node: false,
            lacks_reason: false,
            earlier: None,
            may_have_executed: false,
            was_sent: false,
            acknowledged: None,
        };
        Self { report: Box::new(report), cause: None }
    }

    pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Turns it into an error of the provider's answer, in place of the builder's settings.
    pub(crate) fn about_topology(mut self) -> Self {
        self.report.kind = ErrorKind::Topology;
        self
    }

    /// Says before the message what is missing.
    pub(crate) fn lacking(mut self, lack: &str) -> Self {
        let subject = if std::mem::take(&mut self.report.is_about_node) { "it " } else { "" };
        self.report.message = format!("{lack}: {subject}{}", self.report.message).into();
        self
    }

    /// Records that a read was sent, although it failed.
    pub(crate) fn sent(mut self) -> Self {
        self.report.was_sent = true;
        self
    }

    /// Returns whether a read was sent, although it failed.
    pub(crate) fn was_sent(&self) -> bool {
        self.report.was_sent
    }

    pub(crate) fn confirmed_by(mut self, replicas: u32) -> Self {
        self.report.acknowledged = Some(replicas);
        self
    }

    pub(crate) fn on(mut self, node: &NodeAddr) -> Self {
        self.report.node = Some(node.clone());
        self
    }

    /// As [`on`](Self::on), where the message is a sentence about the node.
    pub(crate) fn about(mut self, node: &NodeAddr) -> Self {
        self.report.is_about_node = true;
        self.on(node)
    }

    /// Adds the cause, and its words to the message.
    pub(crate) fn because(mut self, cause: impl Into<Option<RedisError>>) -> Self {
        self = self.caused_by(cause);
        self.report.lacks_reason = self.cause.is_some();
        self
    }

    /// Adds the cause to a message that contains its words already.
    pub(crate) fn caused_by(mut self, cause: impl Into<Option<RedisError>>) -> Self {
        self.cause = cause.into().map(without_values);
        self
    }

    /// Makes the error for a reply of another type than requested. `message` names types, never values.
    pub(crate) fn conversion(message: String) -> Self {
        let cause = redis::ParsingError::from(message.as_str());
        let mut error = Self::new(ErrorKind::Conversion, message);
        error.cause = Some(cause.into());
        error
    }

    /// Adds the error of an earlier attempt, if this one has no cause or the earlier attempt was sent.
    pub(crate) fn after(mut self, earlier: Option<&Self>) -> Self {
        let was_sent = earlier.is_some_and(|earlier| earlier.report.was_sent);
        self.report.was_sent |= was_sent;
        if let Some(earlier) = earlier.filter(|_| self.cause.is_none() || was_sent) {
            self.cause = self.cause.or_else(|| earlier.cause.clone());
            let what = || earlier.what().to_string();
            // Of several, the first one shows the reason.
            self.report.earlier = earlier.report.earlier.clone().or_else(|| Some(what()));
        }
        self
    }

    /// Shows what happened, without its consequences.
    fn what(&self) -> What<'_> {
        What(&self.report, self.cause.as_ref().filter(|_| self.report.lacks_reason))
    }

    pub(crate) fn executed(mut self, may_have_executed: bool) -> Self {
        self.report.may_have_executed = may_have_executed;
        self
    }

    /// Returns the kind of the failure: how far the call got.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.report.kind
    }

    /// Returns the node of the last attempt, if there was one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeAddr> {
        self.report.node.as_ref()
    }

    /// Returns whether the server may have executed the command, or a part of it.
    ///
    /// `false` is certain: nothing was sent, or the server refused the command before it changed anything. `true` means that
    /// the command was executed, or that this cannot be known. Always `false` for reads.
    #[must_use]
    pub fn may_have_executed(&self) -> bool {
        self.report.may_have_executed
    }

    /// Returns how many replicas confirmed a write, if they were too few ([`ErrorKind::Unacknowledged`]).
    #[must_use]
    pub fn acknowledged(&self) -> Option<u32> {
        self.report.acknowledged
    }

    /// Returns the error of the redis crate or of the server, without the bytes of unreadable replies and without the arguments
    /// that servers repeat.
    #[must_use]
    pub fn as_redis(&self) -> Option<&RedisError> {
        self.cause.as_ref()
    }

    /// Returns the error of this crate inside an error that a [`RoutedConnection`](crate::RoutedConnection) returned.
    ///
    /// Returns `None` for errors of the server (`WRONGTYPE`, `NOSCRIPT` …) and for failed conversions. They pass through
    /// unchanged, so that code written for the redis crate still understands them.
    #[must_use]
    pub fn of(error: &RedisError) -> Option<&Self> {
        // The redis crate keeps an `io::Error` behind an `Arc`; ours is the payload of that `io::Error`.
        io_error(error)?.get_ref()?.downcast_ref()
    }

    /// Returns the kind of the `io::Error` inside the `RedisError`.
    fn io_kind(&self) -> io::ErrorKind {
        match self.report.kind {
            ErrorKind::Config => io::ErrorKind::InvalidInput,
            ErrorKind::Unavailable | ErrorKind::Topology => io::ErrorKind::NotConnected,
            ErrorKind::Checkout | ErrorKind::Unacknowledged => io::ErrorKind::TimedOut,
            ErrorKind::WriteLost | ErrorKind::HistoryLost | ErrorKind::Unproven => io::ErrorKind::Other,
            ErrorKind::Refused => io::ErrorKind::Unsupported,
            ErrorKind::Conversion => io::ErrorKind::InvalidData,
            ErrorKind::Interrupted | ErrorKind::Server => match self.as_redis() {
                Some(cause) if cause.is_timeout() => io::ErrorKind::TimedOut,
                _ => io::ErrorKind::ConnectionReset,
            },
        }
    }
}

/// What happened, and the words of its cause where the message lacks them.
struct What<'a>(&'a Report, Option<&'a RedisError>);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report, cause) = self;
        if let Some(node) = &report.node {
            write!(f, "{node}{}", if report.is_about_node { " " } else { ": " })?;
        }
        f.write_str(&report.message)?;
        if let Some(cause) = cause {
            write!(f, ": {}", Reason(cause))?;
        }
        match &report.earlier {
            Some(earlier) => write!(f, " (the attempt before: {earlier})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what().fmt(f)?;
        let report = &self.report;
        match (report.kind, report.may_have_executed) {
            (ErrorKind::Unavailable | ErrorKind::Checkout, _) if report.was_sent => Ok(()),
            (ErrorKind::Unavailable | ErrorKind::Checkout | ErrorKind::Refused, _) => f.write_str("; nothing was sent"),
            (ErrorKind::Interrupted | ErrorKind::Unproven, true) => f.write_str("; a write may have been applied"),
            (ErrorKind::Server, true) => f.write_str("; a part of it may have been applied"),
            (ErrorKind::Conversion, true) => f.write_str("; the command was executed"),
            _ => Ok(()),
        }
    }
}

impl StdError for Error {}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.report.kind).field("message", &self.to_string());
        out.field("may_have_executed", &self.report.may_have_executed);
        // The message contains the words of the cause.
        out.field("cause", &self.cause.as_ref().map(RedisError::kind)).finish()
    }
}

impl From<Error> for RedisError {
    fn from(error: Error) -> Self {
        match (error.report.kind, &error.cause) {
            (ErrorKind::Server | ErrorKind::Conversion, Some(cause)) => cause.clone(),
            _ => Self::from(io::Error::new(error.io_kind(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};
    use redis::RedisError;

    #[test]
    fn an_error_is_found_again_inside_a_redis_error() {
        let node = "127.0.0.1:6379".parse().unwrap();
        let error = Error::new(ErrorKind::Interrupted, "no complete reply to SET").on(&node).executed(true);
        let redis = RedisError::from(error);
        let found = Error::of(&redis).unwrap();
        assert_eq!(found.kind(), ErrorKind::Interrupted);
        assert_eq!(found.node(), Some(&node));
        assert!(found.may_have_executed());
        assert_eq!(redis.to_string(), "127.0.0.1:6379: no complete reply to SET; a write may have been applied");
    }

    #[test]
    fn an_error_of_the_server_passes_unchanged() {
        let server = redis::make_extension_error("WRONGTYPE".into(), None);
        let error = Error::new(ErrorKind::Server, "GET was answered with WRONGTYPE").because(server.clone());
        let redis = RedisError::from(error);
        assert_eq!(redis, server);
        assert!(Error::of(&redis).is_none());
    }
}
