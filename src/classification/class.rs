//! The classes of commands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a command is. It decides which nodes may serve it and whether it may be sent a second time.
///
/// ```
/// use redis_replicated::{Classification, Classifier};
///
/// let classifier = Classifier::new();
/// assert_eq!(classifier.classify(redis::cmd("GET").arg("k")), Classification::Read);
/// assert_eq!(classifier.classify(redis::cmd("INCR").arg("k")), Classification::Write);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// Reads data and may run on any replica: `GET`, `HGETALL`, `EVAL_RO`. After a failed attempt it is sent to another node.
    Read,
    /// A page of a scan: `SCAN`, `HSCAN`. The first page goes where a read goes, later pages go to the same node.
    Cursor,
    /// Neither a data read nor a data write: `PUBLISH`, `INFO`, `CONFIG`. Goes to the master.
    Master,
    /// Writes data, or is unknown: `SET`, `EVAL`. Goes to the master and is executed at most once.
    Write,
    /// Would change a pooled connection for its next user: `SELECT`, `AUTH`, `SUBSCRIBE`. Refused on routed handles.
    Connection,
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
