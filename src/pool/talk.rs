//! A connection to a server that serves no calls, such as a Sentinel.

use std::sync::Arc;
use std::time::Instant;

use redis::{ConnectionInfo, RedisResult, Value};

use super::access::Access;
use super::connector::Connector;
use super::greeting::Login;
use super::live::Live;
use super::means::Means;

/// An open connection to a server of any kind, logged in. Every step of it has one end.
#[derive(Debug)]
pub(crate) struct Talk(Live);

impl Talk {
    /// Connects and logs in, by `end`.
    pub(crate) fn open(info: ConnectionInfo, means: &Means, end: Instant) -> RedisResult<Self> {
        let connector = Connector::new(Login { info, client_name: None }, means.clone())?;
        // In HELLO, a server without a password takes any; AUTH says that the one given is not wanted there.
        connector.go_without_hello();
        let access = Arc::new(Access::new(connector, 1));
        access.connector().connect_to_any(&access, false, end).map(|(live, _)| Self(live))
    }

    /// Sends questions and returns the replies, all of them by `end`.
    pub(crate) fn ask(&mut self, questions: &[u8], replies: usize, end: Instant) -> RedisResult<Vec<Value>> {
        let mut answers = Vec::with_capacity(replies);
        self.0.ask(questions, replies, end, |answer| answers.push(answer))?;
        Ok(answers)
    }

    /// Waits for the next thing that the server says unasked, until `end`.
    pub(crate) fn listen(&mut self, end: Instant) -> RedisResult<Value> {
        self.0.listen(end)
    }
}
