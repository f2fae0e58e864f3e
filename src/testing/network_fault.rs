//! The faults of a network.

use std::time::Duration;

/// How much is read at once, at most.
pub(super) const CHUNK: usize = 64 * 1024;

/// What a [`FaultProxy`](super::FaultProxy) does to its connections: [`set`](super::FaultProxy::set).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NetworkFault {
    /// Everything is passed on.
    #[default]
    None,
    /// What the server sends is passed on this long after it came: a constant delay, no limit of the throughput.
    Delay(Duration),
    /// Connections and bytes are accepted, nothing is passed on in either direction, nothing is closed.
    ///
    /// As with a real network, whose TCP sends again what was lost, the bytes are held, and delivered when it ends.
    BlackHole,
    /// Connections, new and existing ones, are reset (RST) as soon as the client sends something.
    Reset,
    /// The port refuses connections, and existing ones are closed.
    Refuse,
    /// The next reply on each connection is not passed on: the client sees the end of the stream instead, while the
    /// proxy goes on reading what it sends. The connection stays like that when the fault ends.
    HalfClose,
    /// This many bytes of what the server sends next on each connection are passed on, then the connection is closed;
    /// zero closes it when a reply comes.
    Truncate(usize),
    /// What the server sends is passed on one byte at a time, with this pause between.
    SlowBytes(Duration),
    /// What the client sends is taken this many bytes at a time, with this pause between; replies are passed on at once.
    ///
    /// What the buffers of the system hold comes first: several megabytes can be sent before the client has to wait.
    SlowReader {
        /// How many bytes are taken at once, at least one.
        bytes: usize,
        /// The pause between two of them.
        pause: Duration,
    },
}

/// The fault, and how often it was set.
#[derive(Clone, Copy, Default)]
pub(super) struct Setting {
    pub(super) fault: NetworkFault,
    pub(super) generation: u64,
}

impl NetworkFault {
    /// Returns how many bytes of what the client sends are taken at once, at most.
    pub(super) fn taken_at_once(self) -> usize {
        match self {
            Self::SlowReader { bytes, .. } => bytes.clamp(1, CHUNK),
            _ => CHUNK,
        }
    }
}
