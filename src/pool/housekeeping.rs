//! The thread on which idle connections are closed.

use std::fmt;
use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread;

use scheduled_thread_pool::{OnPoolDropBehavior, ScheduledThreadPool};

/// The one thread on which r2d2 reaps idle connections, shared by all pools of a client.
#[derive(Clone)]
pub(crate) struct Housekeeping(Arc<ScheduledThreadPool>);

impl Housekeeping {
    /// Starts the thread, or returns the error of the system.
    pub(crate) fn start() -> io::Result<Self> {
        // The thread pool panics if its thread cannot be started. So one is started first to find out.
        let probe = thread::Builder::new().name("redis-replicated".to_owned()).spawn(|| ())?;
        let _ = probe.join();
        let start = || {
            ScheduledThreadPool::builder()
                .num_threads(1)
                .thread_name_pattern("redis-replicated")
                // The thread ends with the last handle instead of waiting for the next round.
                .on_drop_behavior(OnPoolDropBehavior::DiscardPendingScheduled)
                .build()
        };
        // Other threads may have used up the limit meanwhile.
        let started = catch_unwind(start).map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        Ok(Self(Arc::new(started)))
    }

    pub(super) fn workers(&self) -> Arc<ScheduledThreadPool> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Housekeeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Housekeeping")
    }
}
