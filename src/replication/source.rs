//! How much a server's word about its data is worth. All conditions are here, for calls and for the monitor.

use super::history::History;

/// The offset that a replica without a link prints when it holds no data that it could name.
///
/// Whatever drops or swaps the data of a replica first forgets the id and the offset that belong to it. `INFO` then prints
/// this number, beside an id that says nothing any more.
const NO_OFFSET: u64 = 1;

/// In which state a server speaks of its data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EvidenceSource {
    Master,
    /// A replica that receives what its master writes and takes no writes of its own.
    Replica,
    /// A replica without a link to its master that still holds what it had applied, and takes no writes of its own.
    LinkDown,
    /// A replica that synchronises, takes writes of its own, or holds nothing for sure: its offset proves nothing.
    Unreliable,
}

/// The field `master_link_status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkStatus {
    Up,
    Down,
    /// A word that neither Redis nor Valkey uses.
    Other,
}

impl EvidenceSource {
    pub(super) fn of_replica(link: LinkStatus, is_syncing: bool, is_read_only: bool, applied: u64) -> Self {
        let holds = holds_what_it_names(link == LinkStatus::Up, is_syncing, Some(applied));
        match (is_read_only && link != LinkStatus::Other, holds) {
            (true, Some(true)) => Self::Replica,
            (true, None) => Self::LinkDown,
            _ => Self::Unreliable,
        }
    }

    /// Returns what can be believed of the history that the server names: without what it continues, if its word for that is
    /// not good enough.
    pub(super) fn believed(self, history: History, has_backlog: bool) -> History {
        let is_believed = match self {
            // A replica whose full resynchronisation was cut short has dropped its data and its backlog. When it is
            // promoted, it claims the history that it had before, all of it.
            Self::Master => has_backlog,
            Self::Replica => true,
            // The same replica, promoted and cut off again.
            Self::LinkDown | Self::Unreliable => false,
        };
        if is_believed { history } else { History { earlier: None, diverged_at: None, ..history } }
    }

    /// Returns whether a replica holds the data that its id and offset name. `None`: as before; or it is no replica.
    pub(crate) fn holds_what_it_names(self) -> Option<bool> {
        match self {
            Self::Replica => Some(true),
            Self::Unreliable => Some(false),
            Self::Master | Self::LinkDown => None,
        }
    }

    /// Returns whether the server is a master, or hears one.
    pub(super) fn is_linked(self) -> bool {
        matches!(self, Self::Master | Self::Replica)
    }

    /// Returns whether the offset proves what the server contains.
    pub(super) fn is_reliable(self) -> bool {
        self != Self::Unreliable
    }
}

/// Returns whether a replica holds the data that its id and offset name. `None`: without a link, it still does if it did.
///
/// A replica that has dropped its data, or loads other data, prints offset 1.
pub(super) fn holds_what_it_names(is_up: bool, is_syncing: bool, applied: Option<u64>) -> Option<bool> {
    match (is_up, is_syncing) {
        (true, false) => Some(true),
        (false, false) if applied.is_some_and(|applied| applied > NO_OFFSET) => None,
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::id;
    use super::{EvidenceSource, History, LinkStatus};

    #[test]
    fn a_replica_is_weighed_by_its_link() {
        for (link, is_syncing, is_read_only, applied, expected) in [
            (LinkStatus::Up, false, true, 1, EvidenceSource::Replica),
            (LinkStatus::Up, true, true, 70, EvidenceSource::Unreliable),
            (LinkStatus::Up, false, false, 70, EvidenceSource::Unreliable),
            (LinkStatus::Down, false, true, 2, EvidenceSource::LinkDown),
            (LinkStatus::Down, false, true, 1, EvidenceSource::Unreliable),
            (LinkStatus::Down, false, false, 70, EvidenceSource::Unreliable),
            (LinkStatus::Down, true, true, 70, EvidenceSource::Unreliable),
            (LinkStatus::Other, false, true, 70, EvidenceSource::Unreliable),
        ] {
            let source = EvidenceSource::of_replica(link, is_syncing, is_read_only, applied);
            assert_eq!(source, expected, "{link:?} {is_syncing} {is_read_only} {applied}");
        }
    }

    #[test]
    fn what_a_server_continues_is_believed_with_a_backlog_or_a_link() {
        let history = History { id: id(2), earlier: Some(id(1)), diverged_at: Some(51) };
        let unknown = History { earlier: None, diverged_at: None, ..history };
        for (source, has_backlog, expected) in [
            (EvidenceSource::Master, true, history),
            (EvidenceSource::Master, false, unknown),
            (EvidenceSource::Replica, false, history),
            (EvidenceSource::LinkDown, true, unknown),
            (EvidenceSource::Unreliable, true, unknown),
        ] {
            assert_eq!(source.believed(history, has_backlog), expected, "{source:?} {has_backlog}");
        }
    }
}
