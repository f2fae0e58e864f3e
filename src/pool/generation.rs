//! Generations of the connections to one node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the generations of one pool. Connections that belong to no pool have a counter of their own, which never
/// grows.
#[derive(Debug, Default)]
pub(super) struct Generations(Arc<AtomicU64>);

/// The generation that a connection belongs to.
#[derive(Clone)]
pub(super) struct Generation {
    present: Arc<AtomicU64>,
    own: u64,
}

impl Generations {
    /// Returns the present generation: that of a connection which begins to be opened now.
    pub(super) fn present(&self) -> Generation {
        Generation { present: Arc::clone(&self.0), own: self.0.load(Ordering::Acquire) }
    }

    /// Ends the present generation: the connections that are open now must not be used any more.
    pub(super) fn end(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Generation {
    /// Returns whether this generation has ended.
    pub(super) fn is_over(&self) -> bool {
        self.own != self.present.load(Ordering::Acquire)
    }
}
