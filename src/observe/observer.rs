//! The trait of those who are told.

use std::fmt::Debug;
use std::sync::Arc;

use super::event::Event;
use super::interest::Interest;

/// Is told what happens in a client.
///
/// Events come on the thread on which they happen: those of calls on the caller's thread, before the call returns. So a slow
/// observer makes calls slow: count, or hand over to a thread of your own. Events of several threads come at the same time, so one
/// that happened later may be told first. A panic is caught and written to `tracing` (`observer_panicked`); the client continues.
///
/// An observer may use the client, within limits:
///
/// - A call that it makes is an event as well. One that makes a call in each [`Event::Call`] would never end.
/// - In events of connections and attempts, the caller on the same thread may have a connection already. If the pool has no other
///   one, the observer's call waits in vain, until its deadline.
/// - In events of nodes and of the topology, the set is being described. There, `refresh`, `add_replica` and the like wait in vain,
///   and so may a write: for the master that this thread is about to find. Their deadlines delay what the client learns.
/// - The client keeps its observers, so an observer that keeps a handle keeps the client for ever: take it away when you are done.
///
/// `Arc<O>` is an observer too: keep a clone of it to read what it has counted.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use redis_replicated::observe::{Event, Interest, NodeChange, Observer};
///
/// #[derive(Debug, Default)]
/// struct Ejections(AtomicU64);
///
/// impl Observer for Ejections {
///     fn observe(&self, event: &Event<'_>) {
///         if let Event::Node(node) = event
///             && let NodeChange::Ejected { .. } = node.change()
///         {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
///
///     fn interest(&self) -> Interest {
///         Interest::NODES
///     }
/// }
/// ```
pub trait Observer: Debug + Send + Sync + 'static {
    /// Is told one event.
    fn observe(&self, event: &Event<'_>);

    /// Returns which events are wanted. It is asked once, by [`Builder::build`](crate::Builder::build). Default: all.
    fn interest(&self) -> Interest {
        Interest::ALL
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }

    fn interest(&self) -> Interest {
        (**self).interest()
    }
}
