//! The counters of a session.

use std::time::{Duration, Instant};

use super::epoch::Epoch;
use crate::session::token::{Fence, Seen};

/// How long a counter lives after the last write. Within half of it, another one takes its place.
pub(crate) const FENCE_LIVES: Duration = Duration::from_secs(600);

/// The counters of a session.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// The one that writes raise now. Nobody else does.
    pub(super) own: Option<Epoch>,
    /// The one before, of which answers may still come.
    pub(super) last: Option<Epoch>,
    /// When the own one was last raised or begun.
    pub(super) raised: Option<Instant>,
    /// Since when the session goes by the fence of a token.
    pub(super) resumed: Option<Instant>,
    /// When a write only for a fence was last tried.
    pub(super) tried: Option<Instant>,
    /// Another one that has to be proven beside the present one, which does not stand for all of it: writes were answered out
    /// of order. The next write asks for it.
    pub(super) open: Option<Fence>,
    /// How often the session went on at a value that does not contain those before.
    pub(super) era: u32,
    /// How often something was found to be lost.
    pub(super) losses: u32,
    /// The last doubt about something that no counter counts.
    pub(super) uncounted: u64,
    /// The node that executed a write without a fence, and the doubt that this is.
    pub(super) unfenced: Option<(u64, u64)>,
}

/// How the next write is to be fenced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Raise {
    pub(crate) name: u64,
    /// What the write adds to the counter: it does so once.
    pub(crate) amount: u64,
    /// Seen behind another fence: the server has to contain that, so that from now on this one stands for both.
    pub(crate) before: Option<Fence>,
}

/// What the reply to a write says of fences, and who gave it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Raised {
    /// Where the counter stands now.
    pub(crate) count: u64,
    /// Where the one before stands; `None`: it is not there, or there is none.
    pub(crate) before: Option<u64>,
    pub(crate) by: u64,
}

/// What a node's reply says of a fence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Passed {
    /// The node said right before that it is the master.
    pub(crate) is_master: bool,
    /// Where the counter stands; `None`: it is not there.
    pub(crate) count: Option<u64>,
    /// The same of the other one that was asked for.
    pub(crate) open: Option<u64>,
    /// Names the node.
    pub(crate) by: u64,
}

impl Fences {
    /// The fence of a token, which nobody raises any more. `told`: what the token says beside its value.
    pub(super) fn resumed(fence: Fence, told: Option<u64>) -> Self {
        Self { last: Some(Epoch::resumed(fence.name, fence.count, told)), uncounted: 1, ..Self::default() }
    }

    /// Returns whether a write is under way whose effects a read may meet though the fence at `seen` does not show them: it is
    /// applied bit by bit, or raises another fence. What was read of that, only the master is sure to have.
    pub(super) fn hides(&self, seen: Seen) -> bool {
        let is_shown = |name: u64| seen.fence().into_iter().chain(self.open).any(|fence| fence.name == name);
        self.epochs().any(|epoch| epoch.is_hidden() || (epoch.is_raised() && !is_shown(epoch.name)))
    }

    /// The other fence that has to be proven.
    pub(super) fn open(&self) -> Option<Fence> {
        self.open
    }

    /// What a demand says of what the session has found out: how often it went on elsewhere, and how often that was a loss.
    pub(super) fn era(&self) -> (u32, u32) {
        (self.era, self.losses)
    }

    /// The session goes on at a value of this fence that does not contain those before: what was found by another one may be
    /// gone.
    pub(super) fn turn(&mut self, name: u64) {
        self.era += 1;
        self.epochs_mut().filter(|epoch| epoch.name != name).for_each(Epoch::forget_found);
    }

    fn epochs(&self) -> impl Iterator<Item = &Epoch> {
        self.own.iter().chain(&self.last)
    }

    pub(super) fn find(&self, name: u64) -> Option<&Epoch> {
        self.epochs().find(|epoch| epoch.name == name)
    }

    pub(super) fn epochs_mut(&mut self) -> impl Iterator<Item = &mut Epoch> {
        self.own.iter_mut().chain(&mut self.last)
    }

    pub(super) fn epoch(&mut self, name: u64) -> Option<&mut Epoch> {
        self.epochs_mut().find(|epoch| epoch.name == name)
    }
}
