//! Sessions, bounds on staleness and acknowledged writes: the guarantees of a handle, and what they add to its calls.
//!
//! A call without guarantees does not enter this folder. One with guarantees is a [`SessionCall`], which implements the one hook
//! of [`call`](crate::call): a *requirement* says what the reply has to contain, an *evidence request* is sent along, the reply
//! brings the *evidence*, and *verification* compares both. [`Session`] keeps what a session has written and read.

mod around;
mod evidence_request;
mod fence_request;
mod guarantees;
mod info_request;
mod message;
mod mode;
mod state;
mod token;
mod verification;

pub(crate) use self::around::{SessionAround, SessionCall};
pub(crate) use self::guarantees::{Acknowledgement, Guarantees};
pub use self::mode::SessionMode;
pub(crate) use self::state::Session;
pub(crate) use self::token::Watermark;
pub use self::token::{ParseTokenError, Token};
pub(crate) use self::verification::SHORTEST_BOUND;
