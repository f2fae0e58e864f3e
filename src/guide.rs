//! Guides: what to know beside the reference.

#[doc = include_str!("guide/tls.md")]
pub mod tls {}
