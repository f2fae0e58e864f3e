//! One Sentinel: asked for the service on a connection that is kept open.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{ConnectionInfo, RedisError, RedisResult, Value, cmd};

use super::answer::Answer;
use crate::addr::NodeAddr;
use crate::pool::{Network, SentinelConnection};

/// How long the last answer of a Sentinel counts.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(10);
/// What is asked about the service, in one round trip.
const QUESTIONS: [&str; 3] = ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS"];

/// One process of a group of Sentinels.
pub(super) struct Sentinel {
    pub(super) addr: NodeAddr,
    info: ConnectionInfo,
    network: Network,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kept open between two questions.
    connection: Option<SentinelConnection>,
    is_asked: bool,
    /// Why the last question got no answer.
    failure: Option<RedisError>,
    last: Option<(Instant, Answer)>,
}

impl Sentinel {
    pub(super) fn new(addr: NodeAddr, info: ConnectionInfo, network: Network) -> Self {
        Self { addr, info, network, state: Mutex::default() }
    }

    /// Returns whether the Sentinel may be asked, which is so unless it is being asked already. From now on, it is being asked.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_asked, true)
    }

    /// Records that it is not asked after all.
    pub(super) fn end(&self) {
        self.state.lock().is_asked = false;
    }

    /// Returns why the last question got no answer, if it got none.
    pub(super) fn failure(&self) -> Option<RedisError> {
        self.state.lock().failure.clone()
    }

    /// Returns the last answer, as long as it counts.
    pub(super) fn answer(&self) -> Option<Answer> {
        let state = self.state.lock();
        state.last.as_ref().filter(|(at, _)| at.elapsed() < COUNTS_FOR).map(|(_, answer)| answer.clone())
    }

    /// Asks the Sentinel, and keeps its answer. Returns whether it names another master than before.
    pub(super) fn ask(&self, service: &str, limit: Duration) -> bool {
        // A connection that was closed meanwhile says nothing about the Sentinel.
        let kept = self.state.lock().connection.take();
        let end = || Instant::now() + limit;
        let asked = match kept.map(|connection| ask_on(connection, service, end())) {
            Some(Ok(answered)) => Ok(answered),
            _ => self.connect(end()).and_then(|fresh| ask_on(fresh, service, end())),
        };
        let mut state = self.state.lock();
        state.is_asked = false;
        match asked {
            Ok((connection, answer)) => {
                state.connection = Some(connection);
                state.failure = None;
                let Some(answer) = answer else { return false };
                let is_news = state.last.as_ref().is_none_or(|(_, last)| last.master != answer.master);
                state.last = Some((Instant::now(), answer));
                is_news
            }
            Err(error) => {
                state.failure = Some(error);
                false
            }
        }
    }

    /// Records that a panic ended the question: it may be asked again. Returns `false`, because nothing is new.
    pub(super) fn panicked(&self) -> bool {
        let mut state = self.state.lock();
        state.is_asked = false;
        state.connection = None;
        state.failure = Some((redis::ErrorKind::Client, "asking it panicked").into());
        false
    }

    pub(super) fn connect(&self, end: Instant) -> RedisResult<SentinelConnection> {
        SentinelConnection::open(self.info.clone(), &self.network, end)
    }
}

/// Asks one Sentinel, in one round trip. `None`: it does not know the service.
fn ask_on(
    mut connection: SentinelConnection,
    service: &str,
    end: Instant,
) -> RedisResult<(SentinelConnection, Option<Answer>)> {
    let mut questions = Vec::new();
    for question in QUESTIONS {
        cmd("SENTINEL").arg(question).arg(service).write_packed_command(&mut questions);
    }
    let replies = connection.ask(&questions, QUESTIONS.len(), end)?;
    let replies: Vec<RedisResult<Value>> = replies.into_iter().map(Value::extract_error).collect();
    // A refusal of the first question is one of rights: of a service that is not known, it answers nil.
    if let Some(Err(error)) = replies.first() {
        return Err(error.clone());
    }
    Ok((connection, Answer::read(&replies)))
}
