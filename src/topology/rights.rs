//! Rights that one node grants and another one does not.

use std::time::Instant;

use super::picture::Topology;
use crate::error::Error;
use crate::observe::log;
use crate::retry::{Refusal, Reply, missing_right};

impl Topology {
    /// Emits an event if the first node refused a request for lack of rights and the second one executed it.
    #[cold]
    pub(crate) fn compare_rights(&self, first: &Error, second: &Reply, now: Instant) {
        let refusals = first.as_redis().and_then(|cause| cause.clone().into_server_errors());
        let Some((_, refusal)) = refusals.as_deref().and_then(<[_]>::first) else { return };
        let Some(position) = first.node().and_then(|node| self.find(node)) else { return };
        let server = &self.servers()[position];
        let lacks_right = Refusal::of(refusal) == Some(Refusal::NoRights) && !second.has_error();
        if lacks_right && server.refused.may_announce_rights(now) {
            log::node_lacks_rights(server.node.addr(), missing_right(refusal).as_deref());
        }
    }
}
