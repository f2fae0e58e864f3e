//! Lists.

use std::num::NonZeroUsize;

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Lists.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Inserts elements at the head, one after the other, and returns the new length (`LPUSH`).
    pub fn lpush(&self, key: impl ToSingleRedisArg, elements: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::lpush(key, elements))
    }

    /// Appends elements at the tail and returns the new length (`RPUSH`).
    pub fn rpush(&self, key: impl ToSingleRedisArg, elements: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::rpush(key, elements))
    }

    /// Removes and returns the first element, or up to `count` elements as a list (`LPOP`).
    pub fn lpop<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, count: Option<NonZeroUsize>) -> Result<T> {
        self.query(Cmd::lpop(key, count))
    }

    /// Removes and returns the last element, or up to `count` elements as a list (`RPOP`).
    pub fn rpop<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, count: Option<NonZeroUsize>) -> Result<T> {
        self.query(Cmd::rpop(key, count))
    }

    /// Returns the elements from `start` to `stop`, both included, read from a replica (`LRANGE`). Negative positions count from
    /// the end.
    pub fn lrange<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, start: isize, stop: isize) -> Result<T> {
        self.query(Cmd::lrange(key, start, stop))
    }

    /// Returns the length, read from a replica (`LLEN`).
    pub fn llen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(Cmd::llen(key))
    }
}
