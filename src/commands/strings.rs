//! Strings: `GET`, `SET` and similar commands.

use redis::{Cmd, Expiry, FromRedisValue, SetOptions, ToRedisArgs, ToSingleRedisArg, cmd};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Strings: `GET`, `SET` and similar commands.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Returns the value of a key, read from a replica (`GET`). An `Option` is `None` if there is no such key.
    pub fn get<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::get(key))
    }

    /// Sets a key to a value that does not expire (`SET`).
    pub fn set(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Result<()> {
        self.query(Cmd::set(key, value))
    }

    /// Sets a key to a value that expires after this number of seconds (`SETEX`).
    pub fn set_ex(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg, seconds: u64) -> Result<()> {
        self.query(Cmd::set_ex(key, value, seconds))
    }

    /// Sets a key if it does not exist. Returns whether it was set (`SETNX`).
    pub fn set_nx(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Result<bool> {
        self.query(Cmd::set_nx(key, value))
    }

    /// Deletes a key on the master and returns its value (`GETDEL`).
    pub fn get_del<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::get_del(key))
    }

    /// Returns the values of several keys in their order, all read from one replica (`MGET`).
    pub fn mget<T: FromRedisValue>(&self, keys: impl ToRedisArgs) -> Result<T> {
        self.query(Cmd::mget(keys))
    }

    /// Sets several keys atomically (`MSET`).
    pub fn mset<K: ToRedisArgs, V: ToRedisArgs>(&self, items: &[(K, V)]) -> Result<()> {
        self.query(Cmd::mset(items))
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
        self.query(Cmd::append(key, value))
    }

    /// Returns the length of the string at a key in bytes, read from a replica (`STRLEN`).
    pub fn strlen(&self, key: impl ToSingleRedisArg) -> Result<usize> {
        self.query(Cmd::strlen(key))
    }

    /// Sets a key with options: only if it exists or not, its expiry, its old value as the reply (`SET`).
    ///
    /// As a `bool`, the reply says whether it was set. With `get(true)`, it is the old value or `None`.
    ///
    /// ```no_run
    /// use redis_replicated::redis::{ExistenceCheck, SetExpiry, SetOptions};
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let options = SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::EX(30));
    /// let is_locked: bool = client.set_options("lock:17", "worker-3", options)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn set_options<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        value: impl ToSingleRedisArg,
        options: SetOptions,
    ) -> Result<T> {
        self.query(Cmd::set_options(key, value, options))
    }

    /// Returns the value of a key and changes its expiry, on the master (`GETEX`). An `Option` is `None` if there is no such key.
    ///
    /// ```no_run
    /// use redis_replicated::redis::Expiry;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let user: Option<String> = client.get_ex("session:17", Expiry::EX(1800))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn get_ex<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, expire_at: Expiry) -> Result<T> {
        self.query(Cmd::get_ex(key, expire_at))
    }

    /// Sets a key and returns its old value (`GETSET`). An `Option` is `None` if there was no such key.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let old: Option<u64> = client.getset("visits", 0)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn getset<T: FromRedisValue>(&self, key: impl ToSingleRedisArg, value: impl ToSingleRedisArg) -> Result<T> {
        self.query(Cmd::getset(key, value))
    }
}
