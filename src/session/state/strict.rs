//! Strict sessions: the position in the replication history that a server reports by `INFO` proves what it contains.

use super::memory::{Acceptance, HistoryMark, Requirement, Session, State};
use crate::replication::{Ancestry, Evidence, Position, Proof, Relation};
use crate::session::token::{Loss, Watermark};

impl Session {
    /// Records a read from a replica that has proven the requirement: from now on the session has seen all that the replica
    /// contains. Reports a loss instead, if a write of another thread has found one meanwhile.
    pub(crate) fn read_from_replica(&self, evidence: &Evidence, ancestry: &Ancestry) -> Acceptance {
        let mut state = self.0.lock();
        if let Some(loss) = state.loss.take() {
            return Acceptance::Report(loss);
        }
        match state.watermark {
            Watermark::At(seen) if !evidence.contains(seen, ancestry) => {
                // Another call has seen more since this one began, or another history, which may not contain this reply.
                match ancestry.relate(evidence.position, seen.history) {
                    Relation::Contained => Acceptance::Accept,
                    Relation::Lost | Relation::Unknown => Acceptance::NotProven,
                }
            }
            Watermark::Nothing | Watermark::At(_) => {
                state.watermark = Watermark::At(evidence.position);
                Acceptance::Accept
            }
            // Replicas do not serve such sessions.
            Watermark::Fence(_) | Watermark::Unknown => Acceptance::Accept,
        }
    }

    /// Records a read from the master. `may_learn_more`: the monitor has not asked all nodes since the call began.
    pub(crate) fn read_from_master(
        &self,
        requirement: &Requirement,
        evidence: &Evidence,
        ancestry: &Ancestry,
        may_learn_more: bool,
    ) -> Acceptance {
        let is_behind =
            |seen: Position| seen.history == evidence.position.history && evidence.position.offset < seen.offset;
        let mut state = self.0.lock();
        let found = state.missing(evidence, ancestry);
        // A former master: what it lacks may not be lost.
        let is_former = ancestry.is_not_current(evidence.position.history);
        let may_wait = match found {
            Some(Loss::Unproven) => is_former || may_learn_more,
            Some(Loss::History | Loss::Lost) => is_former,
            None => false,
        };
        if may_wait || state.has_seen_successor(evidence, ancestry) {
            return Acceptance::NotProven;
        }
        let has_gone_back = matches!(requirement.watermark, Watermark::At(seen) if is_behind(seen));
        state.advance_to(requirement, evidence, ancestry);
        if has_gone_back {
            state.watermark = Watermark::At(evidence.position);
            state.written = state.written.map(|written| written.min(evidence.position.offset));
        }
        let reported = if has_gone_back { Some(Loss::Unproven) } else { found };
        // A write of another thread may have found a loss since this call began.
        reported.max(state.loss.take()).map_or(Acceptance::Accept, Acceptance::Report)
    }

    /// Records a write that the master answered. The next read reports the loss that it proves: the write has its own result, and
    /// after an error the caller might write again.
    pub(crate) fn record_write(
        &self,
        requirement: &Requirement,
        evidence: &Evidence,
        ancestry: &Ancestry,
    ) -> Option<Loss> {
        let mut state = self.0.lock();
        let found = state.missing(evidence, ancestry);
        let mut unresolved = None;
        if found == Some(Loss::Unproven) {
            // The next read decides it.
            unresolved = state.unresolved;
            let mark = state.current().filter(|mark| mark.missing_in(evidence, ancestry).is_some());
            if let Some(mark) = mark {
                // Only one unresolved history can be remembered.
                state.loss = state.loss.max(unresolved.map(|_| Loss::Unproven));
                unresolved = unresolved.or(Some(mark));
            }
        } else {
            state.loss = state.loss.max(found);
        }
        state.advance_to(requirement, evidence, ancestry);
        state.unresolved = unresolved;
        // Offsets continue through promotions: the offset of a late reply from an earlier history holds in the current one.
        state.written = state.written.max(Some(evidence.position.offset));
        found.filter(|found| *found != Loss::Unproven)
    }
}

