//! Hashes: fields and values under one key.

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg, cmd};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Hashes: fields and values under one key.
///
/// Each fails as [`query`](ReplicatedClient::query) does.
impl ReplicatedClient {
    /// Returns the value of a field, from a replica; `None` in an `Option` where there is none (`HGET`).
    pub fn hget<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg) -> Result<T> {
        self.query(&Cmd::hget(key, field))
    }

    /// Sets a field and returns how many fields are new (`HSET`).
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

    /// Returns all fields and values, from a replica (`HGETALL`).
    pub fn hget_all<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(&Cmd::hgetall(key))
    }

    /// Deletes fields and returns how many there were (`HDEL`).
    pub fn hdel(&self, key: impl ToSingleRedisArg, fields: impl ToRedisArgs) -> Result<usize> {
        self.query(&Cmd::hdel(key, fields))
    }

    /// Adds `delta` to the number in a field and returns the sum (`HINCRBY`).
    pub fn hincr_by(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg, delta: i64) -> Result<i64> {
        self.query(cmd("HINCRBY").arg(key).arg(field).arg(delta))
    }

    /// Tells whether a field exists, by a replica (`HEXISTS`).
    pub fn hexists(&self, key: impl ToSingleRedisArg, field: impl ToSingleRedisArg) -> Result<bool> {
        self.query(&Cmd::hexists(key, field))
    }

    /// Returns the number of fields, from a replica (`HLEN`).
    pub fn hlen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::hlen(key))
    }
}
