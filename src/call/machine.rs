//! One call, without I/O: which server comes next, what its answer means, when to wait, when to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::around::Around;
use super::message;
use super::router::{CallOptions, Router};
use crate::classification::Request;
use crate::error::Error;
use crate::events;
use crate::retry::{Deadline, Failures, Fault, Reply, Setting, Verdict, judge, judge_fault, refused};
use crate::selection::{Affinity, Exclusions, Moment, Need, NoSelection, ReadFrom, Selected};
use crate::topology::{Assigned, Topology};

/// A request that was refused for now is not sent again with less time left: it is certain that it was not executed, and
/// would not be once a reply is late.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// One call on its way.
pub(super) struct Call<'c> {
    pub(super) router: &'c Router,
    request: &'c Request<'c>,
    options: CallOptions,
    affinity: Affinity<'c>,
    /// The picture that the call works with, until it has waited.
    pub(super) topology: Arc<Topology>,
    pub(super) deadline: Deadline,
    exclusions: Exclusions,
    /// The same server is asked again.
    again: Option<Selected<'c>>,
    failures: Failures,
    /// The next attempt is no retry: the last server was behind, or may not do what another may.
    is_free: bool,
    /// The call last waited for a permit.
    waits_for_permit: bool,
    /// The last attempt was refused, certainly not executed, and for the moment only.
    is_refused_for_now: bool,
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
    /// Another topology, at most for so long.
    Topology(Duration),
    /// A permit for a fallback read, until then.
    Permit(Instant),
    /// The retry budget.
    Pause(Duration),
}

/// What a call is for.
pub(crate) trait Obtained {
    /// Returns the server's reply, if this is one.
    fn reply(&mut self) -> Option<&mut Reply> {
        None
    }
}

/// How a call ends that does not answer.
#[derive(Debug)]
pub(crate) enum Stop {
    Error(Error),
    /// A replica took the command at this position for a write: all of it is one.
    IsWrite {
        position: usize,
        refused: Error,
        /// The time that is left.
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
    ) -> Self {
        Self {
            router,
            request,
            options,
            affinity,
            topology: router.store.current(),
            deadline: Deadline::start(options.deadline, now),
            exclusions: Exclusions::default(),
            again: None,
            failures: Failures::default(),
            is_free: true,
            waits_for_permit: false,
            is_refused_for_now: false,
        }
    }

