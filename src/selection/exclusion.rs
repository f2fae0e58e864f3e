//! Why a server is not a candidate.

use std::fmt;

/// Why a node is not a candidate: from [`Decision::excluded`].
///
/// ```no_run
/// use redis_replicated::Exclusion;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// for (addr, reason) in client.explain(redis::cmd("GET").arg("greeting")).excluded() {
///     if *reason == Exclusion::Lagging {
///         println!("{addr} lags behind the master");
///     }
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Exclusion {
    /// Its role may not serve the command: a replica for a write, or a role that the read preference rules out.
    Role,
    /// It serves only if no preferred node can.
    Fallback,
    /// It failed, and gets no calls until a probe finds that it serves again.
    Ejected,
    /// It is a replica that has not applied what the master wrote more than
    /// [`Builder::lag_limit`](crate::Builder::lag_limit) ago. It serves only if no replica in sync can; the master, where the
    /// read preference and the fallback limit allow it, comes first.
    Lagging,
    /// It is a replica that is syncing, or cut off from a live master: it serves only if no other node can.
    OutOfSync,
    /// It holds other data than the set: it claims to be a second master, or replicates from a node outside the set.
    Diverged,
    /// The master already serves as many fallback reads as
    /// [`Builder::fallback_limit`](crate::Builder::fallback_limit) allows.
    Protected,
    /// It cannot prove what the session or the bound on staleness requires: it lacked that a moment ago, only the master can
    /// prove it (a write is in doubt, for example), or the next read will report a loss.
    Unproven,
    /// [`query`](crate::ReplicatedClient::query) refuses the command, or a pooled connection must not run it.
    Refused,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role => "its role may not serve this",
            Self::Fallback => "only if no preferred node can serve",
            Self::Ejected => "ejected after failures",
            Self::Lagging => "lags behind the master",
            Self::OutOfSync => "syncing, or cut off from the master",
            Self::Diverged => "does not belong to the master's history",
            Self::Protected => "enough fallback reads are on the master",
            Self::Unproven => "cannot prove what the session, or the bound on staleness, asks for",
            Self::Refused => "refused, use connection() for scans and dedicated() for the rest",
        })
    }
}
