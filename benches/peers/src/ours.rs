//! Arms: this crate, with leases only, with shared connections, and with sessions on shared connections.

use redis_replicated::{ReplicatedClient, redis};

use crate::caller::{Caller, Outcome, length, text};
use crate::nodes::Nodes;

/// Returns a client of these servers, whose callers share so many connections a node; 0: none.
pub fn client(nodes: &Nodes, pool: u32, shared: u32) -> Outcome<ReplicatedClient> {
    let builder = ReplicatedClient::builder().master(nodes.master()).replicas(nodes.replicas());
    builder.pool_size(pool).shared_connections(shared).build().map_err(text)
}

/// Returns handles that each carry a session which has seen a write: its reads prove that they come after it.
pub fn sessions(client: &ReplicatedClient, callers: usize) -> Outcome<Vec<ReplicatedClient>> {
    let writer = client.session();
    writer.set("written", 1).map_err(text)?;
    let token = writer.token().ok_or("a session without a token")?;
    Ok((0..callers).map(|_| client.resume(&token)).collect())
}

impl Caller for ReplicatedClient {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        self.query(redis::cmd("GET").arg(key)).map_err(text).and_then(length)
    }
}
