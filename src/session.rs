//! Sessions, bounds on staleness and confirmed writes: what they add around a call.
//!
//! A plain call is read without this folder. What a session has seen is kept in [`Session`]; a call that asks for something
//! goes through [`SessionCall`], which implements the one hook of [`call`](crate::call).

mod around;
mod evidence_request;
mod fence_request;
mod info_request;
mod loss;
mod message;
mod mode;
mod state;
mod token;
mod verification;

pub(crate) use self::around::{Asked, Confirmation, SessionAround, SessionCall};
pub use self::mode::SessionMode;
pub(crate) use self::state::Session;
pub(crate) use self::token::Seen;
pub use self::token::{ParseTokenError, Token};
pub(crate) use self::verification::SHORTEST_BOUND;
