//! Taking a connection to a server: one that leads where the topology says.

use std::time::{Duration, Instant};

use super::picture::Assigned;
use crate::classification::Request;
use crate::node::SyncState;
use crate::observe::CloseReason;
use crate::pool::{CheckoutOptions, Connection, LONGEST_SHARED, ReplyWait};
use crate::retry::{DEADLINE, Deadline, Fault, Spent, Stage, Waited};

/// A connection idle for this long is validated with one round trip before a write goes out on it.
const PROVEN_FOR: Duration = Duration::from_secs(1);
/// How long a write tries to connect to a master that is ejected.
const CONNECTS_WITHIN: Duration = Duration::from_millis(100);

/// What a connection is taken for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// It must not turn out to be dead: what goes out on it cannot be sent again.
    pub(crate) must_be_alive: bool,
    /// It will be kept for as long as a command blocks by its own argument.
    pub(crate) blocks: bool,
    /// Other callers may send on the same connection.
    pub(crate) may_share: bool,
    /// There is another node to turn to.
    pub(crate) has_more: bool,
}

impl Purpose {
    /// Returns the purpose of an attempt for a request. `may_share`: what is sent along with it leaves that open.
    #[inline]
    pub(crate) fn of(request: &Request<'_>, may_share: bool, has_more: bool) -> Self {
        let blocks = request.blocks();
        let may_share = may_share && request.may_share && !blocks && request.bytes.len() <= LONGEST_SHARED;
        Self { must_be_alive: !request.is_read(), blocks, may_share, has_more }
    }
}

impl Assigned {
    /// Takes a connection that leads where the topology says.
    #[inline]
    pub(crate) fn checkout(
        &self,
        purpose: Purpose,
        deadline: &Deadline,
        end: Option<Instant>,
    ) -> Result<Connection, Fault> {
        let Purpose { must_be_alive, blocks, may_share, has_more } = purpose;
        // Behind a shared endpoint, each connection leads to one of several processes: many connections spread the load.
        let may_share = may_share && !self.node.is_shared() && !deadline.must_go_alone();
        let by = if must_be_alive && self.node.is_ejected() { self.ready_by(deadline, end) } else { end };
        let options = CheckoutOptions { blocks, may_share, has_more, in_flight: self.node.in_flight(), end: by };
        let mut connection =
            self.pool.connect(options).map_err(|fault| self.name_limit(fault, purpose, deadline, (end, by)))?;
        if connection.took_time() {
            deadline.spend(connection.take_spent());
        }
        let end = by;
        self.prepare(&mut connection, must_be_alive, deadline, end)?;
        Ok(connection)
    }

    /// When the connection to an ejected master must be there. While it is silent, another may have taken its place: a write
    /// should not wait long before it looks again. Without a monitor, calls are the probes, and have the time of one.
    #[cold]
    fn ready_by(&self, deadline: &Deadline, end: Option<Instant>) -> Option<Instant> {
        let soon = deadline.now() + CONNECTS_WITHIN;
        if self.wakeup.is_some() { Some(end.map_or(soon, |end| end.min(soon))) } else { end }
    }

    /// Records which limit was met. Where others wait for a node that is out, it is not this process's doing that no connection is
    /// free. `end`: of the attempt; `by`: when the connection had to be there.
    #[cold]
    fn name_limit(
        &self,
        fault: Fault,
        purpose: Purpose,
        deadline: &Deadline,
        (end, by): (Option<Instant>, Option<Instant>),
    ) -> Fault {
        let took = deadline.now().elapsed();
        deadline.spend(if fault.stage == Stage::Connect { Spent::connecting(took) } else { Spent::waiting(took) });
        let limits = self.pool.limits();
        let is_checkout = matches!(fault.stage, Stage::Checkout | Stage::Connecting);
        let limit = match is_checkout {
            true if purpose.has_more || purpose.blocks => Waited { setting: "checkout_timeout", time: limits.checkout },
            // Where there is nobody else, the whole time is waited.
            true => Waited { setting: DEADLINE, time: Duration::MAX },
            false => Waited { setting: "connect_timeout", time: limits.connect },
        };
        let reason = if by == end { DEADLINE } else { "the node is ejected" };
        let fault = fault.after_waiting(limit, deadline.now(), by.map(|by| (by, reason)));
        // It may have come back meanwhile.
        let is_out = by != end || self.node.is_ejected() || self.node.role() != self.assigned_role;
        if is_checkout && is_out { Fault { stage: Stage::Avoided, ..fault } } else { fault }
    }

