//! A share of a connection: the shared connection, for one exchange.

use std::sync::Arc;

use super::connection::SharedConnection;
use crate::pool::limits::ReplyWait;
use crate::retry::Fault;

/// A shared connection, for one exchange.
#[derive(Debug)]
pub(crate) struct Share {
    connection: Arc<SharedConnection>,
    /// The caller waited for it to be opened, or for its validation: the clock is to be read again.
    took_time: bool,
}

impl Share {
    pub(super) fn new(connection: Arc<SharedConnection>, took_time: bool) -> Self {
        Self { connection, took_time }
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
