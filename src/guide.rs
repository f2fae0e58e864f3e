//! Guides: what to know beside the reference, one subject a page.
//!
//! | page | read it |
//! |---|---|
//! | [`start`] | first: install, a first program, how to call commands |
//! | [`migrating`] | before you replace `redis::Client`, r2d2 or `SentinelClient` |
//! | [`read_preferences`] | to decide which node serves a read, and how old a value may be |
//! | [`sessions`] | if your program reads what it has just written |
//! | [`failover`] | to know what happens when a node fails, how long it takes, and what an error means |
//! | [`sentinel`] | if Sentinel watches your set |
//! | [`kubernetes`] | for Kubernetes, NAT and managed services |
//! | [`tls`] | to switch TLS on |
//! | [`monitoring`] | for events, logs, dashboards and alerts |
//! | [`tuning`] | for time limits, pool sizes and strategies |
//! | [`async_programs`] | if your program is async |
//! | [`limits`] | for what is not supported, and the rights that a Redis user needs |

#[doc = include_str!("guide/start.md")]
pub mod start {}

#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("guide/read_preferences.md")]
pub mod read_preferences {}

#[doc = include_str!("guide/sessions.md")]
pub mod sessions {}

#[doc = include_str!("guide/failover.md")]
pub mod failover {}

#[doc = include_str!("guide/sentinel.md")]
pub mod sentinel {}

#[doc = include_str!("guide/kubernetes.md")]
pub mod kubernetes {}

#[doc = include_str!("guide/tls.md")]
pub mod tls {}

#[doc = include_str!("guide/monitoring.md")]
pub mod monitoring {}

#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}

#[doc = include_str!("guide/async_programs.md")]
pub mod async_programs {}

#[doc = include_str!("guide/limits.md")]
pub mod limits {}
