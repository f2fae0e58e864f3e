//! Handles with other options for their calls.

use std::sync::Arc;
use std::time::Duration;

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

    /// Returns a handle with other options.
    pub(super) fn with(&self, options: Options) -> Self {
        Self { shared: Arc::clone(&self.shared), options }
    }
}
