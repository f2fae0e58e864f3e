//! Keys: their existence and their expiry.

use std::time::Duration;

use redis::{Cmd, IntegerReplyOrNoOp, ToRedisArgs, ToSingleRedisArg};

use super::millis_of;
use crate::client::ReplicatedClient;
use crate::error::Result;

/// Keys: their existence and their expiry.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Deletes keys and returns how many of them existed (`DEL`).
    pub fn del(&self, keys: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::del(keys))
    }

    /// Deletes keys and returns how many of them existed; the server frees their memory later (`UNLINK`).
    pub fn unlink(&self, keys: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::unlink(keys))
    }

    /// Returns whether at least one of the keys exists, read from a replica (`EXISTS`).
    pub fn exists(&self, keys: impl ToRedisArgs) -> Result<bool> {
        self.query(Cmd::exists(keys))
    }

    /// Sets the number of seconds after which a key expires. Returns whether there is such a key (`EXPIRE`).
    /// [`pexpire`](Self::pexpire) takes a `Duration`.
    pub fn expire(&self, key: impl ToSingleRedisArg, seconds: i64) -> Result<bool> {
        self.query(Cmd::expire(key, seconds))
    }

    /// Removes the expiry of a key. Returns whether it had one (`PERSIST`).
    pub fn persist(&self, key: impl ToSingleRedisArg) -> Result<bool> {
        self.query(Cmd::persist(key))
    }

    /// Returns the number of seconds after which a key expires, read from a replica (`TTL`).
    pub fn ttl(&self, key: impl ToSingleRedisArg) -> Result<IntegerReplyOrNoOp> {
        self.query(Cmd::ttl(key))
    }

    /// Sets the time after which a key expires, rounded up to a millisecond. Returns whether there is such a key (`PEXPIRE`).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.pexpire("session:17", Duration::from_secs(1800))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn pexpire(&self, key: impl ToSingleRedisArg, time: Duration) -> Result<bool> {
        self.query(Cmd::pexpire(key, millis_of(time)))
    }

    /// Sets the time at which a key expires, in seconds since 1970. Returns whether there is such a key (`EXPIREAT`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.expire_at("offer:17", 1_893_456_000)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn expire_at(&self, key: impl ToSingleRedisArg, seconds: i64) -> Result<bool> {
        self.query(Cmd::expire_at(key, seconds))
    }

    /// Sets the time at which a key expires, in milliseconds since 1970. Returns whether there is such a key (`PEXPIREAT`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.pexpire_at("offer:17", 1_893_456_000_500)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn pexpire_at(&self, key: impl ToSingleRedisArg, milliseconds: i64) -> Result<bool> {
        self.query(Cmd::pexpire_at(key, milliseconds))
    }

    /// Returns the number of milliseconds after which a key expires, read from a replica (`PTTL`).
    ///
    /// ```no_run
    /// use redis_replicated::redis::IntegerReplyOrNoOp;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// if let IntegerReplyOrNoOp::IntegerReply(milliseconds) = client.pttl("session:17")? {
    ///     println!("expires in {milliseconds} ms");
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn pttl(&self, key: impl ToSingleRedisArg) -> Result<IntegerReplyOrNoOp> {
        self.query(Cmd::pttl(key))
    }

    /// Returns the time at which a key expires, in seconds since 1970, read from a replica (`EXPIRETIME`, since Redis 7.0).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// println!("{:?}", client.expire_time("offer:17")?);
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn expire_time(&self, key: impl ToSingleRedisArg) -> Result<IntegerReplyOrNoOp> {
        self.query(Cmd::expire_time(key))
    }

    /// Returns the time at which a key expires, in milliseconds since 1970, read from a replica (`PEXPIRETIME`, since Redis 7.0).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// println!("{:?}", client.pexpire_time("offer:17")?);
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn pexpire_time(&self, key: impl ToSingleRedisArg) -> Result<IntegerReplyOrNoOp> {
        self.query(Cmd::pexpire_time(key))
    }
}
