//! Tests against real servers. One program, so that it is linked once.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod capacity;
mod classification;
mod confirmations;
mod connections;
mod discovery;
mod errors;
mod events;
mod failover;
mod faults;
mod fence_faults;
mod fences;
mod field;
mod helpers;
mod lineages;
mod names;
mod nemesis;
mod outage;
mod panics;
mod providers;
mod refusals;
mod rights;
mod roles;
mod routing;
mod sentinels;
mod session_cost;
mod session_outage;
mod sessions;
mod set;
mod shared_endpoint;
mod staleness;
mod strategies;
mod support;
mod survive;
mod sync_states;
mod testing;
mod time_limits;
#[cfg(any(feature = "tls-rustls-ring", feature = "tls-rustls-aws-lc-rs"))]
mod tls;
mod transactions;
mod wear;
