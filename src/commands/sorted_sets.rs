//! Sorted sets.

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Sorted sets.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Adds a member or changes its score, and returns the number of new members (`ZADD`).
    pub fn zadd(
        &self,
        key: impl ToSingleRedisArg,
        member: impl ToSingleRedisArg,
        score: impl ToSingleRedisArg,
    ) -> Result<usize> {
        self.query(&Cmd::zadd(key, member, score))
    }

    /// Removes members and returns how many of them existed (`ZREM`).
    pub fn zrem(&self, key: impl ToSingleRedisArg, members: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::zrem(key, members))
    }

    /// Returns the score of a member, read from a replica (`ZSCORE`).
    pub fn zscore(&self, key: impl ToSingleRedisArg, member: impl ToSingleRedisArg) -> Result<Option<f64>> {
        self.query(&Cmd::zscore(key, member))
    }

    /// Returns the members from rank `start` to `stop`, both included, read from a replica (`ZRANGE`). Negative ranks count from
    /// the end.
    pub fn zrange<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, start: isize, stop: isize) -> Result<T> {
        self.query(&Cmd::zrange(key, start, stop))
    }

    /// Returns the members from rank `start` to `stop` with their scores, read from a replica (`ZRANGE … WITHSCORES`).
    pub fn zrange_with_scores<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        start: isize,
        stop: isize,
    ) -> Result<T> {
        self.query(&Cmd::zrange_withscores(key, start, stop))
    }

    /// Returns the number of members, read from a replica (`ZCARD`).
    pub fn zcard(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::zcard(key))
    }
}
