//! The failed attempts of one call: they decide whether the call continues, and which nodes are blamed.

use arrayvec::ArrayVec;

use super::deadline::Deadline;
use super::fault::{Fault, Stage};
use super::verdict::Verdict;
use crate::addr::NodeAddr;
use crate::error::Error;
use crate::node::{Node, Outcome};

/// How often a request is sent if it never gets a complete reply: perhaps no node can answer it.
const MAX_SENDS: usize = 3;

/// The failed attempts of one call.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The nodes that received a read and did not answer it. They are blamed once another node has answered it: before that,
    /// the command itself may be what no node can answer.
    pub(crate) unresponsive: ArrayVec<NodeAddr, MAX_SENDS>,
    /// How often the request was sent and got no complete reply, also where that says nothing about the node.
    losses: usize,
    /// The attempts of this round.
    attempts: u32,
    /// Those of them that ended with a refused login or certificate.
    refusals: u32,
    /// The last one did.
    is_refused: bool,
    /// Those of them that met a replica which gives no evidence.
    without_evidence: u32,
    /// The error of the last attempt.
    pub(crate) error: Option<Error>,
    /// The error reply of a first node, for which another node is asked once.
    pub(crate) first_answer: Option<Error>,
}

impl Failures {
    /// Records a fault. Returns the verdict, and what the fault says about the node for now.
    #[cold]
    pub(crate) fn record(
        &mut self,
        node: &Node,
        fault: &Fault,
        deadline: &mut Deadline,
        (verdict, outcome): (Verdict, Option<Outcome>),
    ) -> (Verdict, Option<Outcome>) {
        self.attempts += 1;
        self.is_refused = fault.is_refusal();
        self.refusals += u32::from(self.is_refused);
        self.without_evidence += u32::from(fault.stage == Stage::NoEvidence);
        if !fault.is_loss() || verdict == Verdict::GiveUp {
            return (verdict, outcome);
        }
        deadline.record_loss();
        self.losses += 1;
        // An idle connection that died, or one that was withdrawn, says nothing about the node.
        if outcome.is_some() {
            node.count_failure();
            let _ = self.unresponsive.try_push(node.addr().clone());
        }
        let verdict = match (self.losses, verdict) {
            (MAX_SENDS.., _) => Verdict::GiveUp,
            // The last time, another node is asked: this one lost it on several connections.
            (2.., Verdict::SameNode) => Verdict::Elsewhere,
            _ => verdict,
        };
        (verdict, None)
    }

    /// Ends a round, after all candidates were tried. Returns the error if waiting cannot help: each candidate refused the login
    /// or the certificate, none of them gives evidence, or no other server is left to improve on an error reply.
    /// `is_settled`: the monitor has found the master. `one_is_enough`: a refusal of the last candidate ends the call.
    pub(crate) fn end_round(&mut self, is_settled: bool, one_is_enough: bool) -> Option<Error> {
        let all = [self.refusals, self.without_evidence].contains(&self.attempts);
        let is_refused = self.attempts > 0 && (all || (one_is_enough && self.is_refused));
        (self.attempts, self.refusals, self.without_evidence) = (0, 0, 0);
        let answer = self.first_answer.take_if(|_| is_settled || is_refused);
        answer.or_else(|| self.error.take_if(|_| is_refused))
    }

    /// Returns the error of a call that has no time left, if there was an attempt.
    pub(crate) fn last(&mut self) -> Option<Error> {
        self.first_answer.take().or_else(|| self.error.take())
    }

    /// Returns the error of a call that gets no further attempt: `error`, with that of the last attempt as its cause.
    pub(crate) fn or(&mut self, error: Error) -> Error {
        self.first_answer.take().unwrap_or_else(|| error.after(self.error.as_ref()))
    }
}
