//! Client-side routing for Redis replication: writes go to the master, reads are spread over the replicas.
//!
//! A [`ReplicatedClient`] has one connection pool for the master and one for each replica. For every call, a table
//! classifies the command ([`Classification`]), the read preference ([`ReadFrom`]) says which roles may serve it, and a
//! [`strategy`] picks one of the nodes that may. The crate is synchronous; it needs no proxy and no async runtime.
//!
//! ```no_run
//! use redis_replicated::ReplicatedClient;
//!
//! # fn main() -> redis_replicated::Result<()> {
//! let client = ReplicatedClient::builder()
//!     .master("redis://127.0.0.1:6379")
//!     .replicas(["redis://127.0.0.1:6380", "redis://127.0.0.1:6381"])
//!     .build()?;
//!
//! client.set("greeting", "hello")?;                           // on the master
//! let greeting: Option<String> = client.get("greeting")?;     // on a replica, which may lag
//! let places: Vec<String> = client.query(redis::cmd("ZRANGE").arg("places").arg(0).arg(-1))?;
//! println!("{}", client.explain(&redis::cmd("GET")));
//! # Ok(()) }
//! ```
//!
//! Replication is asynchronous: a replica may not have yet what was just written. A [`session`](ReplicatedClient::session)
//! reads its own writes, from replicas that prove to have them. See [`guide::sessions`] and [`guide::read_preferences`].
//!
//! # Guide
//!
//! The [`guide`] has a page for each subject. Begin with [`guide::start`], or with [`guide::migrating`] if your program uses
//! `redis::Client`, r2d2 or `SentinelClient` today. [`guide::failover`] says what happens when nodes fail, [`guide::tuning`]
//! which settings matter, and [`guide::limits`] what is not supported and which rights the Redis user needs.
//!
//! # What goes where
//!
//! | classification | examples | goes to | retried after a failed attempt |
//! |---|---|---|---|
//! | `Read` | `GET` `HGETALL` `MGET` `EVAL_RO` `XRANGE` | a node by [`ReadFrom`] and strategy | yes, on another node |
//! | `Cursor` | `SCAN` `HSCAN` `SSCAN` `ZSCAN` | first page like a read, later pages to the same node | first page only |
//! | `Write` | `SET` `INCR` `SORT` `EVAL`, unknown names | the master | only if it was certainly not executed |
//! | `Master` | `PUBLISH` `WAIT` `INFO` `CONFIG` `PING` | the master | only if it was certainly not executed |
//! | `Connection` | `SELECT` `AUTH` `SUBSCRIBE` `MONITOR` | refused, see [`dedicated`](ReplicatedClient::dedicated) | – |
//!
//! The [`Builder`] says where the nodes of the set come from: they are named, found from any node
//! ([`discover`](Builder::discover)), reported by Sentinel ([`sentinel`](Builder::sentinel)), or described by a
//! [`TopologyProvider`] of your own.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `json` | [`get_json`, `set_json` and `set_json_ex`](ReplicatedClient): values as JSON, with serde |
//! | `metrics` | [`observe::MetricsObserver`][metrics-observer]: metrics by the names of the specification for Redis clients, through the facade `metrics` |
//! | `testing` | the module [`testing`][module-testing]: real replica sets, Sentinels and network faults for tests |
//! | `tls-rustls-ring`, `tls-rustls-aws-lc-rs`, `tls-rustls`, `tls-rustls-webpki-roots`, `tls-rustls-insecure`, `tls-native-tls` | TLS, see [`guide::tls`] |
//!
#![cfg_attr(feature = "testing", doc = "", doc = "[module-testing]: crate::testing")]
#![cfg_attr(not(feature = "testing"), doc = "", doc = "[module-testing]: https://docs.rs/redis-replicated")]
#![cfg_attr(feature = "metrics", doc = "", doc = "[metrics-observer]: crate::observe::MetricsObserver")]
#![cfg_attr(not(feature = "metrics"), doc = "", doc = "[metrics-observer]: https://docs.rs/redis-replicated")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

use std::panic::{RefUnwindSafe, UnwindSafe};

// Imports point down this list only. Its order is also that of the methods on the page of `ReplicatedClient`.
mod builder;
mod config;

mod commands;

mod connection;

mod client;

mod session;

mod call;

mod provider;

mod monitor;

mod topology;

mod endpoint;
mod pool;

mod addr;
mod classification;
mod error;
pub mod guide;
mod hash;
mod lanes;
mod millis;
mod node;
pub mod observe;
mod replication;
mod retry;
mod selection;
mod spelling;
pub mod strategy;

#[cfg(feature = "testing")]
pub mod testing;

pub use redis;

pub use self::addr::{NodeAddr, ParseNodeAddrError};
pub use self::builder::Builder;
pub use self::classification::{Classification, Classifier};
pub use self::client::{ReplicatedClient, Target};
pub use self::config::Config;
pub use self::connection::{RoutedConnection, ScanIter};
pub use self::endpoint::Endpoint;
pub use self::error::{Error, ErrorKind, Result};
pub use self::node::{Health, InFlight, Node, Outcome, Percentiles, SyncState};
pub use self::replication::Role;
pub use self::selection::{Decision, Exclusion, Measures, ParseReadFromError, ReadFrom};
pub use self::session::{ParseTokenError, SessionMode, Token};
pub use self::topology::{
    Description, FallbackSnapshot, NodeSnapshot, RefreshTrigger, ReplicationSnapshot, Snapshot, TopologyProvider,
};

/// Checks at compile time which types may be sent to, or shared between, threads, and used after a panic, as the docs say.
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    const fn assert_send<T: Send>() {}
    const fn assert_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    assert_send_sync::<ReplicatedClient>();
    assert_send_sync::<Error>();
    assert_send_sync::<Node>();
    assert_send::<RoutedConnection>();
    assert_send::<ScanIter<String>>();
    assert_unwind_safe::<ReplicatedClient>();
};
