//! What went wrong with one call so far, as far as it decides whether the call goes on and who is to blame.

use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;

use crate::node::Outcome;
use crate::routing::{Fault, Reply, Verdict};
use crate::topology::{Member, Peer};

/// A request that was sent and got no complete reply is sent so often in all: perhaps no node can answer it.
const MOST_SENDINGS: usize = 3;

/// The failed attempts of one call.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    /// The nodes that took a read and did not answer it. They are blamed once another attempt is answered: before that it
    /// may be the command that nobody can answer.
    silent: ArrayVec<Arc<Peer>, MOST_SENDINGS>,
    /// Attempts since all candidates were tried the last time, and how many of them met a refused login.
    attempts: u32,
    refused_logins: u32,
}

impl Setbacks {
    /// Counts an attempt. Returns what becomes of it, and what it says of its node for now.
    #[inline]
    pub(super) fn count(
        &mut self,
        member: &Member,
        attempt: &Result<Reply, Fault>,
        judged: (Verdict, Option<Outcome>),
    ) -> (Verdict, Option<Outcome>) {
        match attempt {
            Ok(_) => judged,
            Err(fault) => self.count_fault(member, fault, judged),
        }
    }

    #[cold]
    fn count_fault(
        &mut self,
        member: &Member,
        fault: &Fault,
        (verdict, outcome): (Verdict, Option<Outcome>),
    ) -> (Verdict, Option<Outcome>) {
        self.attempts += 1;
        self.refused_logins += u32::from(fault.is_refusal_by_server());
        if !fault.is_loss() || verdict == Verdict::GiveUp {
            return (verdict, outcome);
        }
        member.node.count_failure();
        let has_room = self.silent.try_push(Arc::clone(&member.peer)).is_ok();
        let is_last = !has_room || self.silent.is_full();
        (if is_last { Verdict::GiveUp } else { verdict }, None)
    }

    /// Blames the nodes that did not answer what was answered now.
    #[inline]
    pub(super) fn blame(&self, now: Instant) {
        self.silent.iter().for_each(|peer| peer.record_loss(now));
    }

    /// All candidates were tried. Returns whether each of them refused the login, so that waiting changes nothing.
    pub(super) fn end_round(&mut self) -> bool {
        let is_hopeless = self.attempts > 0 && self.refused_logins == self.attempts;
        (self.attempts, self.refused_logins) = (0, 0);
        is_hopeless
    }
}
