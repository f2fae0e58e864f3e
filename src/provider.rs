//! Where sets come from: named in the builder, found by asking nodes, or reported by Sentinels.
//!
//! A provider says which nodes there are; the topology store decides what becomes of that.

mod discovery;
#[cfg(test)]
mod fake;
mod fixed;
mod names;
mod sentinel;

pub(crate) use self::discovery::Discovery;
pub(crate) use self::fixed::Fixed;
pub(crate) use self::sentinel::SentinelGroup;