    /// Makes sure that a connection leads where the topology says, before anything is sent on it.
    #[inline]
    fn prepare(
        &self,
        connection: &mut Connection,
        must_be_alive: bool,
        deadline: &Deadline,
        end: Option<Instant>,
    ) -> Result<(), Fault> {
        if must_be_alive && self.node.sync_state() == SyncState::Diverged {
            // Another master was found since this call began.
            return Err(Fault::new(Stage::WrongRole, None));
        }
        if must_be_alive && !connection.has_served() && self.is_awaited() {
            // It may have come back empty, while another is about to be the master: the monitor looks first.
            self.request_check();
            return Err(Fault::new(Stage::Avoided, None));
        }
        let is_doubtful = !self.is_in_place(connection.role());
        // A write that is sent to a node known to be dead, on a connection that is open only from this side, is in doubt.
        let needs_proof = || has_rested(connection, deadline) || self.node.is_ejected();
        let is_proven_anyway = deadline.must_validate() && connection.has_served();
        if is_doubtful || is_proven_anyway || (must_be_alive && needs_proof()) {
            self.prove(connection, deadline, end)
        } else {
            Ok(())
        }
    }

    /// Asks the server what it is, unless it just said so, and compares that with the topology.
    #[cold]
    fn prove(&self, connection: &mut Connection, deadline: &Deadline, end: Option<Instant>) -> Result<(), Fault> {
        if connection.has_served() {
            let last_used = connection.last_used();
            let response = self.pool.limits().response;
            // A connection may have been waited for until now.
            let now = if connection.took_time() { Instant::now() } else { deadline.now() };
            let limit = now + response;
            let by = end.map_or(limit, |end| end.min(limit));
            let waited = Waited { setting: "response_timeout", time: response };
            let asked = connection.ask_role(ReplyWait { now, end: Some(by), response });
            deadline.spend(Spent::connecting(now.elapsed()));
            asked.map_err(|fault| {
                self.distrust(&fault, last_used);
                fault.after_waiting(waited, now, end.map(|end| (end, DEADLINE)))
            })?;
        }
        let Some(role) = connection.role() else { return Ok(()) };
        let is_news = self.observe_role(role);
        if role == self.assigned_role && !is_news {
            return Ok(());
        }
        // The next attempt is made on a fresh connection: news ended the generation of this one.
        connection.discard(CloseReason::Unhealthy);
        Err(Fault::new(if role == self.assigned_role { Stage::Idle } else { Stage::WrongRole }, None))
    }

    /// A connection was found dead that had been idle: those idle for as long are not lent any more, and the node is asked
    /// whether it is still there.
    #[cold]
    pub(crate) fn distrust(&self, fault: &Fault, last_used: Option<Instant>) {
        let is_dead =
            matches!(fault.stage, Stage::Idle | Stage::Stale) || (fault.stage == Stage::Connect && fault.is_timeout());
        // Without a cause, the connection only took no further requests.
        if let (true, Some(last_used)) = (is_dead && fault.cause.is_some(), last_used) {
            self.pool.distrust_until(last_used);
            self.request_check();
        }
    }
}

#[inline]
fn has_rested(connection: &Connection, deadline: &Deadline) -> bool {
    let since = |last| deadline.now().saturating_duration_since(last);
    connection.has_served() && connection.last_used().is_some_and(|last| since(last) >= PROVEN_FOR)
}
