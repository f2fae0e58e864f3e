//! Selecting the server of one attempt: affinity, candidates, permit, strategy.

use super::decide::{Contender, Contenders, Excluded, Moment, Need, NoSelection, Suits, decide, pick};
use super::permits::{Permit, Permits};
use crate::addr::NodeAddr;
use crate::strategy::Strategy;

/// The server that a call prefers or must have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Affinity<'a> {
    /// Any candidate.
    Any,
    /// This server, and any candidate if it fails.
    First(&'a NodeAddr),
    /// This server and no other.
    Only(&'a NodeAddr),
}

/// What all calls of a client share to select by.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) strategy: Box<dyn Strategy>,
    pub(crate) permits: Permits,
}

/// The server of one attempt.
#[derive(Debug)]
pub(crate) struct Selected<'p> {
    /// Its place among the servers of the topology.
    pub(crate) position: usize,
    /// Another server is left if this attempt fails.
    pub(crate) has_more: bool,
    /// Held as long as a fallback read runs.
    permit: Option<Permit<'p>>,
}

impl Selected<'_> {
    /// Returns how many fallback reads there were since the last event about them, if another one is due.
    #[inline]
    pub(crate) fn fallback_reads_due(&self) -> Option<u64> {
        self.permit.as_ref()?.due
    }
}

impl Selector {
    /// Selects the server of an attempt. A fallback read takes a permit; the others only count as in flight once they run.
    #[inline]
    pub(crate) fn select<'a, S: Contender>(
        &self,
        set: &Contenders<'a, S>,
        need: Need,
        affinity: Affinity<'_>,
        excluded: Excluded,
        suits: impl Fn(&S) -> Suits,
        moment: Moment<'a>,
    ) -> Result<Selected<'_>, NoSelection> {
        let at = |addr: &NodeAddr| set.servers.iter().position(|server| server.node().addr() == addr);
        let (wanted, is_free) = match affinity {
            Affinity::Any => (None, true),
            Affinity::First(addr) if moment.attempt == 0 => (at(addr).filter(|at| !excluded.contains(*at)), true),
            Affinity::First(_) => (None, true),
            Affinity::Only(addr) => (Some(at(addr).ok_or(NoSelection::Gone)?), false),
        };
        match wanted {
            None => self.select_any(set, need, excluded, suits, moment),
            Some(position) if !is_free && suits(&set.servers[position]) == Suits::Unable => Err(NoSelection::Unable),
            Some(position) if excluded.contains(position) => Err(NoSelection::Later),
            Some(position) => Ok(Selected { position, has_more: is_free && set.servers.len() > 1, permit: None }),
        }
    }

    #[inline]
    fn select_any<'a, S: Contender>(
        &self,
        set: &Contenders<'a, S>,
        mut need: Need,
        excluded: Excluded,
        suits: impl Fn(&S) -> Suits,
        moment: Moment<'a>,
    ) -> Result<Selected<'_>, NoSelection> {
        loop {
            let mut selection = decide(set, need, excluded, &suits, moment.now)?;
            let permit = if selection.is_fallback { self.permits.take(moment.now) } else { None };
            if selection.is_fallback && permit.is_none() {
                if !need.may_fall_back {
                    return Err(NoSelection::NoPermit);
                }
                // Without a permit, replicas that lag may still serve.
                need.may_fall_back = false;
                continue;
            }
            selection.slow_start(moment.now, self.strategy.needs_latency(), rand::random);
            let position = pick(set, &mut selection, &*self.strategy, moment);
            let selected = |position| Selected { position, has_more: selection.has_more, permit };
            return position.map(selected).ok_or(NoSelection::Later);
        }
    }
}
