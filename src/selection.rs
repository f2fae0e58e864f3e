//! Selection: which servers may serve an attempt, in what order, and which one the strategy picks.
//!
//! It decides without I/O. The loop that runs attempts is in [`call`](crate::call); what becomes of a failed attempt is decided
//! in [`retry`](crate::retry).

mod decision;
mod no_selection;
mod permits;
mod rank;
mod read_from;
mod select;

pub(crate) use self::decision::exclusion_reasons;
pub use self::decision::{Decision, Measures};
pub(crate) use self::no_selection::no_server;
pub(crate) use self::permits::{FallbackCounts, Permits};
pub use self::rank::Exclusion;
pub use self::read_from::{ParseReadFromError, ReadFrom};
pub(crate) use self::select::{
    Affinity, AttemptContext, CallExclusions, Contender, Contenders, Criteria, Likelihood, NoSelection, Selected,
    Selector, ServerMask, decide,
};
