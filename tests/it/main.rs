//! Tests against real servers. One program, so that it is linked once.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod routing;
