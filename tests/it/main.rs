//! Tests against real servers. One program, so that it is linked once.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod calls;
mod connections;
mod failures;
mod nemesis;
mod sessions;
mod support;
mod surface;
#[cfg(any(feature = "tls-rustls-ring", feature = "tls-rustls-aws-lc-rs"))]
mod tls;
mod topology;
