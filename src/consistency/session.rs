//! What the calls of one session have written and read.

use parking_lot::Mutex;

use super::token::Seen;
use super::{Evidence, Lineage, Position, Proof, Relation, Token};

/// The state of a session, shared by all clones of its handle. Nothing here does I/O.
#[derive(Debug, Default)]
pub(crate) struct Session(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    /// Seen before `seen`, in a history of which nobody has said yet how the present one goes on from it.
    open: Option<Position>,
    /// How many writes ended without anybody knowing whether they were applied; and how many of those do not matter any
    /// more, because the master has said since where it is.
    doubts: u64,
    settled: u64,
    /// What the next read is to be told.
    loss: Option<Loss>,
}

/// What a session cannot read any more.
///
/// In order: what is proven says more.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Loss {
    /// It is not known how the master's history goes on from what was seen.
    Unproven,
    /// Proven: the master went another way before it.
    Lost,
}

/// What a reply has to prove: the session as it was when the call began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    pub(crate) seen: Seen,
    doubts: u64,
    /// Only the master can prove it.
    pub(crate) needs_master: bool,
}

/// What becomes of a reply from the master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// It goes to the caller.
    Accept,
    /// The caller is told this instead; the session goes on where the master is.
    Tell(Loss),
    /// The monitor may be about to learn how the master's history began, or who is the master now.
    Wait,
}

impl Session {
    pub(crate) fn resume(token: &Token) -> Self {
        let Token { seen, in_doubt, loss } = *token;
        Self(Mutex::new(State { seen, doubts: in_doubt.into(), loss, ..State::default() }))
    }

    pub(crate) fn token(&self) -> Token {
        let state = self.0.lock();
        // A token has room for one position: what was seen before is told instead.
        let open = state.open.map(|_| Loss::Unproven);
        Token { seen: state.seen, in_doubt: state.needs_master(), loss: state.loss.max(open) }
    }

    /// Returns what the reply to a call that begins now has to prove.
    pub(crate) fn demand(&self) -> Demand {
        let state = self.0.lock();
        Demand { seen: state.seen, doubts: state.doubts, needs_master: state.needs_master() }
    }

    /// Returns, once, what the next read has to be told.
    pub(crate) fn take_loss(&self) -> Option<Loss> {
        self.0.lock().loss.take()
    }

    /// A write may or may not have been applied, and nobody has said where the master is since.
    pub(crate) fn doubt(&self) {
        self.0.lock().doubts += 1;
    }

    /// A replica proved the demand, and its reply is handed out: from now on the session has seen all that it contains. Unless
    /// the caller is to be told something: a write of another thread has found out meanwhile.
    pub(crate) fn read_from_replica(&self, evidence: &Evidence, lineage: &Lineage) -> Step {
        let mut state = self.0.lock();
        if let Some(loss) = state.loss.take() {
            return Step::Tell(loss);
        }
        match state.seen {
            Seen::At(seen) if evidence.prove(seen) != Proof::Contained => {
                // Meanwhile another call of the session has seen more.
                if lineage.relate(evidence.position, seen.history) != Relation::Contained {
                    state.doubts += 1;
                }
            }
            Seen::Nothing | Seen::At(_) => state.seen = Seen::At(evidence.position),
            // Only the master serves those.
            Seen::Unknown => {}
        }
        Step::Accept
    }

    /// The master answered a read. `waits`: somebody will tell more of its history, if nothing is known of it yet.
    pub(crate) fn read_from_master(
        &self,
        demand: &Demand,
        evidence: &Evidence,
        lineage: &Lineage,
        waits: bool,
    ) -> Step {
        let is_behind =
            |seen: Position| seen.history == evidence.position.history && evidence.position.offset < seen.offset;
        let mut state = self.0.lock();
        let found = state.relate(evidence, lineage);
        // Not the set's master any more: what it says of the session matters to nobody.
        let is_out = lineage.is_out_of_office(evidence.position.history);
        let is_new = || waits && !lineage.knows(evidence.position.history);
        let may_wait = match found {
            Some(Relation::Unknown) => is_out || is_new(),
            Some(Relation::Lost) => is_out,
            Some(Relation::Contained) | None => false,
        };
        if may_wait || state.has_outlived(evidence, lineage) {
            return Step::Wait;
        }
        let has_gone_back = matches!(demand.seen, Seen::At(seen) if is_behind(seen));
        state.go_on(demand, evidence, lineage);
        let told = match found {
            _ if has_gone_back => Some(Loss::Unproven),
            Some(Relation::Lost) => Some(Loss::Lost),
            Some(Relation::Unknown) => Some(Loss::Unproven),
            Some(Relation::Contained) | None => None,
        };
        // A write of another thread may have found out since this call began.
        told.max(state.loss.take()).map_or(Step::Accept, Step::Tell)
    }

