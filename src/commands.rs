//! Typed helpers for common commands, with the names and meanings of [`redis::TypedCommands`], on a shared handle.
//!
//! All other commands run through [`query`](crate::ReplicatedClient::query) or
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
