//! What a node is in the replication.

use std::fmt;

use serde::Serialize;

/// What a node is in the replication.
///
/// `Display` and `Serialize` write one word: `master` or `replica`.
///
/// ```
/// use redis_replicated::{Node, Role};
///
/// let node = Node::new("cache-1:6379".parse()?).with_role(Role::Replica);
/// assert_eq!(node.role(), Role::Replica);
/// # Ok::<(), redis_replicated::ParseNodeAddrError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes the writes.
    Master,
    /// Follows a master.
    Replica,
}

impl Role {
    /// Reads the word for a role in the replies to `HELLO`, `INFO` and `ROLE` of all servers.
    pub(crate) fn of_word(word: &[u8]) -> Option<Self> {
        match word {
            b"master" => Some(Self::Master),
            // HELLO of Redis and Valkey says replica. ROLE, INFO, and HELLO of Dragonfly, say slave.
            b"replica" | b"slave" => Some(Self::Replica),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Master => "master",
            Self::Replica => "replica",
        })
    }
}
