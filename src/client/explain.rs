//! Looking inside, without sending anything.

use std::time::Instant;

use redis::Cmd;

use super::ReplicatedClient;
use crate::addr::NodeAddr;
use crate::classification::{Classification, Request};
use crate::routing::{Decision, Exclusion, Measures};
use crate::topology::{Hint, LeftOut, Need, Snapshot};

impl ReplicatedClient {
    /// Tells where a command would go right now, and why. Sends nothing.
    ///
    /// Which of its candidates prove what a session or a bound on staleness asks for, only their replies tell.
    #[must_use]
    pub fn explain(&self, cmd: &Cmd) -> Decision {
        let packed = cmd.get_packed_command();
        let (topology, now, read_from) = (self.shared.keeper.current(), Instant::now(), self.options.read_from);
        let all = || topology.members().iter().map(|member| member.node.addr().clone());
        let nowhere = |classification, command: String| {
            let excluded = all().map(|addr| (addr, Exclusion::Refused)).collect();
            Decision { command, classification, read_from, candidates: Vec::new(), measures: Vec::new(), excluded }
        };
        let Ok(request) = Request::command(&packed, self.classifier()) else {
            return nowhere(Classification::Write, "an empty command".to_owned());
        };
        // Cursors and transactions belong to one connection() each, which knows where it holds them.
        if request.class == Classification::Connection || request.continues_scan || request.step().is_some() {
            return nowhere(request.class, request.to_string());
        }
        let may_fall_back = self.shared.protection.has_room();
        let need = Need {
            is_read: request.is_read(),
            read_from,
            may_fall_back,
            hint: Hint::None,
            presumes: true,
            left_for_good: false,
        };
        let needs_master =
            need.is_read && self.options.session.as_ref().is_some_and(|session| session.demand().needs_master);
        let left_out = if needs_master { topology.replicas() } else { LeftOut::default() };
        let choice = topology.choose(need, now, left_out);
        let candidates: Vec<NodeAddr> =
            choice.iter().flat_map(|choice| choice.candidates.iter()).map(|node| node.addr().clone()).collect();
        let measures =
            choice.iter().flat_map(|choice| choice.candidates.iter()).map(|node| Measures::of(node, now)).collect();
        let mut excluded = topology.exclusions(need, now, &candidates);
        let is_unproven = |addr: &NodeAddr| topology.find(addr).is_some_and(|index| left_out.contains(index));
        excluded.iter_mut().filter(|(addr, _)| is_unproven(addr)).for_each(|(_, why)| *why = Exclusion::Unproven);
        Decision {
            command: request.to_string(),
            classification: request.class,
            read_from,
            candidates,
            measures,
            excluded,
        }
    }

    /// Returns the state of all nodes. Sends nothing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.shared.keeper.current(), Instant::now())
    }
}
