//! The kind of a failure: how far the call got.

use std::fmt;

use serde::Serialize;

/// The kind of a failure: how far the call got.
///
/// `Display` and `Serialize` write one word in snake case: `write_lost`.
///
/// ```no_run
/// use redis_replicated::ErrorKind;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// match client.get::<String>("greeting") {
///     Ok(greeting) => println!("{greeting}"),
///     Err(error) if error.kind() == ErrorKind::Unavailable => println!("try later: {error}"),
///     Err(error) => return Err(error),
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Settings that cannot work or cannot be read; from [`Builder::build`](crate::Builder::build) or [`Config::from_url`](crate::Config::from_url).
    Config,
    /// No node may serve the call. Nothing was sent, or no node that answered a read could prove what
    /// [`session`](crate::ReplicatedClient::session) or [`max_staleness`](crate::ReplicatedClient::max_staleness) require.
    Unavailable,
    /// No connection to a node within the limits. Nothing was sent, except for an earlier attempt of a read.
    Checkout,
    /// The command was sent, but no complete reply came back: a write may have been applied.
    Interrupted,
    /// The server answered with an error; [`Error::as_redis`](crate::Error::as_redis) is that answer.
    Server,
    /// A command that a routed handle cannot serve, such as `SELECT` or the cursor of another connection. Nothing was sent.
    Refused,
    /// The reply cannot be converted into the requested type. The command was executed.
    Conversion,
    /// The master executed the write, but fewer replicas than required confirmed it in time ([`Error::acknowledged`](crate::Error::acknowledged)).
    Unacknowledged,
    /// A write of the session is not in the master's history any more; this is proven. A read reports it once. Then the session
    /// continues with the data of the master: read again, and repeat the missing writes.
    WriteLost,
    /// Data that the session has read is not in the master's history any more; this is proven. The session's own writes still
    /// are. It is reported once, as [`WriteLost`](Self::WriteLost) is: read again.
    HistoryLost,
    /// No node can prove what a session or a bound on staleness requires.
    ///
    /// It is reported once if the relation of the master's history to the session is not known; then the session continues, as
    /// after [`WriteLost`](Self::WriteLost). It is reported each time if the servers do not provide the evidence. A write with
    /// this error was not executed if [`Error::may_have_executed`](crate::Error::may_have_executed) is `false`.
    Unproven,
    /// The provider could not describe the set, or the set cannot be changed in this way.
    Topology,
}

impl ErrorKind {
    /// Returns one word in snake case.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unavailable => "unavailable",
            Self::Checkout => "checkout",
            Self::Interrupted => "interrupted",
            Self::Server => "server",
            Self::Refused => "refused",
            Self::Conversion => "conversion",
            Self::Unacknowledged => "unacknowledged",
            Self::WriteLost => "write_lost",
            Self::HistoryLost => "history_lost",
            Self::Unproven => "unproven",
            Self::Topology => "topology",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn what_people_read_is_what_programs_read() {
        for kind in [
            ErrorKind::Config,
            ErrorKind::Unavailable,
            ErrorKind::Checkout,
            ErrorKind::Interrupted,
            ErrorKind::Server,
            ErrorKind::Refused,
            ErrorKind::Conversion,
            ErrorKind::Unacknowledged,
            ErrorKind::WriteLost,
            ErrorKind::HistoryLost,
            ErrorKind::Unproven,
            ErrorKind::Topology,
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!(ErrorKind::WriteLost.to_string(), "write_lost");
    }
}
