//! Asks a group of Sentinels who is the master, and listens to their events.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Client, Connection, ConnectionInfo, RedisError, RedisResult, cmd, pipe};

use self::answer::{Answer, combine};
use super::description::{Description, RefreshTrigger, TopologyProvider};
use super::thread::{guarded, spawn};
use crate::addr::NodeAddr;
use crate::endpoint::{AddressMap, Endpoint, Place};
use crate::error::{Error, Result};
use crate::node::Role;
use crate::strategy::MOST_NODES;

mod answer;
mod listener;

/// How long further answers are waited for after the first one: a Sentinel that hangs delays nobody.
const GRACE: Duration = Duration::from_millis(30);
/// How long a replica belongs to the set that no Sentinel names any more.
const NAMED_FOR: Duration = Duration::from_secs(30);
/// How long the last answer of a Sentinel counts.
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// A group of Sentinels that watch over one master.
pub(crate) struct SentinelGroup {
    service: Arc<str>,
    sentinels: Vec<Arc<Sentinel>>,
    map: AddressMap,
    limit: Duration,
    trigger: Arc<OnceLock<RefreshTrigger>>,
    memory: Mutex<Memory>,
}

/// What earlier answers said.
#[derive(Default)]
struct Memory {
    epoch: u64,
    /// Since when all answers are of an earlier epoch.
    outdated_since: Option<Instant>,
    /// Nodes that were named, and when for the last time.
    named: Vec<(NodeAddr, Instant)>,
}

struct Sentinel {
    addr: NodeAddr,
    info: ConnectionInfo,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kept open between two questions.
    connection: Option<Connection>,
    is_asked: bool,
    /// Why the last question got no answer.
    failure: Option<RedisError>,
    last: Option<(Instant, Answer)>,
}

impl SentinelGroup {
    /// `limit` bounds each step of talking to one Sentinel.
    pub(crate) fn new(service: String, sentinels: &[Endpoint], map: AddressMap, limit: Duration) -> Result<Self> {
        if service.is_empty() {
            return Err(Error::config("sentinel: the name of the service is empty"));
        }
        if sentinels.is_empty() {
            return Err(Error::config("sentinel: no Sentinel is named"));
        }
        let sentinel = |endpoint: &Endpoint| -> Result<Arc<Sentinel>> {
            let Place { addr, info, .. } = endpoint.place()?;
            let settings = info.redis_settings().clone().set_skip_set_lib_name();
            Ok(Arc::new(Sentinel { addr, info: info.set_redis_settings(settings), state: Mutex::default() }))
        };
        let sentinels = sentinels.iter().map(sentinel).collect::<Result<_>>()?;
        Ok(Self { service: service.into(), sentinels, map, limit, trigger: Arc::default(), memory: Mutex::default() })
    }

    /// Asks all Sentinels that are not being asked already, each on a thread of its own.
    fn ask(&self) -> Receiver<()> {
        let (done, answered) = channel();
        for sentinel in &self.sentinels {
            if std::mem::replace(&mut sentinel.state.lock().is_asked, true) {
                continue;
            }
            let (asked, service, limit) = (Arc::clone(sentinel), Arc::clone(&self.service), self.limit);
            let (done, trigger): (Sender<()>, _) = (done.clone(), Arc::clone(&self.trigger));
            let ask = move || {
                let is_news = guarded(Some(&asked.addr), || asked.ask(&service, limit));
                let is_news = is_news.unwrap_or_else(|| asked.panicked());
                // Whoever waited may have gone.
                if done.send(()).is_err()
                    && is_news
                    && let Some(trigger) = trigger.get()
                {
                    trigger.fire();
                }
            };
            if spawn("redis-sentinel", ask).is_err() {
                sentinel.state.lock().is_asked = false;
            }
        }
        answered
    }

