//! The guarantees that a handle gives for its calls. [`SessionCall`](super::SessionCall) keeps them.

use std::sync::Arc;
use std::time::Duration;

use super::state::Session;

/// What a handle guarantees for the replies to its calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guarantees {
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) acknowledgement: Option<Acknowledgement>,
    pub(crate) session: Option<Arc<Session>>,
}

/// How many replicas have to acknowledge each write, and how long it waits for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) replicas: u32,
    pub(crate) limit: Duration,
}
