//! One call, without I/O: which server comes next, what its answer means, when to wait, when to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::around::Around;
use super::router::{CallOptions, Router};
use crate::classification::Request;
use crate::error::Error;
use crate::observe::{Attempted, Trace, log};
use crate::replication::Role;
use crate::retry::{Deadline, Failures, Fault, Reply, Setting, Verdict, judge, judge_fault, refused};
use crate::selection::{Affinity, AttemptContext, CallExclusions, Criteria, NoSelection, Selected, no_server};
use crate::topology::{Assigned, Topology};

/// A refused request is not sent again with less time left: it was certainly not executed, which would be in doubt if the next
/// reply came too late.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// The state of one call.
pub(super) struct Call<'c> {
    pub(super) router: &'c Router,
    request: &'c Request<'c>,
    options: CallOptions,
    affinity: Affinity<'c>,
    /// The topology that the call works with until it has waited.
    pub(super) topology: Arc<Topology>,
    pub(super) deadline: Deadline,
    exclusions: CallExclusions,
    /// The next attempt goes to the same server.
    same_server: Option<Selected<'c>>,
    failures: Failures,
    /// The next attempt does not count as a retry: the last server was behind, or refused what another one may serve.
    skips_budget: bool,
    /// The call waits for a permit.
    pub(super) waits_for_permit: bool,
    /// The last attempt was refused, only for the moment, and certainly not executed.
    is_refused_for_now: bool,
    /// The call has waited since.
    is_last_chance: bool,
    /// It obtains a connection instead of a reply.
    is_connecting: bool,
    /// What happened so far, if somebody wants to know.
    pub(super) trace: Option<Trace<'c>>,
}

/// What a call does next.
pub(super) enum Next<'c> {
    Attempt(Selected<'c>),
    Wait(Wait),
    Done(Error),
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// Another topology, for at most this time.
    Topology(Duration),
    /// A permit for a fallback read, until then at the latest.
    Permit(Instant),
    /// The retry budget, for this time.
    Pause(Duration),
}

/// What a call obtains from a server: a reply or a connection.
pub(crate) trait Obtained {
    /// Returns the reply, if this is one.
    fn reply(&mut self) -> Option<&mut Reply> {
        None
    }
}

/// How a call ends without an answer.
#[derive(Debug)]
pub(crate) enum Stop {
    Error(Error),
    /// A replica refused the command at this position as a write: the whole request is one.
    IsWrite {
        position: usize,
        refused: Error,
        /// The time until the call's deadline.
        left: Duration,
    },
}

impl Stop {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Error(error) | Self::IsWrite { refused: error, .. } => error,
        }
    }
}

impl Obtained for Reply {
    #[inline]
    fn reply(&mut self) -> Option<&mut Reply> {
        Some(self)
    }
}

impl<'c> Call<'c> {
    #[inline]
    pub(super) fn new(
        router: &'c Router,
        request: &'c Request<'c>,
        options: CallOptions,
        affinity: Affinity<'c>,
        now: Instant,
        trace: Option<Trace<'c>>,
    ) -> Self {
        Self {
            router,
            request,
            options,
            affinity,
            topology: router.store.current(),
            deadline: Deadline::start(options.deadline, now),
            exclusions: CallExclusions::default(),
            same_server: None,
            failures: Failures::default(),
            skips_budget: true,
            waits_for_permit: false,
            is_refused_for_now: false,
            is_last_chance: false,
            is_connecting: false,
            trace,
        }
    }

    /// The same for a connection: trying other servers spends no retry budget, and a refused login ends the round.
    pub(super) fn connecting(self) -> Self {
        Self { is_connecting: true, ..self }
    }

