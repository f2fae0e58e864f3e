//! Typed helpers for everyday commands: the names and senses of [`redis::TypedCommands`], on a shared handle.
//!
//! Everything else runs through [`query`](crate::ReplicatedClient::query) or
//! [`connection`](crate::ReplicatedClient::connection).

mod hashes;
#[cfg(feature = "json")]
mod json;
mod keys;
mod lists;
mod server;
mod sets;
mod sorted_sets;
mod strings;
