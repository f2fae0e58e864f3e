//! Routed connections: the interface of the redis crate, with each request routed on its own.
//!
//! Open scans are remembered in [`scans`], transactions driven by hand in [`transaction`]; [`iterator`] walks over a scan.

use std::fmt;
use std::time::Instant;

use redis::{Cmd, ConnectionLike, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use self::scans::Scans;
use self::transaction::Transaction;
use crate::addr::NodeAddr;
use crate::call::{Pinned, Served};
use crate::classification::{Classification, Request, TransactionStep};
use crate::client::{ReplicatedClient, type_name};
use crate::error::{Error, Result, server_error_of};
use crate::retry::{Reply, executed_nothing, server_error};
use crate::selection::Affinity;

mod iterator;
mod scans;
mod transaction;

pub use self::iterator::ScanIter;

/// A connection of the redis crate, routed: every command, pipeline, iterator, script and transaction of that crate runs on it.
///
/// It costs nothing to create, holds no connection to a server while nothing is pinned, and belongs to one thread at a time.
///
/// ```no_run
/// use redis::Commands;
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let mut connection = client.connection();
/// let keys: Vec<String> = connection.scan_match("user:*")?.collect::<redis::RedisResult<_>>()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Two things are pinned:
///
/// * **Scans**: the first page of a scan may come from any node. Later pages come from the same node, and so do further scans
///   of the same key while one is unfinished. A cursor that did not come from this connection is refused. The cursors of the
///   last eight scans are remembered.
/// * **Transactions**: `WATCH` and `MULTI` take one connection to the master. Everything goes there until `EXEC`, `DISCARD`,
///   `UNWATCH` or an atomic pipeline ends the transaction. If the connection is lost, commands that rely on it fail. Dropping
///   the handle in between closes the connection.
///
/// A server's errors are returned unchanged. [`Error::of`] finds errors of this crate. If a transaction could not queue a
/// command, the error is `EXECABORT`, with the reasons in its detail.
pub struct RoutedConnection {
    client: ReplicatedClient,
    scans: Scans,
    /// The connection of scans behind a shared endpoint, where another connection may lead to another process.
    pinned_scan: Option<Pinned>,
    transaction: Transaction,
    /// The node that served the last pipeline or page, for its errors.
    served_by: Option<NodeAddr>,
    /// Why the last pipeline failed, for the errors of `query_pipeline`.
    failure: Option<Error>,
}

/// Pipelines, and everything else of the redis crate.
impl ReplicatedClient {
    /// Runs a pipeline on one node: on a candidate if every command in it is a read, else on the master.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let mut pipeline = redis::pipe();
    /// pipeline.atomic().incr("visits", 1).get("greeting");
    /// let (visits, greeting): (u64, Option<String>) = client.query_pipeline(&pipeline)?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`query`](Self::query). [`Error::may_have_executed`] returns whether a part of it may have been applied.
    pub fn query_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        let mut connection = self.connection();
        pipeline.query(&mut connection).map_err(|cause| connection.pipeline_error::<T>(pipeline, cause))
    }

    /// Returns a connection for every command of the redis crate. Does not connect, and takes nothing from a pool.
    ///
    /// ```no_run
    /// use redis::TypedCommands;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let mut connection = client.connection();
    /// connection.rename("draft", "article")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn connection(&self) -> RoutedConnection {
        RoutedConnection {
            client: self.clone(),
            scans: Scans::default(),
            pinned_scan: None,
            transaction: Transaction::default(),
            served_by: None,
            failure: None,
        }
    }
}

