//! Sets.

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Sets.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Adds members and returns how many of them are new (`SADD`).
    pub fn sadd(&self, key: impl ToSingleRedisArg, members: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::sadd(key, members))
    }

    /// Removes members and returns how many of them existed (`SREM`).
    pub fn srem(&self, key: impl ToSingleRedisArg, members: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::srem(key, members))
    }

    /// Returns all members, read from a replica (`SMEMBERS`).
    pub fn smembers<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::smembers(key))
    }

    /// Returns whether the set contains a member, read from a replica (`SISMEMBER`).
    pub fn sismember(&self, key: impl ToSingleRedisArg, member: impl ToSingleRedisArg) -> Result<bool> {
        self.query(Cmd::sismember(key, member))
    }

    /// Returns the number of members, read from a replica (`SCARD`).
    pub fn scard(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(Cmd::scard(key))
    }
}
