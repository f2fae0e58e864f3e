//! Every command of the redis crate, routed.

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

mod scans;
mod transaction;

/// A handle that every command, pipeline, iterator, script and transaction of the redis crate runs on, routed.
///
/// It costs nothing to make, holds no connection while nothing is pinned, and belongs to one thread at a time. Two things
/// are pinned:
///
/// * **Scans**: the first page of a scan may come from any node, later pages come from that same node, and so do further
///   scans of the same thing while one is unfinished. A cursor that did not come from this handle is refused. The cursors
///   of the last eight scans are remembered.
/// * **Transactions**: `WATCH` and `MULTI` take one connection to the master, and everything goes there until `EXEC`,
///   `DISCARD`, `UNWATCH` or an atomic pipeline ends it. If that connection is lost, what would rely on it fails.
///   Dropping the handle in between closes the connection.
///
/// A server's errors arrive unchanged; errors of this crate are found by [`Error::of`]. What a transaction could not
/// queue is reported as `EXECABORT` with the reasons in its detail.
///
/// ```no_run
/// use redis::Commands;
/// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
/// let mut connection = client.connection();
/// let keys: Vec<String> = connection.scan_match("user:*")?.collect::<redis::RedisResult<_>>()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RoutedConnection {
    client: ReplicatedClient,
    scans: Scans,
    /// The connection on which scans go on behind a shared endpoint: another one may lead to another process.
    held: Option<Pinned>,
    transaction: Transaction,
    /// The node that served the last pipeline, and why the last one failed: for `query_pipeline`.
    served_by: Option<NodeAddr>,
    failure: Option<Error>,
}

impl ReplicatedClient {
    /// Returns a handle for every command of the redis crate; nothing is connected or lent by that.
    #[must_use]
    pub fn connection(&self) -> RoutedConnection {
        RoutedConnection {
            client: self.clone(),
            scans: Scans::default(),
            held: None,
            transaction: Transaction::default(),
            served_by: None,
            failure: None,
        }
    }

    /// Runs a pipeline, whole, on one node: on a candidate if every command in it is a read, else on the master.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query). [`Error::may_have_executed`] tells whether a part of it may have been applied.
    pub fn query_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        let mut connection = self.connection();
        pipeline.query(&mut connection).map_err(|cause| connection.understand::<T>(pipeline, cause))
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
            None if request.continues_scan => return Err(foreign_cursor(&request)),
            None => Affinity::Any,
            Some(cursor) if request.continues_scan => {
                let (node, seen) = self.scans.find(cursor).ok_or_else(|| foreign_cursor(&request))?;
                began_at = seen;
                Affinity::Only(node)
            }
            // Nodes give the same cursors: two scans of one thing would be mistaken for each other on two nodes.
            Some(cursor) => self.scans.node_of(cursor).map_or(Affinity::Any, Affinity::First),
        };
        if request.opens || self.transaction.is_open() {
            if matches!(affinity, Affinity::Only(node) if self.transaction.node() != Some(node)) {
                return Err(foreign_cursor(&request));
            }
            return self.serve_pinned(&request);
        }
        if let (Affinity::Only(node) | Affinity::First(node), Some(held)) = (affinity, &self.held)
            && held.node() == node
        {
            return self.scan_on_held(&request);
        }
        let (served, seen) = self.client.call_with(&request, affinity, began_at)?;
        if let (Some(cursor), Reply::One(page)) = (&cursor, &served.reply) {
            self.scans.advance(cursor, request.continues_scan, page, served.node(), seen);
            if served.is_from_shared_endpoint() && self.scans.is_open_on(served.node()) {
                self.hold(&served, &request)?;
                return self.scan_on_held(&request);
            }
        }
        match served.reply {
            Reply::One(value) => Ok(value),
            Reply::Many { .. } => Err(malformed()),
        }
    }

    /// Keeps a connection for the scan that has just begun: it is begun anew there, for its cursors mean nothing elsewhere.
    fn hold(&mut self, served: &Served, request: &Request<'_>) -> Result<()> {
        if self.held.as_ref().is_none_or(|held| held.node() != served.node()) {
            if let Some(other) = self.held.take() {
                self.scans.forget(other.node());
                other.release();
            }
            self.scans.forget(served.node());
            let (router, options) = (self.client.router(), self.client.options.call);
            self.held = Some(Pinned::beside(router, served, request, options)?);
        }
        Ok(())
    }

    /// Serves a page of a scan on the connection that is kept for it.
    fn scan_on_held(&mut self, request: &Request<'_>) -> Result<Value> {
        let Some(cursor) = request.cursor() else { return Err(malformed()) };
        let began_at = if request.continues_scan { self.scans.find(&cursor).and_then(|(_, seen)| seen) } else { None };
        let Some(mut held) = self.held.take() else { return Err(malformed()) };
        let served = self.client.call_pinned(&mut held, request, (true, began_at), Instant::now());
        // A lost connection takes its scans along.
        let (reply, seen) = served.inspect_err(|_| self.scans.forget(held.node()))?;
        let Reply::One(page) = reply else { return Err(malformed()) };
        self.scans.advance(&cursor, request.continues_scan, &page, held.node(), seen);
        if self.scans.is_open_on(held.node()) {
            self.held = Some(held);
        } else {
            held.release();
        }
        Ok(page)
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
            return Err(Error::refused(format!("{request} goes on with a scan: run it by itself")));
        }
        // What relies on a lost connection fails before anything is sent.
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

    fn check(&self, request: &Request<'_>) -> Result<()> {
        if request.class == Classification::Connection {
            let what = format!("{request} would change a pooled connection for its next user: use dedicated()");
            return Err(Error::refused(what));
        }
        Ok(())
    }

    /// Makes of the redis crate's error for a pipeline one that tells how far the pipeline got.
    fn understand<T>(&mut self, pipeline: &Pipeline, cause: RedisError) -> Error {
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
                "a command without a reply, which its connection's next user would get: use dedicated()",
            )
            .into());
        }
        self.req_packed_command(&cmd.get_packed_command())
    }

    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        // Extracted here: `Cmd::iter` would not look for an error in its first page.
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

    /// Asks the master by `PING`.
    fn check_connection(&mut self) -> bool {
        cmd("PING").query::<Value>(self).is_ok()
    }

    /// Always open: connections are made when they are needed.
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

fn malformed() -> Error {
    Error::refused("not one whole command for each reply that is waited for, or a transaction within a transaction")
}

fn foreign_cursor(request: &Request<'_>) -> Error {
    Error::refused(format!("{request} goes on with a cursor that did not come from this handle: use dedicated()"))
}

/// The error for a transaction that was not queued whole.
///
/// The redis crate keeps the constructor of its own to itself, and its own fails for a refused `MULTI`. So an answer of
/// the server is made that says all of it.
fn aborted(not_queued: Vec<(usize, redis::ServerError)>) -> RedisError {
    let mut not_queued = not_queued.into_iter().peekable();
    // Without MULTI the commands ran one by one: that is another story than an aborted transaction.
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
