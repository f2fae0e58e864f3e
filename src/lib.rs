//! Client-side routing for Redis replication: writes go to the master, reads are spread over the replicas.
//!
//! A [`ReplicatedClient`] wraps one pool of connections to the master and one to each replica. For every call, a table
//! says what the command is ([`Classification`]), the read preference ([`ReadFrom`]) says who may serve it, and a
//! [`strategy`] picks one of those. Synchronous, without an async runtime, without a proxy.
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
//! client.set("greeting", "hello")?;                             // on the master
//! let greeting: Option<String> = client.get("greeting")?;       // on a replica, which may lag behind the master
//! let places: Vec<String> = client.query(redis::cmd("ZRANGE").arg("places").arg(0).arg(-1))?;
//! println!("{}", client.explain(&redis::cmd("GET")));
//! # Ok(()) }
//! ```
//!
//! # What goes where
//!
//! | classification | examples | goes to | sent again after a failed attempt |
//! |---|---|---|---|
//! | `Read` | `GET` `HGETALL` `MGET` `EVAL_RO` `XRANGE` | a node by [`ReadFrom`] and strategy | yes, to another node |
//! | `Cursor` | `SCAN` `HSCAN` `SSCAN` `ZSCAN` | first page like a read, later pages to that node | first page only |
//! | `Write` | `SET` `INCR` `SORT` `EVAL`, unknown names | the master | only if provably not executed |
//! | `Master` | `PUBLISH` `WAIT` `INFO` `CONFIG` `PING` | the master | only if provably not executed |
//! | `Connection` | `SELECT` `AUTH` `SUBSCRIBE` `MONITOR` | refused, see [`dedicated`](ReplicatedClient::dedicated) | – |
//!
//! # When nodes fail
//!
//! Reads go on with whoever can serve, writes wait for the next master, and nothing is executed twice. A monitor asks every
//! node for its state; ejected nodes come back through one probe at a time and with a small share of the load at first. The
//! set is named in the [`Builder`], found from any node ([`discover`](Builder::discover)), through Sentinel
//! ([`sentinel`](Builder::sentinel)), or by a [`TopologyProvider`] of your own.
//!
//! # Staleness, and reading your own writes
//!
//! Replication is asynchronous: a replica may not yet have what was just written. A [`session`](ReplicatedClient::session)
//! reads what it wrote, from replicas that prove to have it; [`max_staleness`](ReplicatedClient::max_staleness) bounds how old
//! a read may be; [`acknowledged_by`](ReplicatedClient::acknowledged_by) has writes confirmed by replicas; and
//! `client.read_from(ReadFrom::Master)` reads from the master. Scripts are not replicated: `EVALSHA_RO` needs the script loaded
//! on the replica that serves it; `EVAL_RO` always works.
//!
//! # Features
//!
//! `json` (typed JSON values), `testing` ([`testing`]: real replica sets for tests), and TLS: `tls-rustls-ring`,
//! `tls-rustls-aws-lc-rs`, `tls-rustls`, `tls-rustls-webpki-roots`, `tls-rustls-insecure`, `tls-native-tls`; see
//! [`guide::tls`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

// Imports point down this list only.
mod builder;
mod commands;
mod config;
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
mod events;
pub mod guide;
mod hash;
mod node;
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
pub use self::connection::RoutedConnection;
pub use self::endpoint::Endpoint;
pub use self::error::{Error, ErrorKind, Result};
pub use self::node::{InFlight, Node, Outcome, SyncState};
pub use self::replication::Role;
pub use self::selection::{Decision, Exclusion, Measures, ParseReadFromError, ReadFrom};
pub use self::session::{ParseTokenError, SessionMode, Token};
pub use self::topology::{Description, NodeSnapshot, RefreshTrigger, ReplicationSnapshot, Snapshot, TopologyProvider};

/// What the docs promise of the types that threads share.
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    const fn assert_send<T: Send>() {}
    assert_send_sync::<ReplicatedClient>();
    assert_send_sync::<Error>();
    assert_send_sync::<Node>();
    assert_send::<RoutedConnection>();
};
