//! What the calls of one session have written and read.

use parking_lot::Mutex;

use super::fences::Fences;
use crate::replication::Position;
use crate::session::loss::Loss;
use crate::session::mode::SessionMode;
use crate::session::token::{Fence, Seen, Token};

/// The state of a session, shared by all clones of its handle. Nothing here does I/O.
#[derive(Debug, Default)]
pub(crate) struct Session(pub(super) Mutex<State>, SessionMode);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seen: Seen,
    /// The offset of the session's own last write in what was seen, if it has written there.
    pub(super) written: Option<u64>,
    /// Seen before `seen`, in a history of which nobody has said yet how the present one goes on from it.
    pub(super) open: Option<Place>,
    /// How many writes ended without anybody knowing whether they were applied; and how many of those do not matter any
    /// more, because the master has said since where it is.
    pub(super) doubts: u64,
    pub(super) settled: u64,
    pub(super) fences: Fences,
    /// What the next read is to be told.
    pub(super) loss: Option<Loss>,
}

/// What a session has seen of one history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) position: Position,
    /// The offset of the session's own last write in it.
    pub(super) written: Option<u64>,
}

/// What a reply has to prove: the session as it was when the call began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requirement {
    pub(crate) seen: Seen,
    /// Another fence that has to be proven as well.
    pub(crate) open: Option<Fence>,
    pub(super) doubts: u64,
    /// Of the fences, when the call began.
    pub(super) era: u32,
    pub(super) losses: u32,
    /// Only the master can prove it.
    pub(crate) needs_master: bool,
}

/// What becomes of a reply from the master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// It goes to the caller.
    Accept,
    /// The caller is told this instead; the session goes on where the master is.
    Tell(Loss),
    /// The monitor may be about to learn how the master's history began, or who is the master now.
    Wait,
}

impl Session {
    /// Begins where a token ends. What a session of the other mode has seen is proven as that one would: nothing else can.
    pub(crate) fn resume(token: &Token, mode: SessionMode) -> Self {
        let Token { seen, written, in_doubt, loss } = *token;
        let mode = match seen {
            Seen::At(_) => SessionMode::Strict,
            Seen::Fence(_) => SessionMode::Fence,
            Seen::Nothing | Seen::Unknown => mode,
        };
        let fences = seen.fence().map(|fence| Fences::resumed(fence, written)).unwrap_or_default();
        let written = seen.position().and(written);
        Self(Mutex::new(State { seen, written, doubts: in_doubt.into(), loss, fences, ..State::default() }), mode)
    }

    /// Returns how this session proves what it reads.
    pub(crate) fn mode(&self) -> SessionMode {
        self.1
    }

    pub(crate) fn token(&self) -> Token {
        let mut state = self.0.lock();
        // A token has room for one position: what was seen before is told instead, and only the master is sure to have it.
        let is_open = state.open.is_some() || state.fences.open().is_some();
        let written = if state.seen.position().is_some() { state.written } else { state.fenced() };
        Token {
            seen: state.told(),
            written,
            in_doubt: is_open || state.needs_master() || state.fences.hides(state.seen),
            loss: state.loss.max(is_open.then_some(Loss::Unproven)),
        }
    }

    /// Returns what the reply to a call that begins now has to prove.
    pub(crate) fn requirement(&self) -> Requirement {
        let state = self.0.lock();
        let needs_master = state.needs_master() || state.fences.hides(state.seen);
        let (open, (era, losses)) = (state.fences.open(), state.fences.era());
        Requirement { seen: state.seen, open, doubts: state.doubts, era, losses, needs_master }
    }

    /// Returns, once, what the next read has to be told.
    pub(crate) fn take_loss(&self) -> Option<Loss> {
        self.0.lock().loss.take()
    }

    /// Returns whether the next read has to be told something.
    pub(crate) fn has_loss(&self) -> bool {
        self.0.lock().loss.is_some()
    }

    /// A write may or may not have been applied, and nobody has said where the master is since.
    pub(crate) fn doubt(&self) {
        self.0.lock().doubts += 1;
    }
}

impl State {
    pub(super) fn needs_master(&self) -> bool {
        self.doubts > self.settled || self.open.is_some() || self.seen == Seen::Unknown
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.seen.position().map(|position| Place { position, written: self.written })
    }

    /// Returns what a token says of what was seen. A fence that others know keeps its value: the next write begins another one.
    fn told(&mut self) -> Seen {
        match self.seen {
            Seen::Fence(Fence { count: 0, .. }) => Seen::Nothing,
            seen => {
                if let Some(epoch) = seen.fence().and_then(|fence| self.fences.epoch(fence.name)) {
                    epoch.is_told = true;
                }
                seen
            }
        }
    }

    /// Returns what a token says of its fence beside the value.
    fn fenced(&mut self) -> Option<u64> {
        let fence = self.seen.fence()?;
        self.fences.epoch(fence.name)?.told().filter(|_| fence.count > 0)
    }
}
