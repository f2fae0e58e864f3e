//! One request that a node has to serve.

use std::sync::atomic::Ordering;

use super::Node;

/// One request that is on its way to a node; counted in [`Node::in_flight`] until dropped.
#[must_use = "the request counts as in flight only while this lives"]
#[derive(Debug)]
pub struct InFlight<'a>(pub(super) &'a Node);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
