//! How far a node's data is, as far as it is known: a hint whom to ask, never a proof.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::consistency::Position;

/// After a reply that did not prove what was asked for, a node is asked later than others for this long; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 7;

/// What a node should have, so that it is likely to prove what a call asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hint {
    /// Nothing has to be proven.
    None,
    /// Something that has no place in the history: whoever lagged behind a moment ago is less likely to have it.
    InStep,
    At(Position),
}

/// What a node proved lately. Only calls that have to prove something take this lock.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    position: Option<Position>,
    /// How often it has lagged behind since it last proved anything, and until when it is thought to.
    misses: u32,
    lags_until: Option<Instant>,
}

impl Progress {
    /// Notes how far the node's data is, by its own word.
    pub(crate) fn set(&self, position: Position) {
        self.0.lock().position = Some(position);
    }

    /// The node proved what was asked for.
    pub(crate) fn proved(&self) {
        let mut state = self.0.lock();
        (state.misses, state.lags_until) = (0, None);
    }

    /// The node did not prove what was asked for.
    pub(crate) fn missed(&self, now: Instant) {
        let mut state = self.0.lock();
        state.lags_until = now.checked_add(FIRST_PAUSE * (1 << state.misses.min(DOUBLINGS)));
        state.misses = state.misses.saturating_add(1);
    }

    /// Tells whether the node may well have this by now: unless it lagged behind a moment ago, it may have caught up.
    #[inline]
    pub(crate) fn may_have(&self, hint: Hint, now: Instant) -> bool {
        hint == Hint::None || self.probably_has(hint, now)
    }

    fn probably_has(&self, hint: Hint, now: Instant) -> bool {
        let state = self.0.lock();
        let has = |known: Position| match hint {
            Hint::At(position) => known.history == position.history && known.offset >= position.offset,
            Hint::None | Hint::InStep => false,
        };
        state.lags_until.is_none_or(|end| now >= end) || state.position.is_some_and(has)
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_PAUSE, Hint, Progress};
    use crate::consistency::{HistoryId, Position};
    use std::time::{Duration, Instant};

    #[test]
    fn a_node_that_lags_behind_is_asked_less_and_less_until_it_proves_something() {
        let history = HistoryId::parse(&"a1".repeat(20)).unwrap();
        let at = |offset| Position { history, offset };
        let (progress, now) = (Progress::default(), Instant::now());
        assert!(progress.may_have(Hint::At(at(5)), now), "not known");
        progress.set(at(4));
        assert!(progress.may_have(Hint::At(at(5)), now), "it goes on all the time");
        progress.missed(now);
        assert!(!progress.may_have(Hint::At(at(5)), now) && progress.may_have(Hint::At(at(4)), now));
        assert!(!progress.may_have(Hint::InStep, now) && progress.may_have(Hint::None, now));
        assert!(progress.may_have(Hint::At(at(5)), now + FIRST_PAUSE));
        (0..40).for_each(|_| progress.missed(now));
        assert!(!progress.may_have(Hint::At(at(5)), now + Duration::from_secs(1)));
        assert!(progress.may_have(Hint::At(at(5)), now + Duration::from_secs(2)));
        progress.set(at(5));
        assert!(progress.may_have(Hint::At(at(5)), now), "by its own word");
        progress.proved();
        assert!(progress.may_have(Hint::At(at(9)), now));
    }
}
