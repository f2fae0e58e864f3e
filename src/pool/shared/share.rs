//! A share of a connection: the shared connection, for one exchange.

use std::sync::Arc;
use std::time::Duration;

use super::connection::SharedConnection;
use crate::pool::limits::ReplyWait;
use crate::retry::{Fault, Spent};

/// A shared connection, for one exchange.
#[derive(Debug)]
pub(crate) struct Share {
    connection: Arc<SharedConnection>,
    /// The caller waited for it to be opened, or for its validation: the clock is to be read again.
    took_time: bool,
    spent: Spent,
}

impl Share {
    pub(super) fn new(connection: Arc<SharedConnection>) -> Self {
        Self { connection, took_time: false, spent: Spent::default() }
    }

    /// Returns a share of a connection that was opened for this caller, which took so long.
    pub(super) fn opened(connection: Arc<SharedConnection>, connecting: Duration) -> Self {
        Self { connection, took_time: true, spent: Spent::connecting(connecting) }
    }

    pub(crate) fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    pub(crate) fn took_time(&self) -> bool {
        self.took_time
    }

    pub(crate) fn connection(&self) -> &SharedConnection {
        &self.connection
    }

    /// Asks the server for its role. The answer proves that the connection works.
    pub(crate) fn ask_role(&mut self, wait: ReplyWait) -> Result<(), Fault> {
        self.took_time = true;
        self.connection.ask_role(wait)
    }
}