impl RoutedConnection {
    /// Serves one packed command.
    fn serve(&mut self, packed: &[u8]) -> Result<Value> {
        let request = Request::command(packed, self.client.classifier()).map_err(|_| malformed())?;
        self.check(&request)?;
        if let Some(value) = self.transaction.answer(request.step())? {
            return Ok(value);
        }
        let cursor = request.cursor();
        let mut began_at = None;
        let affinity = match &cursor {
            None if request.continues_scan => return Err(unknown_cursor(&request)),
            None => Affinity::Any,
            Some(cursor) if request.continues_scan => {
                let (node, watermark) = self.scans.find(cursor).ok_or_else(|| unknown_cursor(&request))?;
                began_at = watermark;
                Affinity::Only(node)
            }
            // Nodes give equal cursors: two scans of one key on two nodes could not be distinguished.
            Some(cursor) => self.scans.node_of(cursor).map_or(Affinity::Any, Affinity::First),
        };
        if request.opens || self.transaction.is_open() {
            if matches!(affinity, Affinity::Only(node) if self.transaction.node() != Some(node)) {
                return Err(unknown_cursor(&request));
            }
            return self.serve_pinned(&request);
        }
        if let (Affinity::Only(node) | Affinity::First(node), Some(pinned)) = (affinity, &self.pinned_scan)
            && pinned.node() == node
        {
            return self.scan_pinned(&request);
        }
        let (served, watermark) = self.client.call_with(&request, affinity, began_at)?;
        if let (Some(cursor), Reply::One(page)) = (&cursor, &served.reply) {
            self.served_by = Some(served.node().clone());
            self.scans.advance(cursor, request.continues_scan, page, served.node(), watermark);
            if served.server().node.is_shared() && self.scans.is_open_on(served.node()) {
                self.pin_scan(&served, &request)?;
                return self.scan_pinned(&request);
            }
        }
        match served.reply {
            Reply::One(value) => Ok(value),
            Reply::Many { .. } => Err(malformed()),
        }
    }

    /// Pins a connection for the scan that has just begun, which begins again there: its cursors mean nothing elsewhere.
    fn pin_scan(&mut self, served: &Served, request: &Request<'_>) -> Result<()> {
        if self.pinned_scan.as_ref().is_none_or(|pinned| pinned.node() != served.node()) {
            if let Some(other) = self.pinned_scan.take() {
                self.scans.forget(other.node());
                other.release();
            }
            self.scans.forget(served.node());
            let (router, options) = (self.client.router(), self.client.call_options());
            self.pinned_scan = Some(Pinned::beside(router, served, request, options)?);
        }
        Ok(())
    }

    /// Serves a page of a scan on its pinned connection.
    fn scan_pinned(&mut self, request: &Request<'_>) -> Result<Value> {
        let Some(cursor) = request.cursor() else { return Err(malformed()) };
        let began_at =
            if request.continues_scan { self.scans.find(&cursor).and_then(|(_, watermark)| watermark) } else { None };
        let Some(mut pinned) = self.pinned_scan.take() else { return Err(malformed()) };
        let served = self.client.call_pinned(&mut pinned, request, (true, began_at), Instant::now());
        let page = served.and_then(|(reply, watermark)| {
            let Reply::One(page) = reply else { return Err(malformed()) };
            self.scans.advance(&cursor, request.continues_scan, &page, pinned.node(), watermark);
            self.served_by = Some(pinned.node().clone());
            Ok(page)
        });
        if !pinned.is_live() {
            // A lost connection ends its scans.
            self.scans.forget(pinned.node());
        } else if self.scans.is_open_on(pinned.node()) {
            self.pinned_scan = Some(pinned);
        } else {
            pinned.release();
        }
        page
    }

    /// Serves one command on the connection of the open transaction.
    fn serve_pinned(&mut self, request: &Request<'_>) -> Result<Value> {
        let reply = self.transaction.run(&self.client, request)?;
        let Reply::One(value) = reply else { return Err(malformed()) };
        if let (Some(cursor), Some(node)) = (request.cursor(), self.transaction.node()) {
            self.scans.advance(&cursor, request.continues_scan, &value, node, None);
        }
        Ok(value)
    }

    /// Serves a packed pipeline.
    fn serve_all(&mut self, packed: &[u8], skipped: usize, kept: usize) -> Result<Reply> {
        let request = Request::pipeline(packed, skipped, kept, self.client.classifier()).map_err(|_| malformed())?;
        self.check(&request)?;
        if request.continues_scan {
            return Err(Error::refused(format!(
                "{request} continues a scan in a pipeline: run that command by itself"
            )));
        }
        // A request that relies on a lost connection fails before anything is sent.
        let first = request.steps(self.client.classifier()).flatten().next();
        self.transaction.answer(if skipped > 0 { Some(TransactionStep::Exec) } else { first })?;
        if request.opens || self.transaction.is_open() {
            let reply = self.transaction.run(&self.client, &request)?;
            self.served_by = self.transaction.node().cloned();
            return Ok(reply);
        }
        let served = self.client.call(&request, Affinity::Any)?;
        self.served_by = Some(served.node().clone());
        Ok(served.reply)
    }

