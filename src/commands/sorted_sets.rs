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
        self.query(Cmd::zadd(key, member, score))
    }

    /// Removes members and returns how many of them existed (`ZREM`).
    pub fn zrem(&self, key: impl ToSingleRedisArg, members: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::zrem(key, members))
    }

    /// Returns the score of a member, read from a replica (`ZSCORE`).
    pub fn zscore(&self, key: impl ToSingleRedisArg, member: impl ToSingleRedisArg) -> Result<Option<f64>> {
        self.query(Cmd::zscore(key, member))
    }

    /// Returns the members from rank `start` to `stop`, both included, read from a replica (`ZRANGE`). Negative ranks count from
    /// the end.
    pub fn zrange<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, start: isize, stop: isize) -> Result<T> {
        self.query(Cmd::zrange(key, start, stop))
    }

    /// Returns the members from rank `start` to `stop` with their scores, read from a replica (`ZRANGE … WITHSCORES`).
    pub fn zrange_with_scores<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        start: isize,
        stop: isize,
    ) -> Result<T> {
        self.query(Cmd::zrange_withscores(key, start, stop))
    }

    /// Returns the number of members, read from a replica (`ZCARD`).
    pub fn zcard(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(Cmd::zcard(key))
    }

    /// Adds `delta` to the score of a member and returns the sum; a new member begins at 0 (`ZINCRBY`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let score: f64 = client.zincr("scores", "Ada", 10)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zincr(
        &self,
        key: impl ToSingleRedisArg,
        member: impl ToSingleRedisArg,
        delta: impl ToSingleRedisArg,
    ) -> Result<f64> {
        self.query(Cmd::zincr(key, member, delta))
    }

    /// Returns the number of members with a score from `min` to `max`, read from a replica (`ZCOUNT`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let good: usize = client.zcount("scores", 100, "+inf")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zcount(
        &self,
        key: impl ToSingleRedisArg,
        min: impl ToSingleRedisArg,
        max: impl ToSingleRedisArg,
    ) -> Result<usize> {
        self.query(Cmd::zcount(key, min, max))
    }

    /// Returns the rank of a member by ascending score, from 0, read from a replica; `None` if there is no such member (`ZRANK`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let rank: Option<usize> = client.zrank("scores", "Ada")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrank(&self, key: impl ToSingleRedisArg, member: impl ToSingleRedisArg) -> Result<Option<usize>> {
        self.query(Cmd::zrank(key, member))
    }

    /// Returns the rank of a member by descending score, from 0, read from a replica; `None` if there is no such member (`ZREVRANK`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let place: Option<usize> = client.zrevrank("scores", "Ada")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrevrank(&self, key: impl ToSingleRedisArg, member: impl ToSingleRedisArg) -> Result<Option<usize>> {
        self.query(Cmd::zrevrank(key, member))
    }

    /// Returns the members from rank `start` to `stop` with their scores, read from a replica (`ZRANGE … WITHSCORES`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let all: Vec<(String, f64)> = client.zrange_withscores("scores", 0, -1)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrange_withscores<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        start: isize,
        stop: isize,
    ) -> Result<T> {
        self.query(Cmd::zrange_withscores(key, start, stop))
    }

    /// Returns the members from rank `start` to `stop` by descending score, read from a replica (`ZREVRANGE`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let best: Vec<String> = client.zrevrange("scores", 0, 9)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrevrange<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, start: isize, stop: isize) -> Result<T> {
        self.query(Cmd::zrevrange(key, start, stop))
    }

    /// Returns the members from rank `start` to `stop` by descending score, with their scores, read from a replica
    /// (`ZREVRANGE … WITHSCORES`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let best: Vec<(String, f64)> = client.zrevrange_withscores("scores", 0, 9)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrevrange_withscores<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        start: isize,
        stop: isize,
    ) -> Result<T> {
        self.query(Cmd::zrevrange_withscores(key, start, stop))
    }

    /// Returns the members with a score from `min` to `max`, read from a replica (`ZRANGEBYSCORE`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let due: Vec<String> = client.zrangebyscore("jobs", "-inf", 1_700_000_000)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrangebyscore<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        min: impl ToSingleRedisArg,
        max: impl ToSingleRedisArg,
    ) -> Result<T> {
        self.query(Cmd::zrangebyscore(key, min, max))
    }

    /// Returns the members with a score from `min` to `max`, with their scores, read from a replica (`ZRANGEBYSCORE … WITHSCORES`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let due: Vec<(String, f64)> = client.zrangebyscore_withscores("jobs", "-inf", 1_700_000_000)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrangebyscore_withscores<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        min: impl ToSingleRedisArg,
        max: impl ToSingleRedisArg,
    ) -> Result<T> {
        self.query(Cmd::zrangebyscore_withscores(key, min, max))
    }

    /// Returns up to `count` members with a score from `min` to `max`, without the first `offset` of them, read from a replica
    /// (`ZRANGEBYSCORE … LIMIT`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let next: Vec<String> = client.zrangebyscore_limit("jobs", "-inf", 1_700_000_000, 0, 10)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zrangebyscore_limit<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        min: impl ToSingleRedisArg,
        max: impl ToSingleRedisArg,
        offset: isize,
        count: isize,
    ) -> Result<T> {
        self.query(Cmd::zrangebyscore_limit(key, min, max, offset, count))
    }
}
