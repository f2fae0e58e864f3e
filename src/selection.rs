//! Who may serve an attempt, in what order, and who picks. Decisions only, without I/O.

mod decide;
mod decision;
mod exclusions;
mod permits;
mod read_from;
mod select;

pub(crate) use self::decide::{Contender, Contenders, Excluded, Moment, Need, NoSelection, Suits, decide, exclusions};
pub use self::decision::{Decision, Exclusion, Measures};
pub(crate) use self::exclusions::Exclusions;
pub(crate) use self::permits::Permits;
pub use self::read_from::{ParseReadFromError, ReadFrom};
pub(crate) use self::select::{Affinity, Selected, Selector};
