//! What a client tells of its calls and nodes.

use std::sync::Arc;
use std::time::Duration;

use super::settings::Builder;
use crate::observe::Observer;

impl Builder {
    /// Adds an observer: it is told what happens in the client. Default: none. See [`observe`](crate::observe).
    ///
    /// ```no_run
    /// # use redis_replicated::observe::{Event, Observer};
    /// # #[derive(Debug)] struct MyObserver;
    /// # impl Observer for MyObserver { fn observe(&self, _: &Event<'_>) {} }
    /// use redis_replicated::ReplicatedClient;
    ///
    /// let client = ReplicatedClient::builder().master("redis://127.0.0.1:6379").observer(MyObserver).build()?;
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Sets how long a call may take before it is slow. A slow call is written to the log, with where its time went (event
    /// `slow_call`, see [`observe`](crate::observe)), and [`CallEnded::is_slow`](crate::observe::CallEnded::is_slow) is true.
    /// Default: no call is slow.
    ///
    /// A command that blocks by its own argument, such as `BLPOP`, counts with the time for which it blocks.
    pub fn slow_call(mut self, limit: Duration) -> Self {
        self.slow_call = Some(limit);
        self
    }
}