    /// Returns what to do now.
    #[inline]
    pub(super) fn next(&mut self, around: &impl Around, now: Instant) -> Next<'c> {
        self.deadline.advance(now);
        let has_no_chance =
            self.is_refused_for_now && self.deadline.left() < LAST_CHANCE.min(self.options.deadline / 8);
        if has_no_chance || !self.deadline.goes_on() {
            return Next::Done(self.out_of_time(around));
        }
        let selected = match self.again.take().map_or_else(|| self.select(around), Ok) {
            Ok(selected) => selected,
            Err(nobody) => return self.wait_or_end(nobody),
        };
        self.waits_for_permit = false;
        if self.is_free || self.may_retry() {
            Next::Attempt(selected)
        } else {
            // Nothing is held meanwhile.
            Next::Wait(Wait::Pause(self.deadline.next_pause(rand::random())))
        }
    }

    /// Goes on with another topology, after a wait for one or for a permit.
    pub(super) fn resume(&mut self, topology: Arc<Topology>) {
        self.topology = topology;
        let servers = self.topology.servers();
        self.exclusions.begin_round(servers);
        if !self.topology.is_settled() {
            // Those that lost the request, as long as it is not known who else may serve it.
            let silent = &self.failures.silent;
            self.exclusions.exclude(servers, |server| silent.contains(server.node.addr()));
        }
    }

    /// Records what an attempt came to: all that happened to it is known here. Returns the end of the call, if this is it.
    #[inline]
    pub(super) fn record<T: Obtained>(
        &mut self,
        selected: Selected<'c>,
        mut attempt: Result<T, Fault>,
        clock: impl FnOnce() -> Instant,
    ) -> Option<Result<T, Stop>> {
        let has_new_master = &|| self.router.store.has_new_master();
        let server = &self.topology.servers()[selected.position];
        let is_second = self.failures.first_answer.is_some();
        let setting = Setting { assigned_role: server.assigned_role, is_second, has_new_master };
        let (verdict, outcome) = match &mut attempt {
            Ok(obtained) => match obtained.reply() {
                Some(reply) => judge(self.request, reply, setting),
                None => (Verdict::Answer, None),
            },
            Err(fault) => {
                let judged = judge_fault(self.request, fault);
                self.failures.count(&server.node, fault, &mut self.deadline, judged)
            }
        };
        match (verdict, attempt) {
            (Verdict::Answer, Ok(mut obtained)) => {
                if let Some(reply) = obtained.reply() {
                    self.conclude(server, reply);
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
                self.deadline.end_attempt();
                self.deadline.advance(clock());
                if let Some(outcome) = outcome {
                    self.router.record_failure(server, outcome, self.deadline.now());
                }
                tracing::debug!(node = %server.node.addr(), command = %self.request, attempt = self.deadline.attempt(), ?verdict, %error, "attempt failed");
                self.turn(selected, verdict, error).map(Err)
            }
        }
    }

    /// Records an answer, and what it says of the servers that were asked before.
    #[inline]
    fn conclude(&self, server: &Assigned, reply: &mut Reply) {
        if !self.failures.silent.is_empty() {
            self.blame_silent();
        }
        server.record_answer();
        if let Some(first) = &self.failures.first_answer {
            message::compare_rights(&self.topology, first, reply, self.deadline.now());
        }
        reply.hide_arguments(self.request);
    }

    /// Blames the servers that did not answer what was answered now.
    #[cold]
    fn blame_silent(&self) {
        let silent = self.failures.silent.iter().filter_map(|addr| self.topology.find(addr));
        silent.for_each(|position| self.topology.servers()[position].record_loss(self.deadline.now()));
    }

    /// Decides where the call goes after a failed attempt. Returns the end of the call, if this is it.
    #[cold]
    fn turn(&mut self, selected: Selected<'c>, verdict: Verdict, error: Error) -> Option<Stop> {
        let position = selected.position;
        self.is_refused_for_now = verdict == Verdict::Later;
        self.is_free = matches!(verdict, Verdict::Behind | Verdict::Another | Verdict::Master);
        match verdict {
            Verdict::GiveUp | Verdict::Answer => return Some(Stop::Error(error)),
            Verdict::Write { position } => {
                return Some(Stop::IsWrite { position, refused: error, left: self.deadline.left() });
            }
            Verdict::SameNode => self.again = Some(selected),
            Verdict::Elsewhere => self.exclusions.now.insert(position),
            Verdict::Another | Verdict::Master => {
                self.exclusions.turn_from(self.topology.servers(), position, verdict == Verdict::Master);
                self.failures.first_answer = Some(error.clone());
            }
            // It waits before the next attempt.
            Verdict::Later => self.exclusions.exclude(self.topology.servers(), |_| true),
            Verdict::Behind => self.exclude_behind(position),
        }
        self.failures.error = Some(error);
        None
    }

    /// Excludes a server that lacks what is asked for: after a second one, and where there are too many second attempts, all
    /// replicas, so that the master is next.
    fn exclude_behind(&mut self, position: usize) {
        let is_second = !self.exclusions.now.is_empty();
        self.exclusions.now.insert(position);
        let may_ask_another = !is_second && self.withdraw();
        // While the master is out, there may be nobody but the replicas.
        let serves = |master: usize| !self.topology.servers()[master].node.is_ejected();
        let has_last_word = self.topology.master().is_some_and(serves) && self.options.read_from != ReadFrom::Replica;
        if !may_ask_another && has_last_word {
            self.exclusions.exclude_replicas(self.topology.servers());
        }
    }

    /// Selects the server of the next attempt.
    #[inline]
    fn select(&self, around: &impl Around) -> Result<Selected<'c>, NoSelection> {
        let need = Need {
            is_read: self.request.is_read(),
            read_from: self.options.read_from,
            may_fall_back: true,
            presumes_master: false,
            excludes_for_good: self.exclusions.are_for_good(),
        };
        let now = self.deadline.now();
        let moment = Moment { now, attempt: self.deadline.attempt(), key: self.request.key };
        let suits = |server: &Assigned| around.rank(&self.topology, server, now);
        let (set, selector) = (self.topology.contenders(), &self.router.selector);
        let selected = selector.select(&set, need, self.affinity, self.exclusions.now, suits, moment)?;
        if let Some(reads) = selected.fallback_reads_due() {
            events::fallback(self.server(&selected).node.addr(), reads);
        }
        Ok(selected)
    }

    /// No server is there for an attempt: waits until there may be one, or ends the call.
    #[cold]
    fn wait_or_end(&mut self, nobody: NoSelection) -> Next<'c> {
        let error = |call: &Self| message::nobody(nobody, call.request, call.options.read_from, call.affinity);
        match nobody {
            NoSelection::Later => match self.failures.end_round(self.topology.is_settled()) {
                Some(error) => Next::Done(error),
                // All were tried once, or none is known yet: servers whose connections were killed are alive.
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
            NoSelection::Nobody | NoSelection::Gone | NoSelection::Unable => Next::Done(self.failures.or(error(self))),
        }
    }

    /// Returns what a call is told that has no time left.
    #[cold]
    fn out_of_time(&mut self, around: &impl Around) -> Error {
        if self.waits_for_permit {
            let error = message::nobody(NoSelection::NoPermit, self.request, self.options.read_from, self.affinity);
            return self.failures.or(error);
        }
        let why_master = around.why_master();
        let no_time = || message::no_time(self.router, self.request, self.deadline.has_waited(), why_master);
        self.failures.last().unwrap_or_else(no_time)
    }

    /// Returns whether there may be another attempt: reads share a budget of those, and waiting for a master is free.
    fn may_retry(&self) -> bool {
        !self.request.is_read() || self.withdraw()
    }

    fn withdraw(&self) -> bool {
        self.router.budget.withdraw(|| self.topology.answered(), self.deadline.now())
    }

    pub(super) fn server(&self, selected: &Selected<'_>) -> &Assigned {
        &self.topology.servers()[selected.position]
    }
}
