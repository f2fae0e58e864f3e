//! Arms with asynchronous callers. Where a client knows one server only, there is one for each replica, and they take turns.

use fred::interfaces::{ClientLike, KeysInterface};
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use rustis::commands::StringCommands;

use crate::caller::{AsyncCaller, Outcome, length, text};

/// The clients of all replicas.
#[derive(Clone)]
pub struct InTurn<C> {
    clients: Vec<C>,
    turn: usize,
}

impl<C: Clone> InTurn<C> {
    pub fn callers(clients: &[C], callers: usize) -> Vec<Self> {
        (0..callers).map(|turn| Self { clients: clients.to_vec(), turn }).collect()
    }

    fn next(&mut self) -> &mut C {
        self.turn += 1;
        let turn = self.turn % self.clients.len();
        &mut self.clients[turn]
    }
}

/// One connection of the redis crate for each replica.
pub async fn multiplexed(urls: Vec<String>) -> Outcome<Vec<MultiplexedConnection>> {
    let mut connections = Vec::new();
    for url in urls {
        let client = redis::Client::open(url).map_err(text)?;
        connections.push(client.get_multiplexed_async_connection().await.map_err(text)?);
    }
    Ok(connections)
}

pub async fn fred(urls: Vec<String>) -> Outcome<Vec<fred::clients::Client>> {
    let mut clients = Vec::new();
    for url in urls {
        let config = fred::types::config::Config::from_url(&url).map_err(text)?;
        let client = fred::types::Builder::from_config(config).build().map_err(text)?;
        client.init().await.map_err(text)?;
        clients.push(client);
    }
    Ok(clients)
}

pub async fn rustis(urls: Vec<String>) -> Outcome<Vec<rustis::client::Client>> {
    let mut clients = Vec::new();
    for url in urls {
        clients.push(rustis::client::Client::connect(url).await.map_err(text)?);
    }
    Ok(clients)
}

impl AsyncCaller for InTurn<MultiplexedConnection> {
    async fn get(&mut self, key: &'static str) -> Outcome<usize> {
        redis::cmd("GET").arg(key).query_async(self.next()).await.map_err(text).and_then(length)
    }
}

impl AsyncCaller for ClusterConnection {
    async fn get(&mut self, key: &'static str) -> Outcome<usize> {
        redis::cmd("GET").arg(key).query_async(self).await.map_err(text).and_then(length)
    }
}

impl AsyncCaller for InTurn<fred::clients::Client> {
    async fn get(&mut self, key: &'static str) -> Outcome<usize> {
        let value: Option<fred::bytes::Bytes> = KeysInterface::get(self.next(), key).await.map_err(text)?;
        value.map(|value| value.len()).ok_or_else(|| "the key is missing".to_owned())
    }
}

impl AsyncCaller for InTurn<rustis::client::Client> {
    async fn get(&mut self, key: &'static str) -> Outcome<usize> {
        let value: Option<rustis::resp::BulkString> = StringCommands::get(&*self.next(), key).await.map_err(text)?;
        value.map(|value| value.len()).ok_or_else(|| "the key is missing".to_owned())
    }
}
