//! What applications call, see and set, and the tools for their tests.

mod defaults;
mod events;
mod metrics;
mod observers;
mod outcomes;
mod rare_events;
mod ready;
mod reentry;
mod snapshot;
mod spans;
mod testing;
mod timing;
mod typed_helpers;
mod url;
