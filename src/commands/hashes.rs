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
        self.query(&Cmd::hget(key, field))
    }

    /// Sets a field and returns the number of new fields (`HSET`).
    pub fn hset(
        &self,
        key: impl ToSingleRedisArg,
        field: impl ToSingleRedisArg,
        value: impl ToSingleRedisArg,
    ) -> Result<usize> {
        self.query(&Cmd::hset(key, field, value))
    }

    /// Sets several fields (`HMSET`).
    pub fn hset_multiple<F: ToRedisArgs, V: ToRedisArgs>(
        &self,
        key: impl ToSingleRedisArg,
        items: &[(F, V)],
    ) -> Result<()> {
        self.query(&Cmd::hset_multiple(key, items))
    }

    /// Returns all fields and values, read from a replica (`HGETALL`).
    pub fn hget_all<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(&Cmd::hgetall(key))
    }

    /// Deletes fields and returns how many of them existed (`HDEL`).
    pub fn hdel(&self, key: impl ToSingleRedisArg, fields: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::hdel(key, fields))
    }

    /// Adds `delta` to the number in a field and returns the sum (`HINCRBY`).
    pub fn hincr_by(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg, delta: i64) -> Result<i64> {
        self.query(cmd("HINCRBY").arg(key).arg(field).arg(delta))
    }

    /// Returns whether a field exists, read from a replica (`HEXISTS`).
    pub fn hexists(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg) -> Result<bool> {
        self.query(&Cmd::hexists(key, field))
    }

    /// Returns the number of fields, read from a replica (`HLEN`).
    pub fn hlen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::hlen(key))
    }
}
