//! Typed helpers for common commands, with the names and meanings of [`redis::TypedCommands`], on a shared handle.
//!
//! All other commands run through [`query`](crate::ReplicatedClient::query) or
//! [`connection`](crate::ReplicatedClient::connection).

// In the order of the page of `ReplicatedClient`: the blank lines keep rustfmt from sorting it.
mod strings;

mod keys;

mod hashes;

mod lists;

mod sets;

mod sorted_sets;

#[cfg(feature = "json")]
mod json;

mod server;