    /// The master answered a write. What it proves to be lost is told at the next read: the write has its own result, and an
    /// error would invite a second one.
    pub(crate) fn wrote(&self, demand: &Demand, evidence: &Evidence, lineage: &Lineage) {
        let mut state = self.0.lock();
        match state.relate(evidence, lineage) {
            Some(Relation::Lost) => state.loss = Some(Loss::Lost),
            Some(Relation::Unknown) => {
                // The next read finds out.
                state.open = state.open.or(state.seen.position());
                state.seen = Seen::At(evidence.position);
                return;
            }
            Some(Relation::Contained) | None => {}
        }
        state.go_on(demand, evidence, lineage);
    }
}

impl State {
    fn needs_master(&self) -> bool {
        self.doubts > self.settled || self.open.is_some() || self.seen == Seen::Unknown
    }

    /// Says how what was seen relates to where the master is. `None`: nothing was seen that could be lost.
    fn relate(&self, master: &Evidence, lineage: &Lineage) -> Option<Relation> {
        let position = master.position;
        let relate = |seen: Position| match master.prove(seen) {
            Proof::Contained => Relation::Contained,
            Proof::Lost => Relation::Lost,
            // Another call has seen more of it meanwhile.
            Proof::Open if seen.history == position.history => Relation::Contained,
            Proof::Open => match lineage.relate(seen, position.history) {
                // An answer of long ago, from a master whose successor was seen meanwhile.
                Relation::Unknown if !lineage.is_in_office(position.history) => lineage.relate(position, seen.history),
                relation => relation,
            },
        };
        // What is worse counts: lost, then unknown.
        let all = self.seen.position().into_iter().chain(self.open).map(relate);
        all.max_by_key(|relation| match relation {
            Relation::Contained => 0,
            Relation::Unknown => 1,
            Relation::Lost => 2,
        })
    }

    /// Goes on where the master is, unless more was seen already.
    fn go_on(&mut self, demand: &Demand, master: &Evidence, lineage: &Lineage) {
        let (position, open) = (master.position, self.open.take());
        let is_past = |seen: Position| {
            let is_later = seen.history == position.history && seen.offset > position.offset;
            is_later || succeeds(seen, master, lineage)
        };
        if !self.seen.position().is_some_and(is_past) || open.is_some() {
            self.seen = Seen::At(position);
        }
        self.settled = self.settled.max(demand.doubts);
    }

    /// Tells whether the session has seen what a successor of this master wrote: what this one has is old.
    fn has_outlived(&self, master: &Evidence, lineage: &Lineage) -> bool {
        self.seen.position().is_some_and(|seen| succeeds(seen, master, lineage))
    }
}

/// Tells whether this was seen in the history of a successor. The master in office has none, whoever took itself for one.
fn succeeds(seen: Position, master: &Evidence, lineage: &Lineage) -> bool {
    let position = master.position;
    seen.history != position.history
        && !lineage.is_in_office(position.history)
        && master.prove(seen) == Proof::Open
        && lineage.relate(seen, position.history) == Relation::Unknown
        && lineage.relate(position, seen.history) != Relation::Unknown
}

#[cfg(test)]
mod tests {
    use super::{Loss, Session, Step};
    use crate::consistency::evidence::tests::{at, evidence, history};
    use crate::consistency::{Evidence, Lineage, Position, Seen, Standpoint, Token};

    fn master(position: Position, earlier: Option<(u8, u64)>) -> Evidence {
        evidence(Standpoint::Master, position, earlier)
    }

    fn seen(session: &Session) -> Seen {
        session.token().seen
    }

    fn wrote(session: &Session, evidence: &Evidence) {
        session.wrote(&session.demand(), evidence, &Lineage::default());
    }

    fn read(session: &Session, evidence: &Evidence, lineage: &Lineage) -> Step {
        session.read_from_master(&session.demand(), evidence, lineage, false)
    }