    /// Waits until all have answered, or a moment longer than the first needed, or until the deadline.
    fn wait_for(&self, answers: &Receiver<()>, deadline: Instant) {
        let mut end = deadline;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match answers.recv_timeout(left) {
                Ok(()) if self.has_answer() => end = end.min(Instant::now() + GRACE),
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Compares an answer with earlier ones; returns the other nodes of the set.
    ///
    /// In a failover one Sentinel knows of the new epoch at first. If it falls silent, the others must not lead back.
    fn remember(&self, answer: &Answer, now: Instant) -> Result<Vec<NodeAddr>> {
        let mut memory = self.memory.lock();
        if answer.epoch < memory.epoch {
            let since = *memory.outdated_since.get_or_insert(now);
            if now.saturating_duration_since(since) < COUNTS_FOR {
                return Err(Error::topology("only Sentinels answer that missed the last failover"));
            }
        }
        memory.epoch = answer.epoch;
        memory.outdated_since = None;
        // A Sentinel that was reset knows no replicas for some seconds.
        memory.named.retain(|(addr, at)| {
            let is_recent = now.saturating_duration_since(*at) < NAMED_FOR || !answer.is_whole;
            is_recent && !answer.others.contains(addr) && *addr != answer.master
        });
        let missing: Vec<NodeAddr> = memory.named.iter().map(|(addr, _)| addr.clone()).collect();
        memory.named.extend(answer.others.iter().chain([&answer.master]).map(|addr| (addr.clone(), now)));
        Ok(answer.others.iter().cloned().chain(missing).take(MOST_NODES - 1).collect())
    }

    #[cold]
    fn no_answer(&self) -> Error {
        let service = self.service.escape_debug();
        let failure = |sentinel: &Arc<Sentinel>| Some((sentinel.addr.clone(), sentinel.state.lock().failure.clone()?));
        let failures: Option<Vec<_>> = self.sentinels.iter().map(failure).collect();
        match failures.and_then(|mut failures| failures.pop()) {
            Some((addr, cause)) => {
                let text = format!("no Sentinel can be asked for the service \"{service}\"");
                Error::topology(text).on(&addr).because(cause)
            }
            None => Error::topology(format!("no Sentinel that answers knows the service \"{service}\"")),
        }
    }

    fn has_answer(&self) -> bool {
        self.sentinels.iter().any(|sentinel| sentinel.answer().is_some())
    }
}

impl Sentinel {
    /// Returns the last answer, as long as it counts.
    fn answer(&self) -> Option<Answer> {
        let state = self.state.lock();
        state.last.as_ref().filter(|(at, _)| at.elapsed() < COUNTS_FOR).map(|(_, answer)| answer.clone())
    }

    /// Asks the Sentinel, and keeps its answer. Returns whether it names another master than before.
    fn ask(&self, service: &str, limit: Duration) -> bool {
        // A connection that was closed meanwhile says nothing about the Sentinel.
        let kept = self.state.lock().connection.take();
        let asked = match kept.map(|connection| ask_on(connection, service, limit)) {
            Some(Ok(answered)) => Ok(answered),
            _ => self.connect(limit).and_then(|fresh| ask_on(fresh, service, limit)),
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

    /// A panic ended the question: it may be asked again. Nothing is new.
    fn panicked(&self) -> bool {
        let mut state = self.state.lock();
        state.is_asked = false;
        state.connection = None;
        state.failure = Some((redis::ErrorKind::Client, "asking it panicked").into());
        false
    }

    fn connect(&self, limit: Duration) -> RedisResult<Connection> {
        Client::open(self.info.clone())?.get_connection_with_timeout(limit.max(Duration::from_millis(1)))
    }
}

/// Asks one Sentinel, in one round trip. `None`: it does not know the service.
fn ask_on(mut connection: Connection, service: &str, limit: Duration) -> RedisResult<(Connection, Option<Answer>)> {
    let limit = Some(limit.max(Duration::from_millis(1)));
    connection.set_read_timeout(limit)?;
    connection.set_write_timeout(limit)?;
    let mut questions = pipe();
    questions.ignore_errors();
    for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS"] {
        questions.add_command(cmd("SENTINEL").arg(question).arg(service).to_owned());
    }
    let replies: Vec<RedisResult<redis::Value>> = questions.query(&mut connection)?;
    // A refusal of the first question is one of rights: of a service that is not known, it answers nil.
    if let Some(Err(error)) = replies.first() {
        return Err(error.clone());
    }
    Ok((connection, Answer::read(&replies)))
}

impl TopologyProvider for SentinelGroup {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        let answers = self.ask();
        self.wait_for(&answers, deadline);
        let answers: Vec<Answer> = self.sentinels.iter().filter_map(|sentinel| sentinel.answer()).collect();
        let answer = combine(answers).ok_or_else(|| self.no_answer())?;
        let others = self.remember(&answer, Instant::now())?;
        let found = |addr: &NodeAddr| Endpoint::from(self.map.reachable(addr));
        let described = Description::new().master(found(&answer.master));
        Ok(others.iter().fold(described, |described, addr| described.guess(Some(Role::Replica), found(addr))))
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn watch(&self, trigger: RefreshTrigger) {
        let _ = self.trigger.set(trigger.clone());
        for sentinel in &self.sentinels {
            listener::start(sentinel.info.clone(), &self.service, trigger.clone(), self.limit);
        }
    }
}

impl fmt::Debug for SentinelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentinels: Vec<_> = self.sentinels.iter().map(|sentinel| &sentinel.addr).collect();
        f.debug_struct("SentinelGroup")
            .field("service", &self.service)
            .field("sentinels", &sentinels)
            .finish_non_exhaustive()
    }
}
