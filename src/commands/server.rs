//! Messages and health checks.

use redis::{Cmd, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Messages and health checks.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Publishes a message on the master, which replicates it to the subscribers of all nodes. Returns how many subscribers of
    /// the master received it (`PUBLISH`).
    pub fn publish(&self, channel: impl ToSingleRedisArg, message: impl ToSingleRedisArg) -> Result<usize> {
        self.query(Cmd::publish(channel, message))
    }

    /// Returns the answer of the master to a `PING`: `PONG`.
    pub fn ping(&self) -> Result<String> {
        self.query(Cmd::ping())
    }
}
