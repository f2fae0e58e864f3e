//! Handles with other options for their calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Options, ReplicatedClient};
use crate::call::CallOptions;
use crate::selection::ReadFrom;

/// Options: each method returns a new handle.
impl ReplicatedClient {
    /// Returns a handle with another read preference; the pools are shared.
    ///
    /// ```no_run
    /// use redis_replicated::ReadFrom;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let balance: i64 = client.read_from(ReadFrom::Master).get("balance")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn read_from(&self, read_from: ReadFrom) -> Self {
        let call = CallOptions { read_from, ..self.options.call };
        self.with(Options { call, ..self.options.clone() })
    }

    /// Returns a handle whose calls each end after `deadline`, retries included; the pools are shared.
    ///
    /// A deadline of 1 ms or less fails every call with [`ErrorKind::Checkout`](crate::ErrorKind::Checkout).
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let quick = client.deadline(Duration::from_millis(50));
    /// let greeting: Option<String> = quick.get("greeting")?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn deadline(&self, deadline: Duration) -> Self {
        let call = CallOptions { deadline, ..self.options.call };
        self.with(Options { call, ..self.options.clone() })
    }

    /// Returns a handle all of whose calls end by `end`: one deadline over several calls. Default: no end, each call has its
    /// [`deadline`](Self::deadline) alone.
    ///
    /// ```no_run
    /// use std::time::{Duration, Instant};
    ///
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// let request = client.until(Instant::now() + Duration::from_millis(200));
    /// let cart: Vec<String> = request.lrange("cart:17", 0, -1)?;
    /// let prices: Vec<Option<u64>> = request.mget(&cart)?;  // has what is left of the 200 ms
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    ///
    /// Each call gets the deadline of the handle or the time that is left, whichever is shorter. Past its end, the handle fails
    /// each call with [`ErrorKind::Checkout`](crate::ErrorKind::Checkout), and nothing is sent. Of several ends, the earliest
    /// holds. The time of a blocking command and the limit of [`acknowledged_by`](Self::acknowledged_by) come on top, as they do
    /// with a deadline.
    #[must_use]
    pub fn until(&self, end: Instant) -> Self {
        let end = self.options.end.map_or(end, |earlier| earlier.min(end));
        self.with(Options { end: Some(end), ..self.options.clone() })
    }

    /// Returns the options of a call that begins now.
    #[inline]
    pub(crate) fn call_options(&self) -> CallOptions {
        self.limited(self.options.call)
    }

    /// Returns the options of a call with the time that the handle has left. Reads the clock only if the handle has an end.
    #[inline]
    pub(super) fn limited(&self, options: CallOptions) -> CallOptions {
        match self.options.end {
            None => options,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                CallOptions { deadline: options.deadline.min(left), ..options }
            }
        }
    }

    /// Returns a handle with other options.
    pub(super) fn with(&self, options: Options) -> Self {
        Self { shared: Arc::clone(&self.shared), options }
    }
}
