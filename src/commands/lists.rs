//! Lists.

use std::num::NonZeroUsize;

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Lists.
///
/// Each fails as [`query`](ReplicatedClient::query) does.
impl ReplicatedClient {
    /// Puts elements before the first one, one after the other, and returns the new length (`LPUSH`).
    pub fn lpush(&self, key: impl ToSingleRedisArg, elements: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::lpush(key, elements))
    }

    /// Puts elements behind the last one and returns the new length (`RPUSH`).
    pub fn rpush(&self, key: impl ToSingleRedisArg, elements: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::rpush(key, elements))
    }

    /// Takes the first element, or up to `count` of them as a list (`LPOP`).
    pub fn lpop<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, count: Option<NonZeroUsize>) -> Result<T> {
        self.query(&Cmd::lpop(key, count))
    }

    /// Takes the last element, or up to `count` of them as a list (`RPOP`).
    pub fn rpop<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, count: Option<NonZeroUsize>) -> Result<T> {
        self.query(&Cmd::rpop(key, count))
    }

    /// Returns the elements from `start` to `stop`, both included, counted from the end where negative; from a replica
    /// (`LRANGE`).
    pub fn lrange<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, start: isize, stop: isize) -> Result<T> {
        self.query(&Cmd::lrange(key, start, stop))
    }

    /// Returns the length, from a replica (`LLEN`).
    pub fn llen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::llen(key))
    }
}
