//! Whether the client can serve.

use std::time::{Duration, Instant};

use super::ReplicatedClient;
use crate::call::{CallOptions, Pinned};
use crate::classification::Request;
use crate::error::Result;

/// However little is left of the limit, an attempt takes this long.
const SHORTEST: Duration = Duration::from_millis(2);
/// How long to wait before the next attempt, unless the set changes before.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest time of one attempt.
const LONGEST: Duration = Duration::from_secs(1);

/// Readiness.
impl ReplicatedClient {
    /// Waits until the client can serve: until it has a connection to the master, and one to a node that may serve reads by the
    /// read preference of this handle. For the start of a program, and for readiness checks.
    ///
    /// Both connections are logged in, and their nodes have confirmed their roles. The connections stay in the pools. Returns at
    /// once if they are there, and after `limit` at the latest; the deadline and the end of this handle do not count.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// client.ready(Duration::from_secs(10))?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of the last attempt, with what is missing: "not ready for writes" or "not ready for reads". Of the kinds
    /// [`Unavailable`](crate::ErrorKind::Unavailable), [`Checkout`](crate::ErrorKind::Checkout) and
    /// [`Server`](crate::ErrorKind::Server), which is for a refused login.
    pub fn ready(&self, limit: Duration) -> Result<()> {
        let now = Instant::now();
        // A limit beyond the range of the clock is none.
        let end = now.checked_add(limit).unwrap_or(now + Duration::from_secs(366 * 86_400));
        self.reach(&Request::for_connection(false), "not ready for writes", end)?;
        self.reach(&Request::for_connection(true), "not ready for reads", end)
    }

    /// Takes a connection to a node that may serve the request, and gives it back.
    fn reach(&self, request: &Request<'_>, lack: &str, end: Instant) -> Result<()> {
        let store = &self.router().store;
        let mut left = end.saturating_duration_since(Instant::now());
        loop {
            let known = store.current();
            let options = CallOptions { deadline: left.clamp(SHORTEST, LONGEST), ..self.options.call };
            let error = match Pinned::take(self.router(), request, options) {
                Ok(connection) => {
                    connection.release();
                    return Ok(());
                }
                Err(error) => error,
            };
            store.wait_for_change(&known, PAUSE.min(end.saturating_duration_since(Instant::now())));
            left = end.saturating_duration_since(Instant::now());
            // An attempt without time would say nothing but that.
            if left < SHORTEST {
                return Err(error.lacking(lack));
            }
        }
    }
}
