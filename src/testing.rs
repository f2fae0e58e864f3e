//! Real servers for tests (feature `testing`): a [`ReplicaSet`] of a master and replicas, [`Sentinels`] that watch it, and a
//! [`FaultProxy`] that simulates a bad network in front of a server. The checks [`strategy_conformance`], [`strategy_is_even`]
//! and [`strategy_allocates_nothing`] are for strategies of your own.
//!
//! The servers are real: the installed `redis-server` or `valkey-server`, or the program in the environment variable
//! `REDIS_SERVER_BIN`. They run on free ports of this machine, write no data to disk, and stop on drop.
//!
//! ```no_run
//! use redis_replicated::testing::ReplicaSet;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut servers = ReplicaSet::start(2)?;
//! let client = servers.client_builder().build()?;
//! client.set("k", "v")?;
//! servers.wait_until_in_sync()?;
//! servers.replica_mut(0).stop();
//! assert_eq!(client.get::<String>("k")?, "v");
//! assert_eq!(servers.master().calls("GET")?, 0);
//! # Ok(()) }
//! ```

mod conformance;
mod fault_proxy;
mod launch;
mod link;
mod network_fault;
mod replica_set;
mod sentinels;
mod server;

pub use self::conformance::{strategy_allocates_nothing, strategy_conformance, strategy_is_even};
pub use self::fault_proxy::FaultProxy;
pub use self::launch::free_port;
pub use self::network_fault::NetworkFault;
pub use self::replica_set::{ReplicaSet, Setup};
pub use self::sentinels::Sentinels;
pub use self::server::Server;
