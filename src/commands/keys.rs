//! Keys: their existence and their expiry.

use redis::{Cmd, IntegerReplyOrNoOp, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Keys: their existence and their expiry.
///
/// Each fails as [`query`](ReplicatedClient::query) does.
impl ReplicatedClient {
    /// Deletes keys and returns how many there were (`DEL`).
    pub fn del(&self, keys: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::del(keys))
    }

    /// Deletes keys, freeing their memory later, and returns how many there were (`UNLINK`).
    pub fn unlink(&self, keys: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::unlink(keys))
    }

    /// Tells whether a key exists, by a replica; of several, whether any does (`EXISTS`).
    pub fn exists(&self, keys: impl ToRedisArgs) -> Result<bool> {
        self.query(&Cmd::exists(keys))
    }

    /// Makes a key expire after so many seconds; returns whether there is such a key (`EXPIRE`).
    pub fn expire(&self, key: impl ToSingleRedisArg, seconds: i64) -> Result<bool> {
        self.query(&Cmd::expire(key, seconds))
    }

    /// Keeps a key from expiring; returns whether it was to expire (`PERSIST`).
    pub fn persist(&self, key: impl ToSingleRedisArg) -> Result<bool> {
        self.query(&Cmd::persist(key))
    }

    /// Returns after how many seconds a key expires, from a replica (`TTL`).
    pub fn ttl(&self, key: impl ToSingleRedisArg) -> Result<IntegerReplyOrNoOp> {
        self.query(&Cmd::ttl(key))
    }
}
