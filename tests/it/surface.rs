//! What applications call, see and set, and the tools for their tests.

mod defaults;
mod events;
mod helpers_route;
mod metrics;
mod observers;
mod ready;
mod scan_iterators;
mod snapshot;
mod spans;
mod testing;
mod typed_helpers;
