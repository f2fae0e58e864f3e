//! Arms: this crate, with leases only and with shared connections.

use redis_replicated::{Builder, ReplicatedClient, redis};

use crate::caller::{Caller, Outcome, length, text};
use crate::nodes::Nodes;

/// Returns a client of these servers, whose callers share so many connections a node; 0: none.
pub fn client(nodes: &Nodes, pool: u32, shared: u32) -> Outcome<ReplicatedClient> {
    let builder = ReplicatedClient::builder().master(nodes.master()).replicas(nodes.replicas()).pool_size(pool);
    sharing(builder, shared)?.build().map_err(text)
}

/// Sets how many connections a node are shared.
fn sharing(builder: Builder, connections: u32) -> Outcome<Builder> {
    // Once the setting is there, all of this becomes: Ok(builder.shared_connections(connections))
    if connections == 0 { Ok(builder) } else { Err("this version of the crate shares no connections".to_owned()) }
}

impl Caller for ReplicatedClient {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        self.query(redis::cmd("GET").arg(key)).map_err(text).and_then(length)
    }
}
