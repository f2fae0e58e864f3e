//! Sessions: what a caller has seen of the replication history, and what a node's reply proves about it.

mod mode;
mod state;
mod token;

pub use self::mode::SessionMode;
pub(crate) use self::state::{FENCE_LIVES, Kind, Loss, Passed, Raise, Raised, Requirement, Session, Step};
#[cfg(test)]
pub(crate) use self::token::Fence;
pub(crate) use self::token::Seen;
pub use self::token::{ParseTokenError, Token};
