//! The handle of a client, and what its clones share.
//!
//! Typed commands are in [`commands`](crate::commands), pipelines and pinned connections in [`connection`](crate::connection).

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use crate::call::{CallOptions, Router};
use crate::provider::Fixed;
use crate::session::{Guarantees, SessionMode};

// In the order of the page of `ReplicatedClient`: the blank lines keep rustfmt from sorting it.
mod query;

mod options;

mod session;

mod explain;

mod dedicated;

mod set;

mod ready;

pub use self::dedicated::Target;
pub(crate) use self::query::type_name;

/// A handle to a master and its replicas.
///
/// Writes go to the master. Reads go to a replica that the read preference allows and the strategy picks. Handles are cheap to
/// clone, share their pools, and may be used by many threads at once. Each handle has its own options:
/// [`read_from`](Self::read_from), [`deadline`](Self::deadline), [`session`](Self::session) and the like return a new one.
///
/// ```no_run
/// use redis_replicated::ReplicatedClient;
///
/// let client = ReplicatedClient::builder()
///     .master("redis://127.0.0.1:6379")
///     .replicas(["redis://127.0.0.1:6380", "redis://127.0.0.1:6381"])
///     .build()?;
/// client.set("greeting", "hello")?;
/// let greeting: Option<String> = client.get("greeting")?;
/// # Ok::<(), redis_replicated::Error>(())
/// ```
///
/// # Processes that fork
///
/// Build the client in the process that uses it. After a `fork` without `exec`, parent and child share the same sockets: each
/// reads replies that belong to the other, and *returns them as its own*. The child also lacks the monitor's threads. Servers
/// that fork workers build one client in each worker, after the fork. The client does not check this, because that would take a
/// system call for each call.
#[derive(Clone)]
pub struct ReplicatedClient {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
}

/// What all handles of a client share.
#[derive(Debug)]
// Handles that are made for single calls change the count of the `Arc`: on another cache line than what each call reads.
#[repr(align(128))]
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) session_mode: SessionMode,
    /// The named nodes, if no provider describes the set.
    pub(crate) fixed: Option<Arc<Fixed>>,
}

/// The options of one handle.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) call: CallOptions,
    /// When all its calls have to end; `None`: only the deadline of each call counts.
    pub(crate) end: Option<Instant>,
    /// `None`: its calls are plain ones.
    pub(crate) guarantees: Option<Guarantees>,
}

/// The client may be used after a panic on a thread that used it: its locks do not poison, and a connection on which a panic
/// happened is closed. The compiler cannot see this through the locks and the trait objects inside.
impl UnwindSafe for ReplicatedClient {}

impl RefUnwindSafe for ReplicatedClient {}

impl fmt::Debug for ReplicatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.router().store.current();
        let nodes: Vec<_> = topology.servers().iter().map(|server| &server.node).collect();
        let mut out = f.debug_struct("ReplicatedClient");
        if nodes.is_empty() {
            // No node is known yet.
            out.field("provider", self.router().monitor.provider());
        } else {
            out.field("nodes", &nodes);
        }
        out.field("options", &self.options).finish_non_exhaustive()
    }
}
