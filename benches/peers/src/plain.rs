//! Arms with synchronous callers: connections of the redis crate, pools of r2d2, the multiplexed and the cluster connection.

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterConnection;
use redis::{Client, Connection, RedisResult};
use tokio::runtime::Handle;

use crate::caller::{Caller, Outcome, length, text};

/// The caller's own connection; opened again after an error.
pub struct Own {
    client: Client,
    connection: Option<Connection>,
}

/// A pool for each replica; the replicas take turns.
#[derive(Clone)]
pub struct Pools {
    pools: Vec<r2d2::Pool<Client>>,
    turn: usize,
}

/// One multiplexed connection for each replica, used with `block_on`; the replicas take turns.
#[derive(Clone)]
pub struct BlockOn {
    connections: Vec<MultiplexedConnection>,
    handle: Handle,
    turn: usize,
}

/// The caller's own connections to a cluster.
pub struct OwnCluster(pub ClusterConnection);

impl Own {
    /// Opens a connection for each caller; callers take turns at the replicas.
    pub fn callers(urls: &[String], callers: usize) -> Outcome<Vec<Self>> {
        (0..callers).map(|caller| Self::open(&urls[caller % urls.len()])).collect()
    }

    fn open(url: &str) -> Outcome<Self> {
        let client = Client::open(url).map_err(text)?;
        let connection = Some(client.get_connection().map_err(text)?);
        Ok(Self { client, connection })
    }

    fn read(&mut self, key: &str) -> RedisResult<Option<Vec<u8>>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.client.get_connection()?),
        };
        redis::cmd("GET").arg(key).query(connection)
    }
}

impl Pools {
    /// Opens `size` connections to each replica.
    pub fn callers(urls: &[String], size: u32, is_checked: bool, callers: usize) -> Outcome<Vec<Self>> {
        let pool = |url: &String| -> Outcome<_> {
            let client = Client::open(url.as_str()).map_err(text)?;
            r2d2::Pool::builder().max_size(size).test_on_check_out(is_checked).build(client).map_err(text)
        };
        let pools = urls.iter().map(pool).collect::<Outcome<Vec<_>>>()?;
        Ok((0..callers).map(|turn| Self { pools: pools.clone(), turn }).collect())
    }
}

impl BlockOn {
    pub fn callers(connections: &[MultiplexedConnection], handle: &Handle, callers: usize) -> Vec<Self> {
        let caller = |turn| Self { connections: connections.to_vec(), handle: handle.clone(), turn };
        (0..callers).map(caller).collect()
    }
}

impl Caller for Own {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        let result = self.read(key);
        if result.is_err() {
            self.connection = None;
        }
        result.map_err(text).and_then(length)
    }
}

impl Caller for Pools {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        self.turn += 1;
        let mut connection = self.pools[self.turn % self.pools.len()].get().map_err(text)?;
        redis::cmd("GET").arg(key).query(&mut *connection).map_err(text).and_then(length)
    }
}

impl Caller for BlockOn {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        self.turn += 1;
        let turn = self.turn % self.connections.len();
        let connection = &mut self.connections[turn];
        let mut command = redis::cmd("GET");
        self.handle.block_on(command.arg(key).query_async(connection)).map_err(text).and_then(length)
    }
}

impl Caller for OwnCluster {
    fn get(&mut self, key: &'static str) -> Outcome<usize> {
        redis::cmd("GET").arg(key).query(&mut self.0).map_err(text).and_then(length)
    }
}
