//! Strings: `GET`, `SET` and their kin.

use redis::{Cmd, FromRedisValue, ToRedisArgs, ToSingleRedisArg, cmd};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Strings: `GET`, `SET` and their kin.
///
/// Each fails as [`query`](ReplicatedClient::query) does.
impl ReplicatedClient {
    /// Returns the value of a key, from a replica; `None` in an `Option` where there is no such key (`GET`).
    pub fn get<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(&Cmd::get(key))
    }

    /// Sets a key to a value, for ever (`SET`).
    pub fn set(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Result<()> {
        self.query(&Cmd::set(key, value))
    }

    /// Sets a key to a value that expires after so many seconds (`SETEX`).
    pub fn set_ex(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg, seconds: u64) -> Result<()> {
        self.query(&Cmd::set_ex(key, value, seconds))
    }

    /// Sets a key unless it exists; returns whether it was set (`SETNX`).
    pub fn set_nx(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Result<bool> {
        self.query(&Cmd::set_nx(key, value))
    }

    /// Returns the value of a key and deletes the key, on the master (`GETDEL`).
    pub fn get_del<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(&Cmd::get_del(key))
    }

    /// Returns the values of several keys, all from one replica, in their order (`MGET`).
    pub fn mget<T: FromRedisValue>(&self, keys: impl ToRedisArgs) -> Result<T> {
        self.query(&Cmd::mget(keys))
    }

    /// Sets several keys at once, atomically (`MSET`).
    pub fn mset<K: ToRedisArgs, V: ToRedisArgs>(&self, items: &[(K, V)]) -> Result<()> {
        self.query(&Cmd::mset(items))
    }

    /// Adds 1 to the number at a key and returns the sum (`INCR`).
    pub fn incr(&self, key: impl ToSingleRedisArg) -> Result<i64> {
        self.query(cmd("INCR").arg(key))
    }

    /// Subtracts 1 from the number at a key and returns the difference (`DECR`).
    pub fn decr(&self, key: impl ToSingleRedisArg) -> Result<i64> {
        self.query(cmd("DECR").arg(key))
    }

    /// Adds `delta` to the number at a key and returns the sum (`INCRBY`).
    pub fn incr_by(&self, key: impl ToSingleRedisArg, delta: i64) -> Result<i64> {
        self.query(cmd("INCRBY").arg(key).arg(delta))
    }

    /// Appends to the string at a key and returns its new length in bytes (`APPEND`).
    pub fn append(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::append(key, value))
    }

    /// Returns the length of the string at a key in bytes, from a replica (`STRLEN`).
    pub fn strlen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(&Cmd::strlen(key))
    }
}