    /// Returns what to do at this time.
    #[inline]
    pub(super) fn next(&mut self, around: &impl Around, now: Instant) -> Next<'c> {
        self.deadline.advance(now);
        let is_too_late = self.is_last_chance && self.deadline.left() < LAST_CHANCE.min(self.options.deadline / 8);
        self.is_last_chance = false;
        if is_too_late || !self.deadline.has_time() {
            return Next::Done(self.out_of_time(around));
        }
        let selected = match self.same_server.take().map_or_else(|| self.select(around), Ok) {
            Ok(selected) => selected,
            Err(reason) => return self.wait_or_end(reason),
        };
        self.waits_for_permit = false;
        // Reads share a budget of retries. Waiting for a master is free.
        let is_free = self.skips_budget || self.is_connecting || !self.request.is_read();
        if is_free || self.withdraw() {
            Next::Attempt(selected)
        } else {
            // `selected` is dropped: no permit is held during the pause.
            Next::Wait(Wait::Pause(self.deadline.next_pause(rand::random())))
        }
    }

    /// Continues with another topology, after a wait for one or for a permit.
    pub(super) fn resume(&mut self, topology: Arc<Topology>) {
        self.topology = topology;
        self.is_last_chance = std::mem::take(&mut self.is_refused_for_now);
        let servers = self.topology.servers();
        self.exclusions.begin_round(servers);
        if !self.topology.is_settled() {
            // While no master is known, the servers that did not answer stay excluded.
            let unresponsive = &self.failures.unresponsive;
            self.exclusions.exclude(servers, |server| unresponsive.contains(server.node.addr()));
        }
    }

    /// Records the result of an attempt; everything that happened to it is known here. Returns the end of the call, if this is it.
    #[inline]
    pub(super) fn record<T: Obtained>(
        &mut self,
        selected: Selected<'c>,
        mut attempt: Result<T, Fault>,
        clock: impl FnOnce() -> Instant,
    ) -> Option<Result<T, Stop>> {
        let now = self.deadline.now();
        let has_recent_failover = &|| self.router.store.has_recent_failover(now);
        let server = &self.topology.servers()[selected.position];
        let (is_second, is_fallback) = (self.failures.first_answer.is_some(), selected.permit.is_some());
        let setting = Setting { assigned_role: server.assigned_role, is_second, has_recent_failover };
        let (verdict, outcome) = match &mut attempt {
            Ok(obtained) => match obtained.reply() {
                Some(reply) => judge(self.request, reply, setting),
                None => (Verdict::Answer, None),
            },
            Err(fault) => {
                let judged = judge_fault(self.request, fault);
                self.failures.record(&server.node, fault, &mut self.deadline, judged)
            }
        };
        match (verdict, attempt) {
            (Verdict::Answer, Ok(mut obtained)) => {
                if let Some(reply) = obtained.reply() {
                    self.record_answer(server, reply);
                }
                if let Some(trace) = &mut self.trace {
                    trace.attempted(Attempted { is_fallback, ..server.attempted(&self.deadline) }, None);
                }
                Some(Ok(obtained))
            }
            (_, failed) => {
                let (node, earlier) = (&server.node, self.failures.error.take());
                let error = match failed {
                    Err(fault) => fault.into_error_after(earlier, node, server.pool.limits().size, self.request),
                    Ok(mut obtained) => {
                        let reply = obtained.reply().map(std::mem::take).unwrap_or_default();
                        refused(self.request, reply).on(node.addr())
                    }
                };
                let is_last = matches!(verdict, Verdict::GiveUp | Verdict::Answer);
                if let Some(trace) = &mut self.trace {
                    let attempted = Attempted { is_fallback, is_last, ..server.attempted(&self.deadline) };
                    trace.attempted(attempted, Some(&error));
                }
                self.deadline.end_attempt();
                self.deadline.advance(clock());
                if let Some(outcome) = outcome {
                    self.router.record_failure(server, outcome, error.as_redis(), self.deadline.now());
                }
                tracing::debug!(node = %server.node.addr(), command = %self.request, attempt = self.deadline.attempt(), ?verdict, %error, "attempt failed");
                self.apply_verdict(selected, verdict, error).map(Err)
            }
        }
    }

    /// Records an answer, and what it says about the servers that were asked before.
    #[inline]
    fn record_answer(&self, server: &Assigned, reply: &mut Reply) {
        if !self.failures.unresponsive.is_empty() {
            self.blame_unresponsive();
        }
        server.record_answer(self.request.is_read());
        if let Some(first) = &self.failures.first_answer {
            self.topology.compare_rights(first, reply, self.deadline.now());
        }
        reply.hide_arguments(self.request);
    }

    /// Blames the servers that did not answer the request, after another one has.
    #[cold]
    fn blame_unresponsive(&self) {
        let unresponsive = self.failures.unresponsive.iter().filter_map(|addr| self.topology.find(addr));
        unresponsive.for_each(|position| self.topology.servers()[position].record_loss(self.deadline.now()));
    }

    /// Decides which servers the call tries next after a failed attempt. Returns the end of the call, if this is it.
    #[cold]
    fn apply_verdict(&mut self, selected: Selected<'c>, verdict: Verdict, error: Error) -> Option<Stop> {
        let position = selected.position;
        self.is_refused_for_now = verdict == Verdict::Later;
        self.skips_budget = matches!(verdict, Verdict::Behind | Verdict::Another | Verdict::Master);
        match verdict {
            Verdict::GiveUp | Verdict::Answer => return Some(Stop::Error(error)),
            Verdict::Write { position } => {
                return Some(Stop::IsWrite { position, refused: error, left: self.deadline.left() });
            }
            Verdict::SameNode => self.same_server = Some(selected),
            Verdict::Elsewhere => self.exclusions.this_round.insert(position),
            Verdict::Another | Verdict::Master => {
                let servers = self.topology.servers();
                let failed = (verdict == Verdict::Another).then(|| servers[position].node.addr().clone());
                self.exclusions.exclude_for_good(servers, failed);
                self.failures.first_answer = Some(error.clone());
            }
            // With every server excluded, the call waits before the next attempt.
            Verdict::Later => self.exclusions.exclude(self.topology.servers(), |_| true),
            Verdict::Behind => self.exclude_behind(position),
        }
        self.failures.error = Some(error);
        self.router.budget.record_retry();
        None
    }

    /// Excludes a server that cannot prove its reply. After a second one, or without budget for a second, excludes all replicas,
    /// so that the master is next.
    fn exclude_behind(&mut self, position: usize) {
        let is_second = !self.exclusions.this_round.is_empty();
        self.exclusions.this_round.insert(position);
        let may_ask_another = !is_second && self.withdraw();
        // While the master is ejected, only replicas may be able to serve.
        let serves = |master: usize| !self.topology.servers()[master].node.is_ejected();
        let has_master = self.topology.master().is_some_and(serves) && self.options.read_from.includes(Role::Master);
        if !may_ask_another && has_master {
            self.exclusions.exclude_replicas(self.topology.servers());
        }
    }

    /// Selects the server of the next attempt.
    #[inline]
    fn select(&self, around: &impl Around) -> Result<Selected<'c>, NoSelection> {
        let criteria = Criteria {
            is_read: self.request.is_read(),
            read_from: self.options.read_from,
            may_fall_back: true,
            presumes_master: false,
            excludes_for_good: self.exclusions.are_for_good(),
        };
        let now = self.deadline.now();
        let context = AttemptContext { now, attempt: self.deadline.attempt(), key: self.request.key };
        let likelihood = |server: &Assigned| around.likelihood(&self.topology, server, now);
        let (set, selector) = (self.topology.contenders(), &self.router.selector);
        let selected =
            selector.select(&set, criteria, self.affinity, self.exclusions.this_round, likelihood, context)?;
        if let Some(reads) = selected.permit.as_ref().and_then(|permit| permit.due) {
            log::fallback(self.server(&selected).node.addr(), reads);
        }
        Ok(selected)
    }

    /// Decides whether a call without a candidate waits for one, or ends.
    #[cold]
    fn wait_or_end(&mut self, reason: NoSelection) -> Next<'c> {
        let error = |call: &Self| no_server(reason, call.request, call.options.read_from, call.affinity);
        match reason {
            NoSelection::Later if self.lacks_master() => Next::Done(self.failures.or(error(self))),
            NoSelection::Later => match self.failures.end_round(self.topology.is_settled(), self.is_connecting) {
                Some(error) => Next::Done(error),
                // All servers were tried, or none is known yet: start over after a pause.
                None => Next::Wait(Wait::Topology(self.deadline.next_pause(rand::random()))),
            },
            NoSelection::NoPermit => {
                let until = self.deadline.permit_end(self.router.selector.permits.longest_wait());
                if self.waits_for_permit && self.deadline.now() >= until {
                    return Next::Done(self.failures.or(error(self)));
                }
                self.waits_for_permit = true;
                Next::Wait(Wait::Permit(until))
            }
            NoSelection::Never | NoSelection::NotInSet | NoSelection::CannotProve => {
                Next::Done(self.failures.or(error(self)))
            }
        }
    }

    /// Returns whether a connection to the master is wanted, and the set is known to have none: only requests wait for one.
    fn lacks_master(&self) -> bool {
        let wants_master = self.is_connecting && !self.request.is_read() && matches!(self.affinity, Affinity::Any);
        wants_master && self.topology.is_settled() && self.topology.master().is_none()
    }

    /// Returns the error of a call that has no time left.
    #[cold]
    fn out_of_time(&mut self, around: &impl Around) -> Error {
        if self.waits_for_permit {
            let error = no_server(NoSelection::NoPermit, self.request, self.options.read_from, self.affinity);
            return self.failures.or(error);
        }
        let no_time = || self.router.no_time(self.request, self.deadline.has_waited(), around.why_master());
        self.failures.last().unwrap_or_else(no_time)
    }

    fn withdraw(&self) -> bool {
        // Of the present topology: calls that count the answers of an older one would deposit those of a removed node.
        self.router.budget.withdraw(|| self.router.store.current().answered(), self.deadline.now())
    }

    pub(super) fn server(&self, selected: &Selected<'_>) -> &Assigned {
        &self.topology.servers()[selected.position]
    }
}
