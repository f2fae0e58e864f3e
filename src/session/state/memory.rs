//! The state of one session: what its calls have written and read, and the requirement that follows from it.
//!
//! [`strict`](super::strict) changes it by positions in the replication history, [`fenced`](super::fenced) by counters.

use parking_lot::Mutex;

use super::fences::Fences;
use crate::replication::Position;
use crate::session::mode::SessionMode;
use crate::session::token::{Fence, Loss, Token, Watermark};

/// A session, shared by all clones of its handle. Nothing here does I/O.
#[derive(Debug, Default)]
pub(crate) struct Session(pub(super) Mutex<State>, SessionMode);

/// What a session knows.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What the session has seen.
    pub(super) watermark: Watermark,
    /// The offset of the session's last own write in the history of `watermark`, if it has written there.
    pub(super) written: Option<u64>,
    /// What the session saw before, in another history: it is not known yet whether the current history contains it.
    pub(super) unresolved: Option<HistoryMark>,
    /// How many writes were in doubt: they may or may not have been applied.
    pub(super) doubts: u64,
    /// How many of these doubts are over, because the master has answered since.
    pub(super) settled_doubts: u64,
    /// The counters, if the session is a fenced one.
    pub(super) fences: Fences,
    /// The loss that the next read reports.
    pub(super) loss: Option<Loss>,
}

/// What a session has seen of one history.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistoryMark {
    pub(super) position: Position,
    /// The offset of the session's last own write in this history.
    pub(super) written: Option<u64>,
}

/// What a reply has to contain: what the session had seen when the call began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requirement {
    pub(crate) watermark: Watermark,
    /// A second fence that the node has to prove.
    pub(crate) second: Option<Fence>,
    /// The number of doubts when the call began.
    pub(super) doubts: u64,
    /// The number of discontinuities when the call began.
    pub(super) discontinuities: u32,
    /// The number of losses when the call began.
    pub(super) losses: u32,
    /// Only the master can prove it.
    pub(crate) needs_master: bool,
}

/// What a session makes of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Acceptance {
    /// The reply goes to the caller.
    Accept,
    /// The caller gets an error that reports this loss; the session continues with the master's history.
    Report(Loss),
    /// The evidence does not prove what is required. Another node, or the same one later, may prove it.
    NotProven,
}

impl Session {
    /// Returns a session that has seen what a token carries. A token of the other mode decides the mode, because only that mode
    /// can prove its watermark.
    pub(crate) fn resume(token: &Token, mode: SessionMode) -> Self {
        let Token { watermark, written, in_doubt, loss } = *token;
        let mode = match watermark {
            Watermark::At(_) => SessionMode::Strict,
            Watermark::Fence(_) => SessionMode::Fence,
            Watermark::Nothing | Watermark::Unknown => mode,
        };
        let fences = watermark.fence().map(|fence| Fences::of_token(fence, written)).unwrap_or_default();
        let written = watermark.position().and(written);
        Self(Mutex::new(State { watermark, written, doubts: in_doubt.into(), loss, fences, ..State::default() }), mode)
    }

    /// Returns how this session proves what it reads.
    pub(crate) fn mode(&self) -> SessionMode {
        self.1
    }

    /// Returns what the session has seen, as a token.
    pub(crate) fn token(&self) -> Token {
        let mut state = self.0.lock();
        // A token has room for one watermark: it carries a loss in place of a second one, and sends reads to the master.
        let has_second = state.unresolved.is_some() || state.fences.second.is_some();
        let written = if state.watermark.position().is_some() { state.written } else { state.token_written() };
        Token {
            watermark: state.token_watermark(),
            written,
            in_doubt: has_second || state.needs_master() || state.fences.hides_writes(state.watermark),
            loss: state.loss.max(has_second.then_some(Loss::Unproven)),
        }
    }

    /// Returns what the reply to a call that begins now has to prove.
    pub(crate) fn requirement(&self) -> Requirement {
        let state = self.0.lock();
        let needs_master = state.needs_master() || state.fences.hides_writes(state.watermark);
        let Fences { second, discontinuities, losses, .. } = state.fences;
        Requirement { watermark: state.watermark, second, doubts: state.doubts, discontinuities, losses, needs_master }
    }

    /// Takes the loss that the next read has to report.
    pub(crate) fn take_loss(&self) -> Option<Loss> {
        self.0.lock().loss.take()
    }

    /// Returns whether the next read has to report a loss.
    pub(crate) fn has_loss(&self) -> bool {
        self.0.lock().loss.is_some()
    }

    /// Records that a write may or may not have been applied.
    pub(crate) fn record_doubt(&self) {
        self.0.lock().doubts += 1;
    }
}

impl State {
    /// Returns whether only the master can prove what the session has seen.
    pub(super) fn needs_master(&self) -> bool {
        self.doubts > self.settled_doubts || self.unresolved.is_some() || self.watermark == Watermark::Unknown
    }

    /// Returns what the session has seen of the current history.
    pub(super) fn current(&self) -> Option<HistoryMark> {
        self.watermark.position().map(|position| HistoryMark { position, written: self.written })
    }

    /// Returns the watermark for a token. No write may raise its counter any more: the next one takes another counter.
    fn token_watermark(&mut self) -> Watermark {
        match self.watermark {
            Watermark::Fence(Fence { count: 0, .. }) => Watermark::Nothing,
            watermark => {
                if let Some(counter) = watermark.fence().and_then(|fence| self.fences.counter_mut(fence.name)) {
                    counter.is_in_token = true;
                }
                watermark
            }
        }
    }

    /// Returns the number that a token carries beside the value of its fence.
    fn token_written(&mut self) -> Option<u64> {
        let fence = self.watermark.fence()?;
        self.fences.counter_mut(fence.name)?.token_written().filter(|_| fence.count > 0)
    }
}
