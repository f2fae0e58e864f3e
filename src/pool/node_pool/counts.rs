//! What a pool counts, for people and metrics: connections, and those who wait for them.

use super::{Pool, lent};
use crate::pool::shared::BatchCounts;
use crate::pool::waits::WaitCounts;

impl Pool {
    /// Returns how many connections are in use: those that are lent, of blocking commands as well, and shared ones on which
    /// callers wait.
    pub(crate) fn in_use(&self) -> u32 {
        lent(&self.slots) + self.blocked() + self.sharing.in_use()
    }

    /// Returns how many connections are open, those that callers may share included.
    pub(crate) fn open_connections(&self) -> u32 {
        self.access.open() + self.sharing.open_connections()
    }

    /// Returns how many open connections are not in use, those that callers may share included.
    pub(crate) fn idle(&self) -> u32 {
        self.open_connections().saturating_sub(self.in_use())
    }

    /// Returns how many shared connections are open.
    pub(crate) fn shared_connections(&self) -> u32 {
        self.sharing.open_connections()
    }

    /// Returns how many callers wait for a connection.
    pub(crate) fn waiting(&self) -> u32 {
        self.access.callers_waiting()
    }

    /// Returns how often and how long callers waited for a connection.
    pub(crate) fn waits(&self) -> WaitCounts {
        self.waits.counts()
    }

    /// Returns how many requests were sent on shared connections, in how many batches.
    pub(crate) fn batches(&self) -> BatchCounts {
        self.sharing.batches()
    }
}
