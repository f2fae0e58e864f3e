//! What went wrong with one call so far, as far as it decides whether the call goes on and who is to blame.

use arrayvec::ArrayVec;

use super::deadline::Deadline;
use super::fault::{Fault, Stage};
use super::verdict::Verdict;
use crate::addr::NodeAddr;
use crate::error::Error;
use crate::node::{Node, Outcome};

/// A request that was sent and got no complete reply is sent so often in all: perhaps no node can answer it.
const MOST_SENDINGS: usize = 3;

/// The failed attempts of one call.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The nodes that took a read and did not answer it. They are blamed once another attempt is answered: before that it
    /// may be the command that nobody can answer.
    pub(crate) silent: ArrayVec<NodeAddr, MOST_SENDINGS>,
    /// Requests that were sent and got no complete reply, also those that say nothing about their node.
    losses: usize,
    /// Attempts in this round; how many of them met a refused login or certificate, and how many a replica that does not say
    /// how much it contains.
    attempts: u32,
    refusals: u32,
    without_evidence: u32,
    /// What the last attempt came to.
    pub(crate) error: Option<Error>,
    /// What a node answered that another one may better.
    pub(crate) first_answer: Option<Error>,
}

impl Failures {
    /// Counts a fault. Returns what becomes of the attempt, and what it says of its node for now.
    #[cold]
    pub(crate) fn count(
        &mut self,
        node: &Node,
        fault: &Fault,
        deadline: &mut Deadline,
        (verdict, outcome): (Verdict, Option<Outcome>),
    ) -> (Verdict, Option<Outcome>) {
        self.attempts += 1;
        self.refusals += u32::from(fault.is_refusal());
        self.without_evidence += u32::from(fault.stage == Stage::NoEvidence);
        if !fault.is_loss() || verdict == Verdict::GiveUp {
            return (verdict, outcome);
        }
        deadline.lose();
        self.losses += 1;
        // That an idle connection died, or was withdrawn, says nothing about the node.
        if outcome.is_some() {
            node.count_failure();
            let _ = self.silent.try_push(node.addr().clone());
        }
        (if self.losses < MOST_SENDINGS { verdict } else { Verdict::GiveUp }, None)
    }

    /// All candidates were tried. Returns the error where waiting changes nothing: each of them refused the login or has a bad
    /// certificate, none of them says what would prove the reply, or no server is left that might better an answer.
    /// `is_settled`: it is known which server is the master.
    pub(crate) fn end_round(&mut self, is_settled: bool) -> Option<Error> {
        let is_refused =
            self.attempts > 0 && (self.refusals == self.attempts || self.without_evidence == self.attempts);
        (self.attempts, self.refusals, self.without_evidence) = (0, 0, 0);
        let answer = self.first_answer.take_if(|_| is_settled || is_refused);
        answer.or_else(|| self.error.take_if(|_| is_refused))
    }

    /// Returns what a call is told that has no time left, if there was an attempt.
    pub(crate) fn last(&mut self) -> Option<Error> {
        self.first_answer.take().or_else(|| self.error.take())
    }

    /// Returns what a call is told that gets no further attempt, with what the last one came to.
    pub(crate) fn or(&mut self, error: Error) -> Error {
        self.first_answer.take().unwrap_or_else(|| error.after(self.error.as_ref()))
    }
}
