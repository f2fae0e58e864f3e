//! The size of a pool and the time limits of one attempt.

use std::time::{Duration, Instant};

/// The size of one pool and the time limits of one attempt. The deadline of the call bounds them all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) size: u32,
    /// Handshakes under way at a time.
    pub(crate) connecting: u32,
    pub(crate) connect: Duration,
    pub(crate) checkout: Duration,
    pub(crate) response: Duration,
    pub(crate) idle: Duration,
    /// Connections to the node that calls may share. 0: each call takes one of its own.
    pub(crate) shared: u32,
}

/// How long a request waits for its reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyWait {
    pub(crate) now: Instant,
    /// When the caller stops to wait. `None`: never.
    pub(crate) end: Option<Instant>,
    /// How long a reply may take, however much time the caller has.
    pub(crate) response: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size: 10,
            connecting: 2,
            connect: Duration::from_millis(500),
            checkout: Duration::from_millis(250),
            response: Duration::from_secs(1),
            idle: Duration::from_secs(600),
            shared: 1,
        }
    }
}
