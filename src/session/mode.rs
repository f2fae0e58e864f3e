//! The public choice of how sessions prove what they read.

use serde::{Deserialize, Serialize};

/// How a session proves what it reads: set by [`Builder::session_mode`](crate::Builder::session_mode).
///
/// ```no_run
/// use redis_replicated::{ReplicatedClient, SessionMode};
///
/// let client = ReplicatedClient::builder()
///     .master("redis://127.0.0.1:6379")
///     .replica("redis://127.0.0.1:6380")
///     .session_mode(SessionMode::Fence)
///     .build()?;
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionMode {
    /// By the position in the replication history that the server reports with `INFO replication`, in the same round trip. The
    /// default.
    ///
    /// A session reads its own writes, its reads are monotonic, and it reports lost writes. Servers must let the user run
    /// `INFO`; `MULTI` and `EXEC` are used where the user may run them. Servers must number their writes as Redis and Valkey
    /// do. Otherwise, reads fail with [`ErrorKind::Unproven`](crate::ErrorKind::Unproven).
    ///
    /// A replica without a link to its master proves what it had applied, by its present history. The history that a master
    /// claims to continue counts only while the master has a backlog. Read pipelines need a connection to a single process: a
    /// proxy that spreads the commands of a pipeline over several processes is not noticed.
    ///
    /// One gap is known. A Valkey replica with `dual-channel-replication-enabled` loads the data of *another* set, and is
    /// promoted before it has received the history of that set: then it claims its earlier history. The client does not believe
    /// the claim if its monitor, or one of its calls, saw the replica load.
    #[default]
    Strict,
    /// By a counter among the data, which each write raises in the same transaction: for users who may not run `INFO`, for
    /// proxies, and for servers with other offsets.
    ///
    /// A session reads its own writes, and reports lost writes. Its reads are *not* monotonic for what others wrote. Each write
    /// adds a random amount to the counter, which is never used again. So a node on which the counter has the value that the
    /// session saw contains all of the session's writes up to then. No server reaches that value without them, not even after a
    /// restart from an old snapshot or an eviction.
    ///
    /// Each session keeps a small key `redis-replicated:fence:…`, which lives for 10 minutes after its last write. The user needs
    /// the rights to this key and to `GET`, `INCRBY`, `PEXPIRE`, `MULTI`, `EXEC` and `HELLO`. A read first raises the counter, with
    /// one more request to the master, after a write in doubt, and every 5 minutes while the session only reads. After
    /// [`token`](crate::ReplicatedClient::token), the next write uses another key. If a token is taken while another thread
    /// writes with the same session, the master serves the first reads of the resumed session, and one of them may fail with
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven).
    ///
    /// If the key was evicted or flushed, or a token is older than 10 minutes, one read fails with
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven). If the master refuses to raise the counter, because it has no memory
    /// left or the user lacks the right, it executes the write without the counter, and the session reads from the master until
    /// a later write raises it. The loss of such a write is only reported, as
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven), if another node became the master meanwhile.
    ///
    /// This mode requires replicas that apply the master's writes in order. The shards of Dragonfly replicate independently, so
    /// there the session reads from the master. Dragonfly is recognised by `dragonfly_version` in its reply to `HELLO`; behind a
    /// proxy that hides it, use [`ReadFrom::Master`](crate::ReadFrom::Master). With
    /// [`max_staleness`](crate::ReplicatedClient::max_staleness), the session's reads go to the master too. Replicas that accept
    /// writes of their own (`replica-read-only no`) are not noticed.
    Fence,
}
