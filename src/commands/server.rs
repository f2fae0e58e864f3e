//! Messages, and a sign of life.

use redis::{Cmd, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Messages, and a sign of life.
///
/// Each fails as [`query`](ReplicatedClient::query) does.
impl ReplicatedClient {
    /// Publishes a message on the master, from where it reaches the subscribers of all nodes; returns how many received it
    /// from the master itself (`PUBLISH`).
    pub fn publish(&self, channel: impl ToSingleRedisArg, message: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::publish(channel, message))
    }

    /// Asks the master for a sign of life (`PING`).
    pub fn ping(&self) -> Result<String> {
        self.query(&Cmd::ping())
    }
}
