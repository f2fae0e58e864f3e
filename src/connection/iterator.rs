//! Scans as iterators, with the errors of this crate.

use std::fmt;
use std::vec::IntoIter;

use redis::{Arg, Cmd, FromRedisValue, ParsingError, ScanOptions, ToSingleRedisArg, Value, cmd};

use super::RoutedConnection;
use crate::classification::Request;
use crate::client::{ReplicatedClient, type_name};
use crate::error::{Error, Result};
use crate::retry::server_error;

/// Scans as iterators. The first page comes from a node by [`ReadFrom`](crate::ReadFrom) and strategy, later pages from the same
/// node. Nothing is sent before the first `next`. Errors are items: see [`ScanIter`].
impl ReplicatedClient {
    /// Walks over all keys (`SCAN`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let keys: Vec<String> = client.scan().collect::<redis_replicated::Result<_>>()?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn scan<T: FromRedisValue>(&self) -> ScanIter<T> {
        ScanIter::new(self, cmd("SCAN").cursor_arg(0).take())
    }

    /// Walks over the keys that match a pattern (`SCAN … MATCH`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for key in client.scan_match::<String>("user:*") {
    ///     println!("{}", key?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn scan_match<T: FromRedisValue>(&self, pattern: impl ToSingleRedisArg) -> ScanIter<T> {
        ScanIter::new(self, cmd("SCAN").cursor_arg(0).arg("MATCH").arg(pattern).take())
    }

    /// Walks over keys, with a pattern, a type, or how many keys the server looks at for each page (`SCAN`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let options = redis_replicated::redis::ScanOptions::default().with_type("hash").with_count(1000);
    /// let hashes: Vec<String> = client.scan_options(options).collect::<redis_replicated::Result<_>>()?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn scan_options<T: FromRedisValue>(&self, options: ScanOptions) -> ScanIter<T> {
        ScanIter::new(self, cmd("SCAN").cursor_arg(0).arg(options).take())
    }

    /// Walks over the fields of a hash and their values (`HSCAN`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for item in client.hscan::<(String, String)>("user:17") {
    ///     println!("{:?}", item?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hscan<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> ScanIter<T> {
        ScanIter::new(self, cmd("HSCAN").arg(key).cursor_arg(0).take())
    }

    /// As [`hscan`](Self::hscan), for those that match a pattern (`HSCAN … MATCH`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for item in client.hscan_match::<(String, String)>("user:17", "a*") {
    ///     println!("{:?}", item?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn hscan_match<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        pattern: impl ToSingleRedisArg,
    ) -> ScanIter<T> {
        ScanIter::new(self, cmd("HSCAN").arg(key).cursor_arg(0).arg("MATCH").arg(pattern).take())
    }

    /// Walks over the members of a set (`SSCAN`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for item in client.sscan::<String>("tags") {
    ///     println!("{:?}", item?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn sscan<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> ScanIter<T> {
        ScanIter::new(self, cmd("SSCAN").arg(key).cursor_arg(0).take())
    }

    /// As [`sscan`](Self::sscan), for those that match a pattern (`SSCAN … MATCH`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for item in client.sscan_match::<String>("tags", "a*") {
    ///     println!("{:?}", item?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn sscan_match<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        pattern: impl ToSingleRedisArg,
    ) -> ScanIter<T> {
        ScanIter::new(self, cmd("SSCAN").arg(key).cursor_arg(0).arg("MATCH").arg(pattern).take())
    }

    /// Walks over the members of a sorted set and their scores (`ZSCAN`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for item in client.zscan::<(String, f64)>("scores") {
    ///     println!("{:?}", item?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zscan<T: FromRedisValue>(&self, key: impl ToSingleRedisArg) -> ScanIter<T> {
        ScanIter::new(self, cmd("ZSCAN").arg(key).cursor_arg(0).take())
    }

    /// As [`zscan`](Self::zscan), for those that match a pattern (`ZSCAN … MATCH`).
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for item in client.zscan_match::<(String, f64)>("scores", "a*") {
    ///     println!("{:?}", item?);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn zscan_match<T: FromRedisValue>(
        &self,
        key: impl ToSingleRedisArg,
        pattern: impl ToSingleRedisArg,
    ) -> ScanIter<T> {
        ScanIter::new(self, cmd("ZSCAN").arg(key).cursor_arg(0).arg("MATCH").arg(pattern).take())
    }
}

/// An iterator over the items of a scan, from [`scan`](ReplicatedClient::scan), [`hscan`](ReplicatedClient::hscan) and the like.
///
/// As servers promise it: an item that is there from the first page to the last one comes at least once, and may come twice.
///
/// Errors are items. An item of another type than requested is one error, and the rest follows. A page that fails ends the
/// iterator: no other node can continue the scan, so begin again.
///
/// ```no_run
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let mut users = 0;
/// for key in client.scan_match::<String>("user:*") {
///     key?;
///     users += 1;
/// }
/// # Ok::<(), redis_replicated::Error>(())
/// ```
#[must_use = "a scan sends nothing before its first item is asked for"]
pub struct ScanIter<T> {
    connection: RoutedConnection,
    /// The command of the first page.
    command: Cmd,
    /// The cursor of the next page; `None`: there is none.
    cursor: Option<u64>,
    page: IntoIter<Result<T, ParsingError>>,
}

impl<T: FromRedisValue> ScanIter<T> {
    fn new(client: &ReplicatedClient, command: Cmd) -> Self {
        Self { connection: client.connection(), command, cursor: Some(0), page: Vec::new().into_iter() }
    }

    /// Loads the page at a cursor.
    fn load(&mut self, cursor: u64) -> Result<()> {
        let mut command = Cmd::new();
        for word in self.command.args_iter() {
            match word {
                Arg::Simple(word) => command.arg(word),
                _ => command.arg(cursor),
            };
        }
        let packed = command.get_packed_command();
        let reply = self.connection.serve(&packed)?;
        let reply = reply.extract_error().map_err(|cause| {
            match Request::command(&packed, self.connection.client.classifier()) {
                Ok(request) => self.on_node(server_error(&request, cause)),
                Err(_) => cause.into(),
            }
        })?;
        let page = redis::from_redis_value::<(u64, Vec<Value>)>(reply);
        let (next, items) =
            page.map_err(|_| self.on_node(Error::conversion("a reply is no page of a scan".to_owned())))?;
        self.cursor = (next != 0).then_some(next);
        self.page = T::from_each_redis_values(items).into_iter();
        Ok(())
    }

    /// Adds the node that served the last page to an error.
    fn on_node(&self, error: Error) -> Error {
        match &self.connection.served_by {
            Some(node) => error.on(node),
            None => error,
        }
    }
}

impl<T: FromRedisValue> Iterator for ScanIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(item) = self.page.next() {
                // The redis crate's error is replaced, because it quotes the value.
                let wrong =
                    |_| self.on_node(Error::conversion(format!("an item of a scan is no {}", type_name::<T>())));
                return Some(item.map_err(wrong));
            }
            let cursor = self.cursor.take()?;
            if let Err(error) = self.load(cursor) {
                return Some(Err(error));
            }
        }
    }
}

impl<T: FromRedisValue> std::iter::FusedIterator for ScanIter<T> {}

impl<T> fmt::Debug for ScanIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanIter")
            .field("connection", &self.connection)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
