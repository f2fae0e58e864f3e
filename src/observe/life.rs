//! The life of one connection, whose end is an event.

use std::sync::atomic::{AtomicU8, Ordering};

use super::connection::{CloseReason, ConnectionChange, ConnectionKind};
use super::observers::NodeObservers;

/// The life of one connection: its end is told when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionLife {
    observers: NodeObservers,
    kind: ConnectionKind,
    /// 0 until a reason is known.
    reason: AtomicU8,
}

impl ConnectionLife {
    pub(crate) fn begin(observers: NodeObservers, kind: ConnectionKind) -> Self {
        Self { observers, kind, reason: AtomicU8::new(0) }
    }

    /// Records why the connection will be closed. The first reason counts.
    pub(crate) fn ends_by(&self, reason: CloseReason) {
        // Relaxed: of two threads that close it, either is right.
        let _ = self.reason.compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for ConnectionLife {
    fn drop(&mut self) {
        let reason = CloseReason::of(*self.reason.get_mut()).unwrap_or(CloseReason::Application);
        self.observers.connection_changed(self.kind, ConnectionChange::Closed { reason });
    }
}