impl State {
    /// Returns the worst loss among what was seen. `None`: the master contains all of it.
    fn missing(&self, master: &Evidence, ancestry: &Ancestry) -> Option<Loss> {
        self.current().into_iter().chain(self.unresolved).filter_map(|mark| mark.missing_in(master, ancestry)).max()
    }

    /// Continues at the master's position, unless more was seen already.
    fn advance_to(&mut self, requirement: &Requirement, master: &Evidence, ancestry: &Ancestry) {
        let position = master.position;
        let unresolved = self.unresolved.take();
        let is_past = |seen: Position| {
            let is_later = seen.history == position.history && seen.offset > position.offset;
            is_later || is_in_successor(seen, master, ancestry)
        };
        if self.watermark.position().is_some_and(is_past) {
            self.written = self.written.max(unresolved.and_then(|unresolved| unresolved.written));
        } else {
            let kept = |mark: HistoryMark| mark.kept_by(master, ancestry);
            self.written = self.current().into_iter().chain(unresolved).filter_map(kept).max();
            self.watermark = Watermark::At(position);
            if requirement.doubts > self.settled_doubts {
                // The position may contain a write that was in doubt.
                self.written = Some(position.offset);
            }
        }
        self.settled_doubts = self.settled_doubts.max(requirement.doubts);
    }

    /// Returns whether the session has seen the history of this master's successor, so that its data is old.
    fn has_seen_successor(&self, master: &Evidence, ancestry: &Ancestry) -> bool {
        self.watermark.position().is_some_and(|seen| is_in_successor(seen, master, ancestry))
    }
}

impl HistoryMark {
    /// Returns what the master lacks of it.
    fn missing_in(self, master: &Evidence, ancestry: &Ancestry) -> Option<Loss> {
        let (seen, position) = (self.position, master.position);
        match master.prove(seen) {
            Proof::Contained => None,
            Proof::Lost => Some(self.lost_by(master, ancestry)),
            // The same history, of which another call has seen more meanwhile.
            Proof::Open if seen.history == position.history => None,
            Proof::Open => match ancestry.relate(seen, position.history) {
                Relation::Contained => None,
                Relation::Lost => Some(self.lost_by(master, ancestry)),
                // A late reply from a master whose successor was seen meanwhile.
                Relation::Unknown if !ancestry.is_current(position.history) => {
                    match ancestry.relate(position, seen.history) {
                        Relation::Contained => None,
                        // The late reply's own write is not in the successor's history.
                        Relation::Lost => Some(Loss::Lost),
                        Relation::Unknown => Some(Loss::Unproven),
                    }
                }
                Relation::Unknown => Some(Loss::Unproven),
            },
        }
    }

    /// Returns whether the master lacks something that the session wrote, or only something that it read.
    fn lost_by(self, master: &Evidence, ancestry: &Ancestry) -> Loss {
        let diverged_at = self.diverged_from(master, ancestry).unwrap_or(0);
        if self.written.is_some_and(|written| written >= diverged_at) { Loss::Lost } else { Loss::History }
    }

    /// Returns the offset up to which the master has what the session wrote: offsets continue through promotions.
    fn kept_by(self, master: &Evidence, ancestry: &Ancestry) -> Option<u64> {
        let diverged_at = self.diverged_from(master, ancestry)?;
        self.written.map(|written| written.min(diverged_at.saturating_sub(1)))
    }

    /// Returns the first offset of its history that the master does not have.
    fn diverged_from(self, master: &Evidence, ancestry: &Ancestry) -> Option<u64> {
        ancestry.diverged_at(self.position.history, &master.history())
    }
}

/// Returns whether a position belongs to the history of this master's successor. The set's current master has none, even if
/// another node claimed to be one.
fn is_in_successor(seen: Position, master: &Evidence, ancestry: &Ancestry) -> bool {
    let position = master.position;
    seen.history != position.history
        && !ancestry.is_current(position.history)
        && master.prove(seen) == Proof::Open
        && ancestry.relate(seen, position.history) == Relation::Unknown
        && ancestry.relate(position, seen.history) != Relation::Unknown
}

#[cfg(test)]
mod tests;
