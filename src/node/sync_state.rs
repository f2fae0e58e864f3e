//! The sync state: what a replica's data is worth.

use std::fmt;

use serde::Serialize;

/// What the data of a node is worth, compared with the master's, as far as the monitor knows. Its health is another matter.
///
/// `Display` writes plain words, such as `link down`. `Serialize` writes the same words in snake case: `link_down`.
///
/// ```no_run
/// use redis_replicated::SyncState;
///
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let nodes = client.snapshot().nodes;
/// let in_sync = nodes.iter().filter(|node| node.sync_state == SyncState::InSync).count();
/// println!("{in_sync} of {} nodes are in sync", nodes.len());
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SyncState {
    /// The master, or a replica that applies what the master writes. Also a node whose state is not known.
    InSync = 0,
    /// A replica that receives or loads the whole data of its master.
    Syncing = 1,
    /// The link to the living master is down: its own, or that of a node through which it replicates. Its data gets older.
    LinkDown = 2,
    /// Its link is up, but it has not applied what the master wrote more than
    /// [`Builder::lag_limit`](crate::Builder::lag_limit) ago (default: 10 s). Its data is right, but old.
    Lagging = 3,
    /// It holds other data: it is another master, or its replication history is not that of the master.
    Diverged = 4,
}

impl SyncState {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            1 => Self::Syncing,
            2 => Self::LinkDown,
            3 => Self::Lagging,
            4 => Self::Diverged,
            _ => Self::InSync,
        }
    }
}

impl fmt::Display for SyncState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InSync => "in sync",
            Self::Syncing => "syncing",
            Self::LinkDown => "link down",
            Self::Lagging => "lagging",
            Self::Diverged => "diverged",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SyncState;

    #[test]
    fn sync_states_survive_as_numbers() {
        for sync_state in
            [SyncState::InSync, SyncState::Syncing, SyncState::LinkDown, SyncState::Lagging, SyncState::Diverged]
        {
            assert_eq!(SyncState::of(sync_state as u8), sync_state);
        }
    }
}
