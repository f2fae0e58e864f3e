//! Which node an attempt goes to: routing says who may serve, the strategy picks.

use super::clock::Clock;
use super::guard::Guard;
use super::{Aim, ReplicatedClient};
use crate::addr::NodeAddr;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};
use crate::selection::{Permit, ReadFrom};
use crate::strategy::Candidates;
use crate::topology::{Choice, LeftOut, Need, NoChoice, Topology};

/// Why there is no node for an attempt now.
#[derive(Debug)]
pub(super) enum NoPick {
    /// All were tried, or nobody is known yet: after a wait there may be one.
    Later,
    /// Only the master can serve this, and has enough of such reads at the moment; the error if that stays so.
    Full(Error),
    /// There will be none.
    Never(Error),
}

/// The node of an attempt.
#[derive(Debug)]
pub(super) struct Picked<'a> {
    /// Its place in the list of members.
    pub(super) position: usize,
    /// There is another node to turn to if this attempt fails.
    pub(super) has_more: bool,
    /// Held by a fallback read as long as it runs.
    _permit: Option<Permit<'a>>,
}

impl ReplicatedClient {
    /// Picks the node of the next attempt.
    #[inline]
    pub(super) fn pick<'a>(
        &'a self,
        topology: &Topology,
        guard: &Guard<'_>,
        aim: Aim<'_>,
        clock: &Clock,
        left_out: LeftOut,
    ) -> Result<Picked<'a>, NoPick> {
        let is_new = |position: &usize| clock.attempt() == 0 && !left_out.contains(*position);
        let (aimed, is_free) = match aim {
            Aim::Any => (None, true),
            Aim::First(addr) => (topology.find(addr).filter(is_new), true),
            Aim::Only { node, .. } => (Some(the_only_one(topology, guard, node)?), false),
        };
        if let Some(position) = aimed {
            let picked = Picked { position, has_more: is_free && topology.servers().len() > 1, _permit: None };
            return Some(picked).filter(|picked| !left_out.contains(picked.position)).ok_or(NoPick::Later);
        }
        self.pick_any(topology, guard, clock, left_out)
    }

    #[inline]
    fn pick_any<'a>(
        &'a self,
        topology: &Topology,
        guard: &Guard<'_>,
        clock: &Clock,
        left_out: LeftOut,
    ) -> Result<Picked<'a>, NoPick> {
        let (request, read_from, hint) = (guard.request(), self.options.read_from, guard.hint(clock.now()));
        let left_for_good = guard.has_turned_away();
        // Twice only if others took the last room for fallback reads in between.
        for may_fall_back in [true, false] {
            let need =
                Need { is_read: request.is_read(), read_from, may_fall_back, hint, presumes: false, left_for_good };
            let mut choice = match topology.choose(need, clock.now(), left_out) {
                Ok(choice) => choice,
                Err(NoChoice::Later) => return Err(NoPick::Later),
                Err(NoChoice::Protected) => return Err(NoPick::Full(protected(request))),
                Err(NoChoice::Nobody) => return Err(NoPick::Never(nobody(request, read_from))),
            };
            let permit = if choice.is_fallback {
                let permit = self.shared.permits.begin(choice.candidates.at(0).addr(), clock.now());
                if permit.is_none() {
                    continue;
                }
                permit
            } else {
                None
            };
            choice.ease_in(clock.now(), self.shared.strategy.needs_latency(), rand::random);
            let position = self.pick_among(topology, &mut choice, request.key, clock);
            let picked = |position| Picked { position, has_more: choice.has_more, _permit: permit };
            return position.map(picked).ok_or(NoPick::Later);
        }
        Err(NoPick::Full(protected(request)))
    }

    /// Lets the strategy pick, and checks that it picked a candidate. Candidates are members: there always is a position.
    #[inline]
    pub(super) fn pick_among<'a>(
        &self,
        topology: &'a Topology,
        choice: &mut Choice<'a>,
        key: Option<&'a [u8]>,
        clock: &Clock,
    ) -> Option<usize> {
        let candidates: &mut Candidates<'a> = &mut choice.candidates;
        if let [only] = *candidates.as_slice() {
            // No choice: writes must not use up the turns of reads.
            return topology.position(only);
        }
        candidates.describe(key, clock.now(), clock.attempt());
        let mut node = self.shared.strategy.pick(candidates);
        if !candidates.contains(node) {
            tracing::error!(strategy = ?self.shared.strategy, picked = %node.addr(), "strategy picked a node that is not a candidate");
            node = candidates.at(0);
        }
        topology.position(node)
    }
}

#[cold]
fn nobody(request: &Request<'_>, read_from: ReadFrom) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no node may serve {request} (read from {read_from})"))
}

#[cold]
fn protected(request: &Request<'_>) -> Error {
    let text = format!("no replica can serve {request}, and the master has enough of such reads (fallback_limit)");
    Error::new(ErrorKind::Unavailable, text)
}

/// Finds the node that a call has to go to.
fn the_only_one(topology: &Topology, guard: &Guard<'_>, node: &NodeAddr) -> Result<usize, NoPick> {
    let request = guard.request();
    let position = topology.find(node).ok_or_else(|| NoPick::Never(gone(request, node)))?;
    if guard.left_out(topology).contains(position) {
        let text =
            format!("{request} goes on at a replica, and only the master can prove what the session has seen since");
        return Err(NoPick::Never(Error::new(ErrorKind::Unavailable, text).on(node)));
    }
    Ok(position)
}

#[cold]
fn gone(request: &Request<'_>, node: &NodeAddr) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the node that {request} began on left the set")).on(node)
}
