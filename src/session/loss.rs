//! The losses that a session reports.

/// What the master has lost of what a session has seen.
///
/// Ordered by weight: a proven loss outweighs an unproven one, and a lost write outweighs a lost read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Loss {
    /// It is not known whether the master's history contains what the session has seen.
    Unproven,
    /// Proven: the master's history lacks something that the session has read. It contains all that the session wrote.
    History,
    /// Proven: the master's history lacks something that the session wrote.
    Lost,
}
