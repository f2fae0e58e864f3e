//! The state of sessions: what their calls have written and read, and what evidence proves of it. Nothing here does I/O.

mod counter;
mod fenced;
mod fences;
mod memory;
mod proof;
mod strict;

pub(super) use self::counter::WriteKind;
pub(super) use self::fences::{FENCE_TTL, FenceReading, Raise, RaiseReply};
pub(crate) use self::memory::Session;
pub(super) use self::memory::{Acceptance, Requirement};
