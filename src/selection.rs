//! Who may serve an attempt, in what order, and who picks. Decisions only, without I/O.

mod decision;
mod explain;
mod permits;
mod rank;
mod read_from;
mod select;

pub use self::decision::{Decision, Exclusion, Measures};
pub(crate) use self::explain::exclusions;
pub(crate) use self::permits::Permits;
pub use self::read_from::{ParseReadFromError, ReadFrom};
pub(crate) use self::select::{
    Affinity, Contender, Contenders, Excluded, Exclusions, Moment, Need, NoSelection, Selected, Selector, Suits, decide,
};
