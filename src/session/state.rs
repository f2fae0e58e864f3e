//! What the calls of one session have written and read. Nothing here does I/O.

mod epoch;
mod fenced;
mod fences;
mod memory;
mod proof;
mod strict;

pub(super) use self::epoch::Kind;
pub(super) use self::fences::{FENCE_LIVES, Passed, Raise, Raised};
pub(crate) use self::memory::Session;
pub(super) use self::memory::{Requirement, Step};
