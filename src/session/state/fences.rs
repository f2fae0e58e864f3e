//! The fences of a session: the counter that its writes raise, the one before, and what replies say of them.
//!
//! What a value of a counter proves is decided in [`counter`](super::counter) and [`proof`](super::proof).

use std::time::{Duration, Instant};

use super::counter::Counter;
use crate::session::token::{Fence, Watermark};

/// How long the key of a counter lives after the last write. After half of this time, the session takes another counter.
pub(crate) const FENCE_TTL: Duration = Duration::from_secs(600);

/// The counters of a session.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// The counter that this session's writes raise now.
    pub(super) own: Option<Counter>,
    /// The counter before it, to which late replies may still come.
    pub(super) previous: Option<Counter>,
    /// When the session's own counter was created or last raised.
    pub(super) last_raised: Option<Instant>,
    /// When the session first used the fence of its token.
    pub(super) resumed_at: Option<Instant>,
    /// When a renewal was last tried.
    pub(super) renewal_tried: Option<Instant>,
    /// A second fence that a node has to prove, because replies came out of order and the current one does not stand for all
    /// that was seen. The next write reads it too, and so makes the current one stand for both.
    pub(super) second: Option<Fence>,
    /// How often the session continued at a value that does not contain all of the earlier ones.
    pub(super) discontinuities: u32,
    /// How often a loss was found.
    pub(super) losses: u32,
    /// The number of the last doubt about something that no counter counts.
    pub(super) uncounted_doubt: u64,
    /// The node that executed the last write without a fence, and the number of the doubt that it caused.
    pub(super) unfenced: Option<(u64, u64)>,
}

/// How a write raises the fence of its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Raise {
    /// The counter that the write raises.
    pub(crate) name: u64,
    /// The amount that the write adds, which is used only once.
    pub(crate) amount: u64,
    /// Another fence that the write reads: if the server contains what it stands for, the raised one stands for both.
    pub(crate) before: Option<Fence>,
}

/// The reply to a raise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RaiseReply {
    /// The value of the counter after the raise.
    pub(crate) count: u64,
    /// The value of the fence that was read; `None`: its key does not exist, or none was read.
    pub(crate) before: Option<u64>,
    /// The hash of the node that replied.
    pub(crate) by: u64,
}

/// The values of the fences on the node that served a read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct FenceReading {
    /// The node said that it is a master, just before it served the read.
    pub(crate) is_master: bool,
    /// The value of the required fence; `None`: its key does not exist.
    pub(crate) count: Option<u64>,
    /// The value of the second required fence; `None`: its key does not exist, or there is none.
    pub(crate) second: Option<u64>,
    /// The hash of the node that replied.
    pub(crate) by: u64,
}

impl Fences {
    /// Returns the fences of a session that a token resumes: no write raises the token's fence any more.
    pub(super) fn of_token(fence: Fence, written: Option<u64>) -> Self {
        let previous = Some(Counter::resumed(fence.name, fence.count, written));
        Self { previous, uncounted_doubt: 1, ..Self::default() }
    }

    /// Returns whether a read may see the effects of a pending write that the required fences do not show: it is applied command
    /// by command, or raises another fence. Then only the master certainly contains what was read.
    pub(super) fn hides_writes(&self, watermark: Watermark) -> bool {
        let is_shown = |name: u64| watermark.fence().into_iter().chain(self.second).any(|fence| fence.name == name);
        self.counters().any(|counter| counter.has_hidden() || (counter.has_pending() && !is_shown(counter.name)))
    }

    /// Records that the session continues at a value of this fence that does not contain all of the earlier ones: what the other
    /// counters have observed may be lost.
    pub(super) fn record_discontinuity(&mut self, name: u64) {
        self.discontinuities += 1;
        self.counters_mut().filter(|counter| counter.name != name).for_each(Counter::forget_observed);
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.own.iter().chain(&self.previous)
    }

    /// Returns the counter with this name.
    pub(super) fn counter(&self, name: u64) -> Option<&Counter> {
        self.counters().find(|counter| counter.name == name)
    }

    /// Returns both counters.
    pub(super) fn counters_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.own.iter_mut().chain(&mut self.previous)
    }

    /// Returns the counter with this name, to change it.
    pub(super) fn counter_mut(&mut self, name: u64) -> Option<&mut Counter> {
        self.counters_mut().find(|counter| counter.name == name)
    }
}
