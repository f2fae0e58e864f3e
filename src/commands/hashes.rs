//! Hashes: fields and values under one key.

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg, cmd};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Hashes: fields and values under one key.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Returns the value of a field, read from a replica (`HGET`). An `Option` is `None` if there is no such field.
    pub fn hget<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::hget(key, field))
    }

    /// Sets a field and returns the number of new fields (`HSET`).
    pub fn hset(
        &self,
        key: impl ToSingleRedisArg,
        field: impl ToSingleRedisArg,
        value: impl ToSingleRedisArg,
    ) -> Result<usize> {
        self.query(Cmd::hset(key, field, value))
    }

    /// Sets several fields (`HMSET`).
    pub fn hset_multiple<F: ToRedisArgs, V: ToRedisArgs>(
        &self,
        key: impl ToSingleRedisArg,
        items: &[(F, V)],
    ) -> Result<()> {
        self.query(Cmd::hset_multiple(key, items))
    }

    /// Returns all fields and values, read from a replica (`HGETALL`).
    pub fn hget_all<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::hgetall(key))
    }

    /// Deletes fields and returns how many of them existed (`HDEL`).
    pub fn hdel(&self, key: impl ToSingleRedisArg, fields: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::hdel(key, fields))
    }

    /// Adds `delta` to the number in a field and returns the sum (`HINCRBY`).
    pub fn hincr_by(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg, delta: i64) -> Result<i64> {
        self.query(cmd("HINCRBY").arg(key).arg(field).arg(delta))
    }

    /// Returns whether a field exists, read from a replica (`HEXISTS`).
    pub fn hexists(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg) -> Result<bool> {
        self.query(Cmd::hexists(key, field))
    }

    /// Returns the number of fields, read from a replica (`HLEN`).
    pub fn hlen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(Cmd::hlen(key))
    }

    /// Returns the values of several fields in their order, all read from one replica (`HMGET`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let (name, mail): (String, Option<String>) = client.hmget("user:17", &["name", "mail"])?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hmget<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, fields: impl ToRedisArgs) -> Result<T> {
        self.query(Cmd::hmget(key, fields))
    }

    /// Returns all fields and values, read from a replica (`HGETALL`).
    ///
    /// ```no_run
    /// use std::collections::HashMap;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let user: HashMap<String, String> = client.hgetall("user:17")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hgetall<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::hgetall(key))
    }

    /// Returns the names of all fields, read from a replica (`HKEYS`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let fields: Vec<String> = client.hkeys("user:17")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hkeys<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::hkeys(key))
    }

    /// Returns the values of all fields, read from a replica (`HVALS`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let values: Vec<String> = client.hvals("user:17")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hvals<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::hvals(key))
    }

    /// Adds `delta` to the number in a field and returns the sum (`HINCRBY`, or `HINCRBYFLOAT` for a float).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let logins: u64 = client.hincr("user:17", "logins", 1)?;
    /// let balance: f64 = client.hincr("user:17", "balance", -2.5)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hincr<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        field: impl ToSingleRedisArg,
        delta: impl ToSingleRedisArg,
    ) -> Result<T> {
        self.query(Cmd::hincr(key, field, delta))
    }
}
