//! What one replica may not or cannot do, and another node may.

use std::time::Instant;

use super::clock::Clock;
use super::{Aim, ReplicatedClient, Served};
use crate::classification::Request;
use crate::error::{Error, Result};
use crate::events;
use crate::retry::{Refusal, Reply, missing_right};
use crate::topology::Topology;

impl ReplicatedClient {
    /// Sends to the master what a replica takes for a write, and remembers what the command at this position is.
    #[cold]
    pub(super) fn call_as_write(
        &self,
        request: &Request<'_>,
        position: usize,
        clock: &Clock,
        refused: &Error,
    ) -> Result<Served> {
        if let (Some(command), Some(node)) = (self.classifier().learn_write(request, position), refused.node()) {
            events::command_reclassified(&command, node);
        }
        let rest = self.deadline(clock.left());
        rest.call(&request.as_write(), Aim::Any).map_err(|error| error.after(Some(refused)))
    }

    /// Says that a node lacks a right, if a second one had it.
    #[cold]
    pub(super) fn compare(&self, topology: &Topology, first: &Error, second: &Reply, now: Instant) {
        let refusals = first.as_redis().and_then(|cause| cause.clone().into_server_errors());
        let Some((_, refusal)) = refusals.as_deref().and_then(<[_]>::first) else { return };
        let Some(position) = first.node().and_then(|node| topology.find(node)) else { return };
        let server = &topology.servers()[position];
        let lacks_right = Refusal::of(refusal) == Some(Refusal::NoRights) && !second.has_error();
        if lacks_right && server.refused.may_tell_of_rights(now) {
            events::node_lacks_rights(server.node.addr(), missing_right(refusal).as_deref());
        }
    }
}
