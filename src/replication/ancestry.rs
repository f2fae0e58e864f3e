//! The histories that continue each other, as far as this client has seen it.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::history::{History, NEVER, Relation};
use super::position::{Position, ReplicationId};

/// The number of histories that are remembered. Each of them is a failover.
const REMEMBERED: usize = 64;

/// The client's memory of which history continues which one.
///
/// A server names only the last history that it continues. Where there were two failovers while nobody read, this memory
/// says whether the older history is contained.
///
/// That a history continues another one does not make it legitimate: that is the history of the set's master alone.
#[derive(Debug, Default)]
pub(crate) struct Ancestry {
    /// Those that continue another one, each once.
    histories: Mutex<VecDeque<History>>,
    /// The history of the set's master.
    current: Mutex<Option<ReplicationId>>,
}

impl Ancestry {
    /// Records what a master said of its history, as far as that is believed.
    pub(crate) fn record(&self, history: History) {
        if history.origin().is_none() {
            return;
        }
        let mut histories = self.histories.lock();
        // What was said once stays true. A server forgets it when its backlog expires.
        if histories.iter().any(|known| known.id == history.id) {
            return;
        }
        if histories.len() == REMEMBERED {
            histories.pop_front();
        }
        histories.push_back(history);
    }

    /// Records that one process, a master all the time, gave its history another id, as it does when the first replica
    /// connects.
    pub(crate) fn record_rename(&self, before: ReplicationId, now: ReplicationId) {
        self.record(History { id: now, earlier: Some(before), diverged_at: Some(NEVER) });
    }

    /// Records the history of the set's master.
    pub(crate) fn set_current_history(&self, id: ReplicationId) {
        *self.current.lock() = Some(id);
    }

    /// Returns whether this is the last known history of the set's master.
    pub(crate) fn is_current(&self, id: ReplicationId) -> bool {
        *self.current.lock() == Some(id)
    }

    /// Returns whether the history of the set's master is known, and is another one than this.
    pub(crate) fn is_not_current(&self, id: ReplicationId) -> bool {
        self.current.lock().is_some_and(|current| current != id)
    }

    /// Returns whether the history of the set's master contains the position, or is not known.
    pub(crate) fn is_contained_in_current(&self, position: Position) -> bool {
        let current = *self.current.lock();
        current.is_none_or(|id| id == position.history || self.relate(position, id) == Relation::Contained)
    }

    /// Returns how a history relates to a position, as far as this client remembers. The history may have gone on for long.
    pub(crate) fn relate(&self, seen: Position, id: ReplicationId) -> Relation {
        Relation::of(seen.offset, self.remembered(seen.history, id))
    }

    /// Returns the first offset of the history `seen` that another one does not contain, by its own word, or else by what is
    /// remembered. `None`: it is not known how the two relate.
    pub(crate) fn diverged_at(&self, seen: ReplicationId, history: &History) -> Option<u64> {
        history.diverged_from(seen).or_else(|| self.remembered(seen, history.id))
    }

    /// Goes back from one history to the next, until it comes to the one that was seen.
    fn remembered(&self, seen: ReplicationId, id: ReplicationId) -> Option<u64> {
        let histories = self.histories.lock();
        let (mut id, mut diverged_at) = (id, NEVER);
        // At most as often as there are histories: what servers say may be a circle.
        for _ in 0..=histories.len() {
            if id == seen {
                return Some(diverged_at);
            }
            let (earlier, offset) = histories.iter().find(|history| history.id == id)?.origin()?;
            (id, diverged_at) = (earlier, diverged_at.min(offset));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{at, id};
    use super::{Ancestry, History, REMEMBERED, Relation};

    fn history(name: u8, earlier: Option<(u8, u64)>) -> History {
        let (earlier, diverged_at) = earlier.map(|(name, offset)| (id(name), offset)).unzip();
        History { id: id(name), earlier, diverged_at }
    }

    #[test]
    fn two_failovers_are_one_way() {
        let ancestry = Ancestry::default();
        ancestry.record(history(1, None));
        ancestry.record(history(2, Some((1, 101))));
        ancestry.record(history(3, Some((2, 91))));
        assert_eq!(ancestry.relate(at(1, 90), id(3)), Relation::Contained);
        assert_eq!(ancestry.relate(at(1, 91), id(3)), Relation::Lost, "it was lost at the second");
        assert_eq!(ancestry.relate(at(1, 100), id(2)), Relation::Contained);
        assert_eq!(ancestry.relate(at(1, 101), id(2)), Relation::Lost);
        assert_eq!(ancestry.relate(at(3, 5), id(2)), Relation::Unknown, "the other way round");
        assert_eq!(ancestry.relate(at(4, 5), id(3)), Relation::Unknown);
    }

    #[test]
    fn another_id_loses_nothing_and_what_was_said_stays() {
        let ancestry = Ancestry::default();
        ancestry.record(history(2, Some((1, 50))));
        ancestry.record(history(2, None));
        ancestry.record(history(2, None));
        ancestry.record_rename(id(2), id(3));
        assert_eq!(ancestry.relate(at(2, u64::MAX - 1), id(3)), Relation::Contained);
        assert_eq!(ancestry.relate(at(1, 50), id(3)), Relation::Lost);
    }

    #[test]
    fn only_the_history_of_the_sets_master_is_current() {
        let ancestry = Ancestry::default();
        assert!(ancestry.is_contained_in_current(at(7, 1)) && !ancestry.is_not_current(id(7)), "nobody knows");
        ancestry.record(history(2, Some((1, 101))));
        ancestry.set_current_history(id(1));
        assert!(
            ancestry.is_contained_in_current(at(1, 200)) && !ancestry.is_contained_in_current(at(2, 100)),
            "a successor is not its master"
        );
        ancestry.set_current_history(id(2));
        assert!(
            ancestry.is_contained_in_current(at(1, 100))
                && !ancestry.is_contained_in_current(at(1, 101))
                && ancestry.is_contained_in_current(at(2, 300))
        );
        assert!(ancestry.is_current(id(2)) && ancestry.is_not_current(id(1)));
    }

    #[test]
    fn circles_end_and_the_oldest_is_forgotten() {
        let ancestry = Ancestry::default();
        ancestry.record(history(1, Some((2, 5))));
        ancestry.record(history(2, Some((1, 5))));
        assert_eq!(ancestry.relate(at(9, 1), id(1)), Relation::Unknown);
        (10..10 + REMEMBERED as u8).for_each(|name| ancestry.record(history(name, Some((name - 1, 5)))));
        let histories = ancestry.histories.lock();
        assert!(histories.len() == REMEMBERED && histories[0].id == id(10));
    }
}
