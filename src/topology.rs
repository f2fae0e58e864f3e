//! The set as it is now: which nodes belong to it, in which roles, with their pools.
//!
//! Starts no thread and asks no node: the monitor does. What it learns enters the [`TopologyStore`].

mod announced;
mod checkout;
mod description;
mod election;
#[cfg(test)]
pub(crate) mod fake;
mod first_write;
mod gauges;
mod history;
mod membership;
mod picture;
mod progress;
mod refused;
mod rights;
mod server;
mod snapshot;
mod store;
mod wakeup;

pub(crate) use self::checkout::Purpose;
pub use self::description::{Description, RefreshTrigger, TopologyProvider};
pub(crate) use self::picture::{Assigned, Topology};
pub(crate) use self::progress::Hint;
pub(crate) use self::server::{Server, ServerSettings};
pub use self::snapshot::{FallbackSnapshot, NodeSnapshot, ReplicationSnapshot, Snapshot};
pub(crate) use self::store::TopologyStore;
pub(crate) use self::wakeup::{Wakeup, Woken};
