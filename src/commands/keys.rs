//! Keys: their existence and their expiry.

use redis::{Cmd, IntegerReplyOrNoOp, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Keys: their existence and their expiry.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Deletes keys and returns how many of them existed (`DEL`).
    pub fn del(&self, keys: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::del(keys))
    }

    /// Deletes keys and returns how many of them existed; the server frees their memory later (`UNLINK`).
    pub fn unlink(&self, keys: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::unlink(keys))
    }

    /// Returns whether at least one of the keys exists, read from a replica (`EXISTS`).
    pub fn exists(&self, keys: impl ToRedisArgs) -> Result<bool> {
        self.query(&Cmd::exists(keys))
    }

    /// Sets the number of seconds after which a key expires. Returns whether there is such a key (`EXPIRE`).
    pub fn expire(&self, key: impl ToSingleRedisArg, seconds: i64) -> Result<bool> {
        self.query(&Cmd::expire(key, seconds))
    }

    /// Removes the expiry of a key. Returns whether it had one (`PERSIST`).
    pub fn persist(&self, key: impl ToSingleRedisArg) -> Result<bool> {
        self.query(&Cmd::persist(key))
    }

    /// Returns the number of seconds after which a key expires, read from a replica (`TTL`).
    pub fn ttl(&self, key: impl ToSingleRedisArg) -> Result<IntegerReplyOrNoOp> {
        self.query(&Cmd::ttl(key))
    }
}
