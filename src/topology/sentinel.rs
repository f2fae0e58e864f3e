//! Asks a group of Sentinels who is the master, and listens to their events.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Client, Connection, ConnectionInfo, RedisError, RedisResult, Value, cmd, pipe};

use self::answer::{Answer, combine};
use super::description::{Description, RefreshTrigger, TopologyProvider};
use crate::addr::NodeAddr;
use crate::endpoint::{Endpoint, Place};
use crate::error::{Error, Result};
use crate::node::Role;

mod answer;
mod listener;

/// Translates what servers say of themselves into what can be reached from here.
pub(crate) type AddressMap = Box<dyn Fn(&NodeAddr) -> NodeAddr + Send + Sync>;

/// How long a Sentinel that did not answer is left out, as long as others do.
const LEFT_OUT_FOR: Duration = Duration::from_secs(1);

/// A group of Sentinels that watch over one master.
pub(crate) struct SentinelGroup {
    service: String,
    sentinels: Vec<Sentinel>,
    map: AddressMap,
    limit: Duration,
}

struct Sentinel {
    addr: NodeAddr,
    info: ConnectionInfo,
    state: Mutex<State>,
}

/// What came of asking one Sentinel: nothing, if it does not know the service; an address and a cause, if it did not answer.
type Heard = Result<Option<Answer>, (NodeAddr, RedisError)>;

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    failed: Option<Instant>,
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
        let sentinel = |endpoint: &Endpoint| -> Result<Sentinel> {
            let Place { addr, info, .. } = endpoint.place()?;
            let settings = info.redis_settings().clone().set_skip_set_lib_name();
            Ok(Sentinel { addr, info: info.set_redis_settings(settings), state: Mutex::default() })
        };
        let sentinels = sentinels.iter().map(sentinel).collect::<Result<_>>()?;
        Ok(Self { service, sentinels, map, limit })
    }

    /// Asks all Sentinels at once, but those that just failed; all, if none of the others answers.
    fn ask(&self, deadline: Instant) -> Vec<Heard> {
        let now = Instant::now();
        let is_well = |sentinel: &&Sentinel| {
            sentinel.state.lock().failed.is_none_or(|failed| now.saturating_duration_since(failed) > LEFT_OUT_FOR)
        };
        let (well, failed): (Vec<_>, Vec<_>) = self.sentinels.iter().partition(is_well);
        let mut heard = self.ask_these(&well, deadline);
        if !heard.iter().any(|heard| matches!(heard, Ok(Some(_)))) {
            heard.extend(self.ask_these(&failed, deadline));
        }
        heard
    }

    fn ask_these(&self, sentinels: &[&Sentinel], deadline: Instant) -> Vec<Heard> {
        let limit = self.limit.min(deadline.saturating_duration_since(Instant::now()));
        thread::scope(|scope| {
            let mut asked = Vec::with_capacity(sentinels.len());
            for &sentinel in sentinels {
                let ask = move || sentinel.ask(&self.service, limit);
                // A thread that cannot be started asks nobody: the others do.
                asked.extend(thread::Builder::new().spawn_scoped(scope, ask).ok());
            }
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    }

    /// The error if no Sentinel names a master.
    fn nobody_knows(&self, heard: Vec<Heard>) -> Error {
        let service = self.service.escape_debug();
        if heard.iter().any(Result::is_ok) {
            return Error::topology(format!("no Sentinel that answers knows the service \"{service}\""));
        }
        let error = Error::topology(format!("no Sentinel can be asked for the service \"{service}\""));
        match heard.into_iter().find_map(Result::err) {
            Some((addr, cause)) => error.on(&addr).because(cause),
            None => error,
        }
    }
}

impl Sentinel {
    fn ask(&self, service: &str, limit: Duration) -> Heard {
        // A connection that was closed meanwhile says nothing about the Sentinel.
        let kept = self.state.lock().connection.take();
        let asked = kept.and_then(|connection| ask_on(connection, service, limit).ok());
        let asked = asked.map_or_else(|| self.connect(limit).and_then(|fresh| ask_on(fresh, service, limit)), Ok);
        let failed = asked.is_err().then(Instant::now);
        let (connection, heard) = match asked {
            Ok((connection, answer)) => (Some(connection), Ok(answer)),
            Err(cause) => (None, Err((self.addr.clone(), cause))),
        };
        *self.state.lock() = State { connection, failed };
        heard
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
    let replies: Vec<RedisResult<Value>> = questions.query(&mut connection)?;
    if let Some(Err(refusal)) = replies.first() {
        // No rights, or no Sentinel: one that only does not know the service says nil.
        return Err(refusal.clone());
    }
    Ok((connection, Answer::read(&replies)))
}

impl TopologyProvider for SentinelGroup {
    fn describe(&self, deadline: Instant) -> Result<Description> {
        let heard = self.ask(deadline);
        let answers = heard.iter().filter_map(|heard| heard.as_ref().ok()?.clone()).collect();
        let Some(answer) = combine(answers) else { return Err(self.nobody_knows(heard)) };
        let found = |addr: &NodeAddr| Endpoint::from((self.map)(addr));
        let described = Description::new().master(found(&answer.master));
        let others = answer.others.iter().take(crate::strategy::MOST_NODES - 1);
        Ok(others.fold(described, |described, addr| described.guess(Some(Role::Replica), found(addr))))
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn watch(&self, trigger: RefreshTrigger) {
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
