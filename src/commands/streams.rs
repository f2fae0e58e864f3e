//! Streams.

use redis::streams::{StreamAddOptions, StreamRangeReply, StreamReadOptions, StreamReadReply};
use redis::{Cmd, ToRedisArgs};

use crate::client::ReplicatedClient;
use crate::error::Result;

/// Streams.
///
/// Errors: see [`query`](ReplicatedClient::query).
impl ReplicatedClient {
    /// Adds an entry and returns its id; `*` lets the server make the id (`XADD`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let id: String = client.xadd("orders", "*", &[("item", "apple"), ("number", "3")])?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xadd<F: ToRedisArgs, V: ToRedisArgs>(
        &self,
        key: impl ToRedisArgs,
        id: impl ToRedisArgs,
        items: &[(F, V)],
    ) -> Result<String> {
        self.query(Cmd::xadd(key, id, items))
    }

    /// Adds an entry with options, such as a longest length. Returns its id; `None` if there is no such stream and none may be made
    /// (`XADD`).
    ///
    /// ```no_run
    /// use redis_replicated::redis::streams::{StreamAddOptions, StreamTrimStrategy, StreamTrimmingMode};
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let trim = StreamTrimStrategy::maxlen(StreamTrimmingMode::Approx, 10_000);
    /// let options = StreamAddOptions::default().trim(trim);
    /// let id: Option<String> = client.xadd_options("orders", "*", &[("item", "apple")], &options)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xadd_options(
        &self,
        key: impl ToRedisArgs,
        id: impl ToRedisArgs,
        items: impl ToRedisArgs,
        options: &StreamAddOptions,
    ) -> Result<Option<String>> {
        self.query(Cmd::xadd_options(key, id, items, options))
    }

    /// Returns the number of entries, read from a replica (`XLEN`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let orders: usize = client.xlen("orders")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xlen(&self, key: impl ToRedisArgs) -> Result<usize> {
        self.query(Cmd::xlen(key))
    }

    /// Returns the entries from id `start` to `end`, read from a replica; `-` and `+` are the first and the last one (`XRANGE`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for entry in client.xrange("orders", "-", "+")?.ids {
    ///     println!("{}: {:?}", entry.id, entry.get::<String>("item"));
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xrange(
        &self,
        key: impl ToRedisArgs,
        start: impl ToRedisArgs,
        end: impl ToRedisArgs,
    ) -> Result<StreamRangeReply> {
        self.query(Cmd::xrange(key, start, end))
    }

    /// Returns up to `count` entries from id `start` to `end`, read from a replica (`XRANGE … COUNT`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let oldest = client.xrange_count("orders", "-", "+", 10)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xrange_count(
        &self,
        key: impl ToRedisArgs,
        start: impl ToRedisArgs,
        end: impl ToRedisArgs,
        count: impl ToRedisArgs,
    ) -> Result<StreamRangeReply> {
        self.query(Cmd::xrange_count(key, start, end, count))
    }

    /// Returns the entries after the given ids, one id for each stream, read from a replica; `None` if there are none (`XREAD`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let new = client.xread(&["orders", "returns"], &["0", "0"])?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xread<K: ToRedisArgs, I: ToRedisArgs>(&self, keys: &[K], ids: &[I]) -> Result<Option<StreamReadReply>> {
        self.query(Cmd::xread(keys, ids))
    }

    /// Returns the entries after the given ids, with options (`XREAD`; with a group, `XREADGROUP`).
    ///
    /// Without a group, they are read from a replica. For a group, they come from the master, which records who received them. With
    /// `block`, the call waits for new entries, on a connection of its own; the time is added to the deadline.
    ///
    /// ```no_run
    /// use redis_replicated::redis::streams::StreamReadOptions;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let options = StreamReadOptions::default().count(10).block(5000);
    /// let new = client.xread_options(&["orders"], &["$"], &options)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xread_options<K: ToRedisArgs, I: ToRedisArgs>(
        &self,
        keys: &[K],
        ids: &[I],
        options: &StreamReadOptions,
    ) -> Result<Option<StreamReadReply>> {
        self.query(Cmd::xread_options(keys, ids, options))
    }

    /// Returns entries for a consumer of a group, from the master, which records who received them; `None` if there are none
    /// (`XREADGROUP`). The id `>` stands for those that no consumer has received.
    ///
    /// The redis crate has no such method: it is [`xread_options`](Self::xread_options) with the option `group`.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// if let Some(new) = client.xreadgroup("billing", "worker-3", &["orders"], &[">"])? {
    ///     for entry in new.keys.iter().flat_map(|stream| &stream.ids) {
    ///         client.xack("orders", "billing", &[&entry.id])?;
    ///     }
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xreadgroup<K: ToRedisArgs, I: ToRedisArgs>(
        &self,
        group: impl ToRedisArgs,
        consumer: impl ToRedisArgs,
        keys: &[K],
        ids: &[I],
    ) -> Result<Option<StreamReadReply>> {
        self.xread_options(keys, ids, &StreamReadOptions::default().group(group, consumer))
    }

    /// Acknowledges entries that a group has received, and returns how many of them were open (`XACK`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let closed: usize = client.xack("orders", "billing", &["1700000000000-0"])?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xack<I: ToRedisArgs>(&self, key: impl ToRedisArgs, group: impl ToRedisArgs, ids: &[I]) -> Result<usize> {
        self.query(Cmd::xack(key, group, ids))
    }

    /// Makes a group whose consumers get the entries after `id`, and the stream if there is none (`XGROUP CREATE … MKSTREAM`). The
    /// server answers with `BUSYGROUP` if the group exists.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.xgroup_create_mkstream("orders", "billing", "$")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn xgroup_create_mkstream(
        &self,
        key: impl ToRedisArgs,
        group: impl ToRedisArgs,
        id: impl ToRedisArgs,
    ) -> Result<()> {
        self.query(Cmd::xgroup_create_mkstream(key, group, id))
    }
}
