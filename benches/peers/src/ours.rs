//! Arms: this crate, with leases only and with shared connections.

use redis_replicated::{ReplicatedClient, redis};

use crate::caller::{Caller, Outcome, length, text};
use crate::nodes::Nodes;

/// Returns a client of these servers, whose callers share so many connections a node; 0: none.
pub fn client(nodes: &Nodes, pool: u32, shared: u32) -> Outcome<ReplicatedClient> {
    let builder = ReplicatedClient::builder().master(nodes.master()).replicas(nodes.replicas());
    builder.pool_size(pool).shared_connections(shared).build().map_err(text)
}

impl Caller for ReplicatedClient {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        self.query(redis::cmd("GET").arg(key)).map_err(text).and_then(length)
    }
}
