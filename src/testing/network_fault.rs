//! The faults of a network.

use std::time::Duration;

/// The largest number of bytes that are read at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// What a [`FaultProxy`](super::FaultProxy) does to its connections: [`set`](super::FaultProxy::set).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NetworkFault {
    /// Everything is passed on unchanged.
    #[default]
    None,
    /// The bytes of the server are passed on after this delay. The throughput is not limited.
    Delay(Duration),
    /// Connections and bytes are accepted, but nothing is passed on in either direction, and nothing is closed.
    ///
    /// As TCP would retransmit them, the bytes are held, and delivered when the fault ends.
    BlackHole,
    /// New and existing connections are reset (RST) as soon as the client sends something.
    Reset,
    /// The port refuses connections, and existing connections are closed.
    Refuse,
    /// The next reply on each connection is not passed on. The client sees the end of the stream instead, while the proxy still
    /// reads from the client. The connection stays in this state when the fault ends.
    HalfClose,
    /// On each connection, the next bytes of the server are passed on up to this number. Then the connection is closed. With zero,
    /// it is closed when a reply comes.
    Truncate(usize),
    /// The bytes of the server are passed on one at a time, with this pause between two of them.
    SlowBytes(Duration),
    /// The bytes of the client are read in small parts, with a pause between two of them. Replies are passed on immediately.
    ///
    /// The client fills the buffers of the system first: it can send several megabytes before it has to wait.
    SlowReader {
        /// The number of bytes of a part, at least one.
        bytes: usize,
        /// The pause between two parts.
        pause: Duration,
    },
}

/// The fault, and the number of times that a fault was set.
#[derive(Clone, Copy, Default)]
pub(super) struct Setting {
    pub(super) fault: NetworkFault,
    pub(super) generation: u64,
}

impl NetworkFault {
    /// Returns the largest number of bytes that are read from the client at once.
    pub(super) fn taken_at_once(self) -> usize {
        match self {
            Self::SlowReader { bytes, .. } => bytes.clamp(1, CHUNK),
            _ => CHUNK,
        }
    }
}
