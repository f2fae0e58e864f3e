//! Sets.

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Sets.
///
/// Each fails as [`query`](ReplicatedClient::query) does.
impl ReplicatedClient {
    /// Adds members and returns how many are new (`SADD`).
    pub fn sadd(&self, key: impl ToSingleRedisArg, members: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::sadd(key, members))
    }

    /// Removes members and returns how many there were (`SREM`).
    pub fn srem(&self, key: impl ToSingleRedisArg, members: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::srem(key, members))
    }

    /// Returns all members, from a replica (`SMEMBERS`).
    pub fn smembers<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(&Cmd::smembers(key))
    }

    /// Tells whether there is such a member, by a replica (`SISMEMBER`).
    pub fn sismember(&self, key: impl ToSingleRedisArg, member: impl ToSingleRedisArg) -> Result<bool> {
        self.query(&Cmd::sismember(key, member))
    }

    /// Returns the number of members, from a replica (`SCARD`).
    pub fn scard(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::scard(key))
    }
}
