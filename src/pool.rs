//! Connections to one node: how they are bounded, lent, opened and given back.
//!
//! r2d2 lends *slots*. A slot may be empty; the caller that got it connects under its own deadline. So r2d2 never
//! connects, never waits for a port that refuses, never backs off and never sends a PING; it bounds, lends and reaps.
//!
//! Where many callers use a node at a time, they share one connection beside the slots: [`shared`].
//!
//! A pool never retries and never picks another node: that is the task of `call`. No lock is held across I/O.

mod access;
mod connection;
mod connector;
mod generation;
mod handshake;
#[cfg(test)]
mod hostile;
mod housekeeping;
mod lease;
mod limits;
mod line;
mod network;
mod node_pool;
mod open_connection;
mod resolver;
mod sentinel_connection;
mod shared;
mod socket;
mod status_connection;
mod tls;
mod transport;
mod unpooled;
mod waits;

pub(crate) use self::connection::Connection;
pub(crate) use self::handshake::{Login, replicates_without_order, role_in_hello};
pub(crate) use self::housekeeping::Housekeeping;
pub(crate) use self::limits::{LONGEST_SHARED, Limits, ReplyWait};
pub(crate) use self::line::Line;
pub(crate) use self::network::Network;
pub(crate) use self::node_pool::{CheckoutOptions, Pool};
pub(crate) use self::resolver::Resolver;
pub(crate) use self::sentinel_connection::SentinelConnection;
pub(crate) use self::status_connection::{Silence, StatusConnection};
pub(crate) use self::tls::{Certificates, Pem, Tls, check_features};
