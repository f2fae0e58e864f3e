//! Where the time of a call went.

use std::time::Duration;

/// Where the time of a call, or of one attempt, went.
///
/// The parts are less than the whole by what the client itself needs: it selects a node and handles replies.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Timing {
    /// The wait for a connection, because none was free.
    pub waiting: Duration,
    /// Opening or validating a connection.
    pub connecting: Duration,
    /// Sending a request of more than 16 KiB. A shorter one takes microseconds; it counts as `replying`.
    pub sending: Duration,
    /// The wait for the reply, and reading it. On a shared connection also the wait for the requests of other callers.
    pub replying: Duration,
    /// Pauses between attempts: until a node is there, a fallback read is allowed, or the retry budget is filled.
    pub pausing: Duration,
}

impl Timing {
    /// Returns the sum of all parts.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.waiting + self.connecting + self.sending + self.replying + self.pausing
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.connecting += other.connecting;
        self.sending += other.sending;
        self.replying += other.replying;
        self.pausing += other.pausing;
    }
}

/// Where the time of an attempt went, beside the wait for the reply: in microseconds, as every call carries it. Each part is at
/// most 71 minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    waiting: u32,
    connecting: u32,
    sending: u32,
}

impl Spent {
    pub(crate) fn waiting(time: Duration) -> Self {
        Self { waiting: micros(time), ..Self::default() }
    }

    pub(crate) fn connecting(time: Duration) -> Self {
        Self { connecting: micros(time), ..Self::default() }
    }

    pub(crate) fn sending(time: Duration) -> Self {
        Self { sending: micros(time), ..Self::default() }
    }

    /// Returns the sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            waiting: self.waiting.saturating_add(other.waiting),
            connecting: self.connecting.saturating_add(other.connecting),
            sending: self.sending.saturating_add(other.sending),
        }
    }

    pub(crate) fn timing(self) -> Timing {
        let [waiting, connecting, sending] =
            [self.waiting, self.connecting, self.sending].map(|micros| Duration::from_micros(micros.into()));
        Timing { waiting, connecting, sending, ..Timing::default() }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