    #[test]
    fn what_was_written_and_read_adds_up() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 10), None));
        session.read_from_replica(&evidence(Standpoint::Replica, at(1, 15), None), &lineage);
        wrote(&session, &master(at(1, 12), None));
        assert_eq!(seen(&session), Seen::At(at(1, 15)), "an answer that comes late");
        session.read_from_replica(&evidence(Standpoint::Replica, at(2, 20), Some((1, 16))), &lineage);
        assert_eq!(seen(&session), Seen::At(at(2, 20)), "after a failover that kept it");
    }

    #[test]
    fn a_lost_write_is_told_once_by_a_read() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 10), None));
        let next = master(at(2, 50), Some((1, 10)));
        assert_eq!(read(&session, &next, &lineage), Step::Tell(Loss::Lost));
        assert_eq!(read(&session, &next, &lineage), Step::Accept);
        assert_eq!((session.take_loss(), seen(&session)), (None, Seen::At(at(2, 50))));
    }

    #[test]
    fn a_write_that_finds_out_leaves_it_to_the_next_read() {
        let session = Session::default();
        wrote(&session, &master(at(1, 10), None));
        wrote(&session, &master(at(2, 50), Some((1, 10))));
        assert_eq!((session.take_loss(), session.take_loss()), (Some(Loss::Lost), None));
    }

    #[test]
    fn a_read_that_began_before_that_write_is_told_as_well() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 10), None));
        let before = session.demand();
        let next = master(at(2, 50), Some((1, 10)));
        wrote(&session, &next);
        assert_eq!(session.read_from_master(&before, &next, &lineage, false), Step::Tell(Loss::Lost));
        assert_eq!((session.take_loss(), read(&session, &next, &lineage)), (None, Step::Accept));
    }

    #[test]
    fn unrelated_histories_are_unproven_unless_somebody_will_tell() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 0), None));
        let renamed = master(at(2, 30), None);
        assert_eq!(session.read_from_master(&session.demand(), &renamed, &lineage, true), Step::Wait);
        wrote(&session, &renamed);
        assert!(session.demand().needs_master, "the write does not decide it");
        lineage.note_told(history(2), None);
        lineage.note_new_name(history(1), history(2));
        assert_eq!(session.read_from_master(&session.demand(), &renamed, &lineage, true), Step::Accept);
        assert!(!session.demand().needs_master);
        assert_eq!(read(&session, &master(at(3, 30), None), &lineage), Step::Tell(Loss::Unproven));
        assert_eq!(read(&session, &master(at(3, 31), None), &lineage), Step::Accept);
    }

    #[test]
    fn a_write_in_doubt_leaves_it_to_the_master_until_it_answers() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 10), None));
        let before = session.demand();
        session.doubt();
        assert!(session.demand().needs_master && session.token().in_doubt);
        session.wrote(&before, &master(at(1, 11), None), &lineage);
        assert!(session.demand().needs_master, "that call began before");
        assert_eq!(read(&session, &master(at(1, 12), None), &lineage), Step::Accept);
        assert!(!session.demand().needs_master);
    }

    #[test]
    fn an_answer_of_a_former_master_does_not_lead_back() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 10), None));
        let (before, next) = (session.demand(), master(at(2, 50), Some((1, 21))));
        lineage.note(&next);
        wrote(&session, &next);
        session.wrote(&before, &master(at(1, 20), None), &lineage);
        assert_eq!((session.take_loss(), seen(&session)), (None, Seen::At(at(2, 50))));
        session.wrote(&before, &master(at(1, 21), None), &lineage);
        assert_eq!((session.take_loss(), seen(&session)), (Some(Loss::Lost), Seen::At(at(2, 50))));
    }

    #[test]
    fn a_read_of_a_former_master_is_neither_accepted_nor_a_loss() {
        let (session, lineage) = (Session::default(), Lineage::default());
        let next = master(at(2, 50), Some((1, 21)));
        wrote(&session, &next);
        lineage.note(&next);
        lineage.note_in_office(history(2));
        assert_eq!(read(&session, &master(at(1, 20), None), &lineage), Step::Wait, "it has less");
        assert_eq!(read(&session, &master(at(1, 30), None), &lineage), Step::Wait, "it has something else");
        assert_eq!(read(&session, &master(at(3, 5), None), &lineage), Step::Wait, "it came back empty");
        assert_eq!(seen(&session), Seen::At(at(2, 50)));
        assert_eq!(read(&session, &next, &lineage), Step::Accept);
    }

    #[test]
    fn where_a_successor_was_no_master_after_all_it_is_told_once() {
        let (session, lineage) = (Session::default(), Lineage::default());
        let usurper = master(at(2, 50), Some((1, 21)));
        wrote(&session, &usurper);
        lineage.note(&usurper);
        lineage.note_in_office(history(1));
        assert_eq!(read(&session, &master(at(1, 30), None), &lineage), Step::Tell(Loss::Unproven));
        assert_eq!(read(&session, &master(at(1, 30), None), &lineage), Step::Accept);
    }

    #[test]
    fn a_master_that_went_back_is_unproven() {
        let (session, lineage) = (Session::default(), Lineage::default());
        wrote(&session, &master(at(1, 10), None));
        assert_eq!(read(&session, &master(at(1, 9), None), &lineage), Step::Tell(Loss::Unproven));
    }

    #[test]
    fn a_token_carries_a_session_to_another_process() {
        let session = Session::default();
        wrote(&session, &master(at(1, 10), None));
        session.doubt();
        let there = Session::resume(&session.token().to_string().parse::<Token>().unwrap());
        assert_eq!(there.token(), session.token());
        assert!(there.demand().needs_master);
    }

    #[test]
    fn a_token_carries_what_no_read_was_told_yet() {
        let session = Session::default();
        wrote(&session, &master(at(1, 10), None));
        wrote(&session, &master(at(2, 50), Some((1, 10))));
        let there = Session::resume(&session.token());
        assert_eq!((there.take_loss(), there.take_loss()), (Some(Loss::Lost), None));
        assert_eq!(session.take_loss(), Some(Loss::Lost), "each for itself");
        assert_eq!(session.token(), there.token());
        wrote(&session, &master(at(3, 50), None));
        assert_eq!(Session::resume(&session.token()).take_loss(), Some(Loss::Unproven));
    }
}
