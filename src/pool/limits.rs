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
    /// Calls begin to share with so many requests in flight. Below, hand-overs cost more than they save.
    pub(crate) shares_from: u32,
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

/// A longer request takes a connection of its own, because those of other callers would wait while it is sent; and how long that
/// takes is measured.
pub(crate) const LONGEST_SHARED: usize = 16 << 10;

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
            shares_from: shares_from(),
        }
    }
}

const SHARES_FROM: u32 = 6;

#[cfg(not(feature = "testing"))]
fn shares_from() -> u32 {
    SHARES_FROM
}

/// Lets the tests of this crate run with every call on a shared connection: `REDIS_REPLICATED_SHARES_FROM=1`.
#[cfg(feature = "testing")]
fn shares_from() -> u32 {
    static SET: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let set = || std::env::var("REDIS_REPLICATED_SHARES_FROM").ok()?.parse().ok();
    *SET.get_or_init(|| set().unwrap_or(SHARES_FROM))
}
