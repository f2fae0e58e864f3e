//! A connection to a Sentinel.

use std::time::Instant;

use redis::{ConnectionInfo, RedisResult, Value};

use super::connector::Connector;
use super::generation::Generations;
use super::handshake::Login;
use super::network::Network;
use super::open_connection::OpenConnection;

/// An open connection to a Sentinel, or to another server that serves no calls, logged in. One end bounds each step.
#[derive(Debug)]
pub(crate) struct SentinelConnection(OpenConnection);

impl SentinelConnection {
    /// Connects and logs in, by `end`.
    pub(crate) fn open(info: ConnectionInfo, network: &Network, end: Instant) -> RedisResult<Self> {
        let connector = Connector::new(Login { info, client_name: None }, network.clone())?;
        // With HELLO, a server without a password accepts any password. AUTH says that none is expected.
        connector.go_without_hello();
        connector.connect_to_any(&Generations::default(), end).map(|(connection, _)| Self(connection))
    }

    /// Sends questions and returns the replies, all of them by `end`.
    pub(crate) fn ask(&mut self, questions: &[u8], replies: usize, end: Instant) -> RedisResult<Vec<Value>> {
        self.0.ask(questions, replies, end)
    }

    /// Waits for the next message that the server sends unasked, until `end`.
    pub(crate) fn listen(&mut self, end: Instant) -> RedisResult<Value> {
        self.0.listen(end)
    }
}
