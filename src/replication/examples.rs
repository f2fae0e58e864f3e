//! Ids and positions for unit tests.

use super::position::{Position, ReplicationId};

pub(crate) fn id(name: u8) -> ReplicationId {
    ReplicationId::of([name; 20]).unwrap()
}

/// Returns the digits of an id, as a server prints them.
pub(crate) fn digits(name: char) -> String {
    id(u8::try_from(name).unwrap()).to_string()
}

pub(crate) fn at(name: u8, offset: u64) -> Position {
    Position { history: id(name), offset }
}
