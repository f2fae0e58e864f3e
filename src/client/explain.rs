//! Looking inside, without sending anything.

use std::time::Instant;

use redis::Cmd;

use super::ReplicatedClient;
use crate::addr::NodeAddr;
use crate::classification::{Classification, Request};
use crate::selection::{Decision, Exclusion, Measures};
use crate::session::Session;
use crate::topology::{Hint, LeftOut, Need, Snapshot};

impl ReplicatedClient {
    /// Tells where a command would go right now, and why. Sends nothing.
    ///
    /// With a session or a bound on staleness, replicas that lacked a moment ago what is asked for, and those that cannot prove
    /// it at all, are left out ([`Exclusion::Unproven`](crate::Exclusion::Unproven)). Whether a candidate proves it, only its
    /// reply tells. A read that will be told of a loss goes nowhere.
    #[must_use]
    pub fn explain(&self, cmd: &Cmd) -> Decision {
        let packed = cmd.get_packed_command();
        let (topology, now, read_from) = (self.shared.store.current(), Instant::now(), self.options.read_from);
        let all = || topology.servers().iter().map(|server| server.node.addr().clone());
        let nowhere = |classification, command: String, why: Exclusion| {
            let excluded = all().map(|addr| (addr, why)).collect();
            Decision { command, classification, read_from, candidates: Vec::new(), measures: Vec::new(), excluded }
        };
        let Ok(request) = Request::command(&packed, self.classifier()) else {
            return nowhere(Classification::Write, "an empty command".to_owned(), Exclusion::Refused);
        };
        // Cursors and transactions belong to one connection() each, which knows where it holds them.
        if request.class == Classification::Connection || request.continues_scan || request.step().is_some() {
            return nowhere(request.class, request.to_string(), Exclusion::Refused);
        }
        let (session, is_read) = (self.options.session.as_deref(), request.is_read());
        if is_read && session.is_some_and(Session::has_loss) {
            return nowhere(request.class, request.to_string(), Exclusion::Unproven);
        }
        let check = self.check_of(&request);
        let proves = is_read && (session.is_some() || self.options.max_staleness.is_some());
        let (hint, why_master) =
            if proves { (check.hint(now), check.why_master(&request)) } else { (Hint::None, None) };
        let may_fall_back = self.shared.permits.has_room();
        let need = Need { is_read, read_from, may_fall_back, hint, presumes: true, left_for_good: false };
        let left_out = if why_master.is_some() { topology.replicas() } else { LeftOut::default() };
        let choice = topology.choose(need, now, left_out);
        let candidates: Vec<NodeAddr> =
            choice.iter().flat_map(|choice| choice.candidates.iter()).map(|node| node.addr().clone()).collect();
        let measures =
            choice.iter().flat_map(|choice| choice.candidates.iter()).map(|node| Measures::of(node, now)).collect();
        let mut excluded = topology.exclusions(need, now, &candidates);
        for (addr, why) in &mut excluded {
            let Some(index) = topology.find(addr) else { continue };
            let lags = || *why == Exclusion::Fallback && !topology.servers()[index].progress.may_have(hint, now);
            if left_out.contains(index) || lags() {
                *why = Exclusion::Unproven;
            }
        }
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
        Snapshot::take(&self.shared.store.current(), Instant::now())
    }
}
