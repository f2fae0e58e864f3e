//! Which history came out of which, as far as this client saw it itself.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::{Evidence, Position, ReplicationId};

/// So many successions are remembered: each is a failover.
const REMEMBERED: usize = 64;

/// The successions that masters told of. A server remembers one; where there were two while nobody read, the client's own
/// memory tells whether the older history is contained.
///
/// Who descends from whom does not say who is legitimate: that is the master in office, whatever others descend from it.
#[derive(Debug, Default)]
pub(crate) struct Ancestry {
    births: Mutex<VecDeque<Birth>>,
    in_office: Mutex<Option<ReplicationId>>,
}

/// The beginning of a history.
#[derive(Clone, Copy, Debug)]
struct Birth {
    history: ReplicationId,
    /// The history that it continues, and the first offset at which they differ; `u64::MAX`: it continues all of it.
    earlier: Option<(ReplicationId, u64)>,
}

/// How a history relates to a position in another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relation {
    Contained,
    Lost,
    Unknown,
}

impl Ancestry {
    /// Notes what a master said of its history in the reply to a call.
    pub(crate) fn note(&self, master: &Evidence) {
        if master.earlier.is_some() {
            self.remember(master.position.history, master.earlier);
        }
    }

    /// Notes what a master told the monitor of its history.
    pub(crate) fn note_told(&self, history: ReplicationId, earlier: Option<(ReplicationId, u64)>) {
        self.remember(history, earlier);
    }

    /// Notes that one process, a master all the time, named its history anew, as it does when the first replica comes.
    pub(crate) fn note_new_name(&self, before: ReplicationId, now: ReplicationId) {
        self.remember(now, Some((before, u64::MAX)));
    }

    /// Notes what the history of the set's master is called.
    pub(crate) fn note_in_office(&self, history: ReplicationId) {
        *self.in_office.lock() = Some(history);
    }

    /// Tells whether this is the history of the set's master, as it was last heard.
    pub(crate) fn is_in_office(&self, history: ReplicationId) -> bool {
        *self.in_office.lock() == Some(history)
    }

    /// Tells whether the set's master, as it was last heard, has another history than this.
    pub(crate) fn is_out_of_office(&self, history: ReplicationId) -> bool {
        self.in_office.lock().is_some_and(|in_office| in_office != history)
    }

    /// Tells whether the history of the set's master contains all of this, as far as anybody knows.
    pub(crate) fn is_in_line(&self, position: Position) -> bool {
        let in_office = *self.in_office.lock();
        in_office
            .is_none_or(|history| history == position.history || self.relate(position, history) == Relation::Contained)
    }

    fn remember(&self, history: ReplicationId, earlier: Option<(ReplicationId, u64)>) {
        let mut births = self.births.lock();
        match births.iter_mut().find(|birth| birth.history == history) {
            // Once said, it stays true: a server forgets it when its backlog expires.
            Some(known) => known.earlier = known.earlier.or(earlier),
            None => {
                if births.len() == REMEMBERED {
                    births.pop_front();
                }
                births.push_back(Birth { history, earlier });
            }
        }
    }

    /// Says whether this history, which may have gone on for long, contains a position.
    pub(crate) fn relate(&self, seen: Position, history: ReplicationId) -> Relation {
        match self.parted(seen.history, history) {
            Some(parted_at) if seen.offset < parted_at => Relation::Contained,
            Some(_) => Relation::Lost,
            None => Relation::Unknown,
        }
    }

    /// Returns the first offset of an earlier history that this one does not contain. `None`: it is not known how the two
    /// relate.
    pub(crate) fn parted(&self, seen: ReplicationId, history: ReplicationId) -> Option<u64> {
        let births = self.births.lock();
        let earlier = |history| births.iter().find(|birth| birth.history == history).and_then(|birth| birth.earlier);
        let (mut history, mut parted_at) = (history, u64::MAX);
        // No longer than the memory: whatever servers say, it ends.
        for _ in 0..=births.len() {
            if history == seen {
                return Some(parted_at);
            }
            let (before, parted) = earlier(history)?;
            (history, parted_at) = (before, parted_at.min(parted));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Ancestry, REMEMBERED, Relation};
    use crate::replication::examples::{at, evidence, history};
    use crate::replication::{Evidence, EvidenceSource};

    fn master(name: u8, earlier: Option<(u8, u64)>) -> Evidence {
        evidence(EvidenceSource::Master, at(name, 1000), earlier)
    }

    #[test]
    fn two_failovers_are_one_way() {
        let ancestry = Ancestry::default();
        ancestry.note_told(history(1), None);
        ancestry.note(&master(2, Some((1, 101))));
        ancestry.note(&master(3, Some((2, 91))));
        assert_eq!(ancestry.relate(at(1, 90), history(3)), Relation::Contained);
        assert_eq!(ancestry.relate(at(1, 91), history(3)), Relation::Lost, "it was lost at the second");
        assert_eq!(ancestry.relate(at(1, 100), history(2)), Relation::Contained);
        assert_eq!(ancestry.relate(at(1, 101), history(2)), Relation::Lost);
        assert_eq!(ancestry.relate(at(3, 5), history(2)), Relation::Unknown, "the other way round");
        assert_eq!(ancestry.relate(at(4, 5), history(3)), Relation::Unknown);
    }

    #[test]
    fn a_new_name_loses_nothing_and_what_was_said_stays() {
        let ancestry = Ancestry::default();
        ancestry.note(&master(2, Some((1, 50))));
        ancestry.note(&master(2, None));
        ancestry.note_told(history(2), None);
        ancestry.note_new_name(history(2), history(3));
        assert_eq!(ancestry.relate(at(2, u64::MAX - 1), history(3)), Relation::Contained);
        assert_eq!(ancestry.relate(at(1, 50), history(3)), Relation::Lost);
    }

    #[test]
    fn the_line_is_that_of_the_master_in_office() {
        let ancestry = Ancestry::default();
        assert!(ancestry.is_in_line(at(7, 1)) && !ancestry.is_out_of_office(history(7)), "nobody knows");
        ancestry.note(&master(2, Some((1, 101))));
        ancestry.note_in_office(history(1));
        assert!(ancestry.is_in_line(at(1, 200)) && !ancestry.is_in_line(at(2, 100)), "a successor is not its master");
        ancestry.note_in_office(history(2));
        assert!(ancestry.is_in_line(at(1, 100)) && !ancestry.is_in_line(at(1, 101)) && ancestry.is_in_line(at(2, 300)));
        assert!(ancestry.is_in_office(history(2)) && ancestry.is_out_of_office(history(1)));
    }

    #[test]
    fn circles_end_and_the_oldest_is_forgotten() {
        let ancestry = Ancestry::default();
        ancestry.note(&master(1, Some((2, 5))));
        ancestry.note(&master(2, Some((1, 5))));
        assert_eq!(ancestry.relate(at(9, 1), history(1)), Relation::Unknown);
        (10..10 + REMEMBERED as u8).for_each(|name| ancestry.note_told(history(name), None));
        let births = ancestry.births.lock();
        assert!(births.len() == REMEMBERED && births[0].history == history(10));
    }
}
