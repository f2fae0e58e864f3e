//! One replication history, and the rule that says whether it contains what was written in another one.

use super::position::{Position, ReplicationId};

/// The offset at which histories diverge that never do.
pub(super) const NEVER: u64 = u64::MAX;

/// A replication history and how it began, by the word of a server that has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct History {
    pub(crate) id: ReplicationId,
    /// The history that this one continues.
    pub(crate) earlier: Option<ReplicationId>,
    /// The first offset at which this history differs from the one that it continues.
    pub(crate) diverged_at: Option<u64>,
}

/// How a history relates to a position in the same history or in another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relation {
    /// The history contains the position, once it has come so far.
    Contained,
    /// The history diverged before the position: what was written there is not part of it.
    Lost,
    /// It is not known how the two histories relate.
    Unknown,
}

impl Relation {
    /// The rule: a history contains what was written before the offset at which it diverged. `None`: that offset is not known.
    pub(super) fn of(offset: u64, diverged_at: Option<u64>) -> Self {
        match diverged_at {
            Some(diverged_at) if offset < diverged_at || diverged_at == NEVER => Self::Contained,
            Some(_) => Self::Lost,
            None => Self::Unknown,
        }
    }
}

impl History {
    /// Returns how this history relates to a position, as far as it says so itself.
    pub(crate) fn relate(&self, seen: Position) -> Relation {
        Relation::of(seen.offset, self.diverged_from(seen.history))
    }

    /// Returns the first offset of the history `id` that this one does not contain, as far as it says so itself.
    pub(super) fn diverged_from(&self, id: ReplicationId) -> Option<u64> {
        if self.id == id {
            return Some(NEVER);
        }
        self.origin().filter(|(earlier, _)| *earlier == id).map(|(_, diverged_at)| diverged_at)
    }

    /// Returns whether this is the history `id`, or continues it from whatever offset.
    pub(crate) fn continues(&self, id: ReplicationId) -> bool {
        self.id == id || self.earlier == Some(id)
    }

    /// Returns the history that this one continues, and the first offset at which the two differ, if both are known.
    pub(crate) fn origin(&self) -> Option<(ReplicationId, u64)> {
        self.earlier.zip(self.diverged_at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{at, id};
    use super::{History, Relation};

    #[test]
    fn a_history_contains_itself_and_the_earlier_one_up_to_where_they_diverged() {
        let history = History { id: id(2), earlier: Some(id(1)), diverged_at: Some(51) };
        assert_eq!(history.relate(at(2, u64::MAX)), Relation::Contained);
        assert_eq!(history.relate(at(1, 50)), Relation::Contained);
        assert_eq!(history.relate(at(1, 51)), Relation::Lost);
        assert_eq!(history.relate(at(3, 1)), Relation::Unknown);
        assert!(history.continues(id(1)) && history.continues(id(2)) && !history.continues(id(3)));
    }

    #[test]
    fn without_the_offset_nothing_is_known_of_the_earlier_one() {
        let history = History { id: id(2), earlier: Some(id(1)), diverged_at: None };
        assert_eq!(history.relate(at(1, 5)), Relation::Unknown);
        assert!(history.continues(id(1)) && history.origin().is_none());
    }
}
