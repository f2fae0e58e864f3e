//! Asks a group of Sentinels who is the master, and listens to their events.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Client, Connection, ConnectionInfo, RedisResult, cmd, pipe};

use self::answer::{Answer, combine};
use super::description::{Description, RefreshTrigger, TopologyProvider};
use super::keeper::spawn;
use crate::addr::NodeAddr;
use crate::endpoint::{Endpoint, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Role;
use crate::strategy::MOST_NODES;

mod answer;
mod listener;

/// Translates what servers say of themselves into what can be reached from here.
pub(crate) type AddressMap = Box<dyn Fn(&NodeAddr) -> NodeAddr + Send + Sync>;

/// How long further answers are waited for after the first one: a Sentinel that hangs delays nobody.
const GRACE: Duration = Duration::from_millis(30);
/// How long the last answer of a Sentinel counts.
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// A group of Sentinels that watch over one master.
pub(crate) struct SentinelGroup {
    service: Arc<str>,
    sentinels: Vec<Arc<Sentinel>>,
    map: AddressMap,
    limit: Duration,
    trigger: Arc<OnceLock<RefreshTrigger>>,
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
        Ok(Self { service: service.into(), sentinels, map, limit, trigger: Arc::default() })
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
                let is_news = asked.ask(&service, limit);
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
        let asked = kept.and_then(|connection| ask_on(connection, service, limit).ok());
        let asked = asked.or_else(|| self.connect(limit).and_then(|fresh| ask_on(fresh, service, limit)).ok());
        let (connection, answer) = asked.map_or((None, None), |(connection, answer)| (Some(connection), answer));
        let mut state = self.state.lock();
        state.is_asked = false;
        state.connection = connection;
        let Some(answer) = answer else { return false };
        let is_news = state.last.as_ref().is_none_or(|(_, last)| last.master != answer.master);
        state.last = Some((Instant::now(), answer));
        is_news
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
    for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER", "SLAVES"] {
        questions.add_command(cmd("SENTINEL").arg(question).arg(service).to_owned());
    }
    let replies: Vec<redis::RedisResult<redis::Value>> = questions.query(&mut connection)?;
    Ok((connection, Answer::read(&replies)))
}

impl TopologyProvider for SentinelGroup {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        let answers = self.ask();
        self.wait_for(&answers, deadline);
        let Some(answer) = combine(self.sentinels.iter().filter_map(|sentinel| sentinel.answer()).collect()) else {
            let text = format!("no Sentinel answers for the service \"{}\"", self.service.escape_debug());
            return Err(Error::new(ErrorKind::Topology, text));
        };
        let found = |addr: &NodeAddr| Endpoint::from((self.map)(addr));
        let described = Description::new().master(found(&answer.master));
        let others = answer.others.iter().take(MOST_NODES - 1);
        Ok(others.fold(described, |described, addr| described.guess(Some(Role::Replica), found(addr))))
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
