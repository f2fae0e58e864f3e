//! Diagnosis without sending anything: where a command would go, and the state of the nodes.

use std::time::Instant;

use redis::Cmd;

use super::ReplicatedClient;
use crate::addr::NodeAddr;
use crate::call::Around;
use crate::classification::{Classification, Request};
use crate::node::Node;
use crate::selection::{Criteria, Decision, Exclusion, Likelihood, Measures, ServerMask, decide, exclusion_reasons};
use crate::session::{Session, SessionAround};
use crate::topology::{Assigned, Snapshot};

/// Diagnosis: nothing is sent.
impl ReplicatedClient {
    /// Returns where a command would go right now, and why. Sends nothing.
    ///
    /// With a session or a bound on staleness, replicas that could not prove it a moment ago, or never can, are left out
    /// ([`Exclusion::Unproven`](crate::Exclusion::Unproven)). Whether a candidate can prove it now is only known from its reply.
    /// A read that will report a loss goes nowhere.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// println!("{}", client.explain(redis::cmd("GET").arg("greeting")));
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn explain(&self, cmd: &Cmd) -> Decision {
        let packed = cmd.get_packed_command();
        let (topology, now, read_from) = (self.router().store.current(), Instant::now(), self.options.call.read_from);
        let all = || topology.servers().iter().map(|server| server.node.addr().clone());
        let nowhere = |classification, command: String, why: Exclusion| {
            let excluded = all().map(|addr| (addr, why)).collect();
            Decision { command, classification, read_from, candidates: Vec::new(), measures: Vec::new(), excluded }
        };
        let Ok(request) = Request::command(&packed, self.classifier()) else {
            return nowhere(Classification::Write, "an empty command".to_owned(), Exclusion::Refused);
        };
        // Cursors and transactions belong to a connection(), which remembers their node.
        if request.class == Classification::Connection || request.continues_scan || request.step().is_some() {
            return nowhere(request.class, request.to_string(), Exclusion::Refused);
        }
        let call = self.session_call(None);
        let session = call.as_ref().and_then(|call| call.guarantees.session.as_deref());
        if request.is_read() && session.is_some_and(Session::has_loss) {
            return nowhere(request.class, request.to_string(), Exclusion::Unproven);
        }
        let around = call.as_ref().map(|call| SessionAround::of(call, &request));
        let likelihood = |server: &Assigned| {
            around.as_ref().map_or(Likelihood::Likely, |around| around.likelihood(&topology, server, now))
        };
        let set = topology.contenders();
        let criteria = Criteria {
            is_read: request.is_read(),
            read_from,
            may_fall_back: self.router().selector.permits.has_permit(),
            presumes_master: true,
            excludes_for_good: false,
        };
        let selection = decide(&set, criteria, ServerMask::default(), likelihood, now);
        let chosen: Vec<&Node> = selection.iter().flat_map(|selection| selection.candidates.iter()).collect();
        let candidates: Vec<NodeAddr> = chosen.iter().map(|node| node.addr().clone()).collect();
        let measures = chosen.iter().map(|node| Measures::of(node, now)).collect();
        let excluded = exclusion_reasons(&set, criteria, likelihood, now, &candidates);
        Decision {
            command: request.to_string(),
            classification: request.class,
            read_from,
            candidates,
            measures,
            excluded,
        }
    }

    /// Returns the state of all nodes, and what the client counted. Sends nothing.
    ///
    /// ```no_run
    /// # let client = redis_replicated::ReplicatedClient::builder().master("redis://127.0.0.1:6379").build()?;
    /// for node in &client.snapshot().nodes {
    ///     println!("{}: {}, {} requests in flight", node.addr, node.assigned_role, node.in_flight);
    /// }
    /// # Ok::<(), redis_replicated::Error>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let router = self.router();
        Snapshot::take(&router.store.current(), &router.budget, &router.selector.permits, Instant::now())
    }
}
