//! What applications call, see and set, and the tools for their tests.

mod defaults;
mod events;
mod helpers_route;
mod metrics;
mod observers;
mod outcomes;
mod rare_events;
mod ready;
mod reentry;
mod scan_iterators;
mod snapshot;
mod spans;
mod testing;
mod timing;
mod typed_helpers;
mod url;
