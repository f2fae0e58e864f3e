//! What a session cannot read any more.

/// What a session cannot read any more.
///
/// In order: what is proven says more, and what was written more than what was only read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Loss {
    /// It is not known how the master's history goes on from what was seen.
    Unproven,
    /// Proven: the master went another way before something that the session has only read. What it wrote is there.
    History,
    /// Proven: the master went another way before something that the session wrote.
    Lost,
}
