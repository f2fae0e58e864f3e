//! What a session has seen, by the server's own account of its history.

use super::memory::{Place, Requirement, Session, State, Step};
use crate::replication::{Ancestry, Evidence, Position, Proof, Relation};
use crate::session::loss::Loss;
use crate::session::token::Seen;

impl Session {
    /// A replica proved the demand, and its reply is handed out: from now on the session has seen all that it contains. Unless
    /// the caller is to be told something: a write of another thread has found out meanwhile.
    pub(crate) fn read_from_replica(&self, evidence: &Evidence, ancestry: &Ancestry) -> Step {
        let mut state = self.0.lock();
        if let Some(loss) = state.loss.take() {
            return Step::Tell(loss);
        }
        match state.seen {
            Seen::At(seen) if !evidence.contains(seen, ancestry) => {
                // Another call of the session has seen more since this one began; or something else, without what this has.
                match ancestry.relate(evidence.position, seen.history) {
                    Relation::Contained => Step::Accept,
                    Relation::Lost | Relation::Unknown => Step::Wait,
                }
            }
            Seen::Nothing | Seen::At(_) => {
                state.seen = Seen::At(evidence.position);
                Step::Accept
            }
            // Only the master serves those.
            Seen::Fence(_) | Seen::Unknown => Step::Accept,
        }
    }

    /// The master answered a read. `waits`: the monitor has not asked everybody since the call began, and may learn more.
    pub(crate) fn read_from_master(
        &self,
        requirement: &Requirement,
        evidence: &Evidence,
        ancestry: &Ancestry,
        waits: bool,
    ) -> Step {
        let is_behind =
            |seen: Position| seen.history == evidence.position.history && evidence.position.offset < seen.offset;
        let mut state = self.0.lock();
        let found = state.missing(evidence, ancestry);
        // Not the set's master any more: what it says of the session matters to nobody.
        let is_out = ancestry.is_not_current(evidence.position.history);
        let may_wait = match found {
            Some(Loss::Unproven) => is_out || waits,
            Some(Loss::History | Loss::Lost) => is_out,
            None => false,
        };
        if may_wait || state.has_outlived(evidence, ancestry) {
            return Step::Wait;
        }
        let has_gone_back = matches!(requirement.seen, Seen::At(seen) if is_behind(seen));
        state.go_on(requirement, evidence, ancestry);
        if has_gone_back {
            state.seen = Seen::At(evidence.position);
            state.written = state.written.map(|written| written.min(evidence.position.offset));
        }
        let told = if has_gone_back { Some(Loss::Unproven) } else { found };
        // A write of another thread may have found out since this call began.
        told.max(state.loss.take()).map_or(Step::Accept, Step::Tell)
    }

    /// The master answered a write. What it proves to be lost is told at the next read: the write has its own result, and an
    /// error would invite a second one.
    pub(crate) fn wrote(&self, requirement: &Requirement, evidence: &Evidence, ancestry: &Ancestry) -> Option<Loss> {
        let mut state = self.0.lock();
        let found = state.missing(evidence, ancestry);
        let mut open = None;
        if found == Some(Loss::Unproven) {
            // The next read finds out.
            open = state.open;
            let place = state.place().filter(|place| place.missing_in(evidence, ancestry).is_some());
            if let Some(place) = place {
                // Two such places are more than anybody will find out about.
                state.loss = state.loss.max(open.map(|_| Loss::Unproven));
                open = open.or(Some(place));
            }
        } else {
            state.loss = state.loss.max(found);
        }
        state.go_on(requirement, evidence, ancestry);
        state.open = open;
        // Where a late answer comes from an earlier history, offsets go on in the present one.
        state.written = state.written.max(Some(evidence.position.offset));
        found.filter(|found| *found != Loss::Unproven)
    }
}

impl State {
    /// Returns what of that which was seen the master does not have. `None`: it has all of it, or nothing was seen.
    fn missing(&self, master: &Evidence, ancestry: &Ancestry) -> Option<Loss> {
        self.place().into_iter().chain(self.open).filter_map(|place| place.missing_in(master, ancestry)).max()
    }

    /// Goes on where the master is, unless more was seen already.
    fn go_on(&mut self, requirement: &Requirement, master: &Evidence, ancestry: &Ancestry) {
        let position = master.position;
        let open = self.open.take();
        let is_past = |seen: Position| {
            let is_later = seen.history == position.history && seen.offset > position.offset;
            is_later || succeeds(seen, master, ancestry)
        };
        if self.seen.position().is_some_and(is_past) {
            self.written = self.written.max(open.and_then(|open| open.written));
        } else {
            let kept = |place: Place| place.kept_by(master, ancestry);
            self.written = self.place().into_iter().chain(open).filter_map(kept).max();
            self.seen = Seen::At(position);
            if requirement.doubts > self.settled {
                // One that was in doubt may be in there.
                self.written = Some(position.offset);
            }
        }
        self.settled = self.settled.max(requirement.doubts);
    }

    /// Tells whether the session has seen what a successor of this master wrote: what this one has is old.
    fn has_outlived(&self, master: &Evidence, ancestry: &Ancestry) -> bool {
        self.seen.position().is_some_and(|seen| succeeds(seen, master, ancestry))
    }
}

impl Place {
    /// Returns what of it the master does not have.
    fn missing_in(self, master: &Evidence, ancestry: &Ancestry) -> Option<Loss> {
        let (seen, position) = (self.position, master.position);
        match master.prove(seen) {
            Proof::Contained => None,
            Proof::Lost => Some(self.lost_by(master, ancestry)),
            // Another call has seen more of it meanwhile.
            Proof::Open if seen.history == position.history => None,
            Proof::Open => match ancestry.relate(seen, position.history) {
                Relation::Contained => None,
                Relation::Lost => Some(self.lost_by(master, ancestry)),
                // An answer of long ago, from a master whose successor was seen meanwhile.
                Relation::Unknown if !ancestry.is_current(position.history) => {
                    match ancestry.relate(position, seen.history) {
                        Relation::Contained => None,
                        // What was written there.
                        Relation::Lost => Some(Loss::Lost),
                        Relation::Unknown => Some(Loss::Unproven),
                    }
                }
                Relation::Unknown => Some(Loss::Unproven),
            },
        }
    }

    fn lost_by(self, master: &Evidence, ancestry: &Ancestry) -> Loss {
        let diverged_at = self.diverged_from(master, ancestry).unwrap_or(0);
        if self.written.is_some_and(|written| written >= diverged_at) { Loss::Lost } else { Loss::History }
    }

    /// Returns up to where the master has what the session wrote: offsets go on through promotions.
    fn kept_by(self, master: &Evidence, ancestry: &Ancestry) -> Option<u64> {
        let diverged_at = self.diverged_from(master, ancestry)?;
        self.written.map(|written| written.min(diverged_at.saturating_sub(1)))
    }

    /// Returns the first offset of its history that the master does not have.
    fn diverged_from(self, master: &Evidence, ancestry: &Ancestry) -> Option<u64> {
        ancestry.diverged_at(self.position.history, &master.history())
    }
}

/// Tells whether this was seen in the history of a successor. The master in office has none, whoever took itself for one.
fn succeeds(seen: Position, master: &Evidence, ancestry: &Ancestry) -> bool {
    let position = master.position;
    seen.history != position.history
        && !ancestry.is_current(position.history)
        && master.prove(seen) == Proof::Open
        && ancestry.relate(seen, position.history) == Relation::Unknown
        && ancestry.relate(position, seen.history) != Relation::Unknown
}

#[cfg(test)]
mod tests;
