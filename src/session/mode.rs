//! How a session proves what it reads.

use serde::{Deserialize, Serialize};

/// How a session proves what it reads.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionMode {
    /// By the server's own account of its replication history: `INFO replication`, in the same round trip. The default.
    ///
    /// Reads your writes, monotonic reads, and tells lost writes. A replica without a link to its master proves what it had
    /// applied, by its present history; what a master says that it continues counts only while it has a backlog. Servers
    /// must let the user run `INFO`, `MULTI` and `EXEC`, and number their writes as Redis and Valkey do: where they do not,
    /// reads fail with [`ErrorKind::Unproven`](crate::ErrorKind::Unproven). Read pipelines need a connection that leads to one
    /// process: a proxy that spreads the commands of a pipeline over several is not noticed.
    ///
    /// One gap is known: a Valkey replica with `dual-channel-replication-enabled` that loads the data of *another* set, and is
    /// promoted before that set has told its history, claims the history that it had before. It is not believed where the
    /// monitor or a call of this client saw it load.
    #[default]
    Strict,
    /// By a counter among the data, which each write raises in the same transaction: for users who may not run `INFO`, for
    /// proxies, and for servers with other offsets.
    ///
    /// Reads your writes, and tells lost writes. *Not* monotonic for what others wrote. Each write adds an amount to the counter
    /// that is drawn at random and never used again. So a node on which the counter stands where the session saw it contains
    /// all of the session's writes until then, and no server reaches that value without them: not after a restart from an old
    /// snapshot, and not after an eviction.
    ///
    /// Each write costs a small key `redis-replicated:fence:…` that lives for 10 minutes after the last write. The user needs the
    /// rights to it and to `GET`, `INCRBY`, `PEXPIRE`, `MULTI`, `EXEC` and `HELLO`. Where a read needs a fence that there is
    /// none of, it raises one first, with one more request to the master: after a write in doubt, and every 5 minutes while a
    /// session only reads. After [`token`](crate::ReplicatedClient::token) the next write takes another key. A token that is
    /// taken while another thread writes with the same session is served by the master at first, and may be told
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven), once.
    ///
    /// A key that was evicted or flushed, or a token older than 10 minutes, is
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven), once. Where the master refuses to raise the counter, because no memory
    /// is left or the user lacks the right, the write is executed without it, and the session reads from the master until a
    /// later write raises it. That such a write was lost is told only where another node became the master meanwhile, as
    /// [`ErrorKind::Unproven`](crate::ErrorKind::Unproven).
    ///
    /// It relies on replicas that apply what the master writes in its order. Dragonfly's shards replicate apart: there the
    /// session reads from the master (a server is known by `dragonfly_version` in its reply to `HELLO`; behind a proxy that hides it,
    /// use [`ReadFrom::Master`](crate::ReadFrom::Master)). With [`max_staleness`](crate::ReplicatedClient::max_staleness), the
    /// session's reads go to the master too. Replicas that take writes of their own (`replica-read-only no`) are not noticed.
    Fence,
}