    /// Refuses a request that would change a pooled connection.
    fn check(&self, request: &Request<'_>) -> Result<()> {
        if request.class == Classification::Connection {
            let what = format!("{request} would change a pooled connection for its next user: use dedicated()");
            return Err(Error::refused(what));
        }
        Ok(())
    }

    /// Returns the error of this crate for the redis crate's error about a pipeline: it says how far the pipeline got.
    fn pipeline_error<T>(&mut self, pipeline: &Pipeline, cause: RedisError) -> Error {
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        let packed = pipeline.get_packed_pipeline();
        let (skipped, kept) = if pipeline.is_transaction() { (pipeline.len() + 1, 1) } else { (0, pipeline.len()) };
        let Ok(request) = Request::pipeline(&packed, skipped, kept, self.client.classifier()) else {
            return malformed();
        };
        let error = match cause.clone().into_server_errors() {
            Some(errors) => {
                let all = errors.len() == kept && errors.iter().all(|(_, error)| executed_nothing(&request, error));
                server_error(&request, cause).executed(!request.is_read() && !all)
            }
            None => {
                let message = format!("the replies to {request} are no {}", type_name::<T>());
                Error::conversion(message).executed(!request.is_read())
            }
        };
        match &self.served_by {
            Some(node) => error.on(node),
            None => error,
        }
    }
}

impl ConnectionLike for RoutedConnection {
    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        if cmd.is_no_response() {
            return Err(Error::refused(
                "a command does not wait for its reply, which the connection's next user would get: use dedicated()",
            )
            .into());
        }
        self.req_packed_command(&cmd.get_packed_command())
    }

    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        // The error is extracted here, because `Cmd::iter` would not find it in its first page.
        self.serve(packed)?.extract_error()
    }

    fn req_packed_commands(&mut self, packed: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        self.served_by = None;
        self.failure = None;
        let reply = self.serve_all(packed, offset, count).inspect_err(|error| self.failure = Some(error.clone()))?;
        match reply {
            Reply::One(_) => Err(malformed().into()),
            Reply::Many { kept, not_queued } if not_queued.is_empty() => Ok(kept),
            Reply::Many { not_queued, .. } => Err(aborted(not_queued)),
        }
    }

    fn get_db(&self) -> i64 {
        let topology = self.client.router().store.current();
        topology.master().map_or(0, |master| topology.servers()[master].pool.database())
    }

    /// Sends `PING` to the master.
    fn check_connection(&mut self) -> bool {
        cmd("PING").query::<Value>(self).is_ok()
    }

    /// Returns `true`: connections are made when they are needed.
    fn is_open(&self) -> bool {
        true
    }
}

impl fmt::Debug for RoutedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedConnection")
            .field("client", &self.client)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

/// Returns the error for bytes that are no request.
fn malformed() -> Error {
    Error::refused(
        "the number of commands differs from that of the expected replies, or a transaction contains another",
    )
}

/// Returns the error for a cursor that this connection did not return.
fn unknown_cursor(request: &Request<'_>) -> Error {
    Error::refused(format!("{request} continues a cursor that did not come from this connection: use dedicated()"))
}

/// Returns the error for a transaction with commands that were not queued.
///
/// The redis crate does not export the constructor of its own error, which also does not cover a refused `MULTI`. So this makes
/// an error reply of a server with all the reasons.
fn aborted(not_queued: Vec<(usize, redis::ServerError)>) -> RedisError {
    let mut not_queued = not_queued.into_iter().peekable();
    // MULTI was refused and the commands ran one by one: the transaction was not aborted.
    if let Some((_, error)) = not_queued.next_if(|(position, _)| *position == 0) {
        return error.into();
    }
    let reasons: Vec<String> = not_queued
        .map(|(position, error)| {
            let (index, code) = (position - 1, error.code().to_owned());
            format!("command {index}: {code} {}", error.details().unwrap_or_default())
        })
        .collect();
    let details = format!("Transaction discarded because of previous errors: {}", reasons.join(", "));
    let unreadable = || (redis::ErrorKind::Server(ServerErrorKind::ExecAbort), "transaction aborted").into();
    server_error_of("EXECABORT", &details).map_or_else(unreadable, Into::into)
}
