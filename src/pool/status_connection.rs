//! A connection beside the pool, on which a server is asked for its role and its state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, ServerErrorKind, Value};

use super::access::Access;
use super::handshake::Login;
use super::limits::Limits;
use super::network::Network;
use super::open_connection::OpenConnection;
use crate::replication::{Report, Role, text_of};
use crate::retry::Obstacle;

/// Asks one server for its state, on a connection of its own that is kept open.
///
/// The first question is `INFO`, which contains most. If rights or a proxy refuse it, the next one is `ROLE`, then
/// `HELLO`, which needs no rights. A refusal does not mean that the node is dead.
#[derive(Debug)]
pub(crate) struct StatusConnection {
    access: Arc<Access>,
    /// Time to connect and log in.
    connect: Duration,
    /// Time for the replies to all that is asked at once.
    response: Duration,
    /// When all of it must be over, if that is earlier.
    end: Option<Instant>,
    connection: Option<OpenConnection>,
    question: Question,
    last: Report,
    /// Whether two connections that were open at once led to two processes.
    is_shared: bool,
    is_shared_checked: bool,
    /// Why the last question was not answered.
    failure: Option<RedisError>,
    /// How long the last question took, if no connection had to be made for it.
    round_trip: Option<Duration>,
}

/// Why there is no report of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Silence {
    /// No connection could be made.
    Unreachable,
    /// A connection was made, and the server did not answer on it.
    Failed,
    /// The server or this process refuses further connections: nothing is known of those that are open.
    TurnedAway,
}

/// The question that the server answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    Info,
    Role,
    Hello,
}

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";
/// One section each: servers before 7.0 accept only one. They are asked on a fresh connection, where the process may be
/// another.
///
/// The received offset is asked for first: it must not be younger than what the server then reports of its data.
const BEFORE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n";
const MORE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*2\r\n$4\r\nINFO\r\n$11\r\npersistence\r\n";
const SERVER: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

/// The longest wait for an answer.
const LONGEST_RESPONSE: Duration = Duration::from_secs(2);

impl StatusConnection {
    /// Makes a connection to a node that has no pool; nothing is connected yet.
    pub(crate) fn without_pool(login: Login, limits: &Limits, network: &Network) -> crate::error::Result<Self> {
        Ok(Self::new(Access::new(login, network, limits.connecting, None)?, limits))
    }

    pub(super) fn new(access: Arc<Access>, limits: &Limits) -> Self {
        Self {
            access,
            connect: limits.connect,
            response: limits.response.min(LONGEST_RESPONSE),
            end: None,
            connection: None,
            question: Question::Info,
            last: Report::default(),
            is_shared: false,
            is_shared_checked: false,
            failure: None,
            round_trip: None,
        }
    }

    /// Closes the connection: the next question is asked on a fresh one.
    pub(crate) fn close(&mut self) {
        self.connection = None;
    }

    /// Returns the last error.
    pub(crate) fn into_failure(self) -> Option<RedisError> {
        self.failure
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns whether this is a shared endpoint: connections to it lead to different processes. Opens a second
    /// connection for a moment, once for each connection.
    pub(crate) fn is_shared(&mut self) -> bool {
        // Only after an answer: no caller waits for this.
        if let Some(run_id) = self.last.run_id.as_deref().filter(|_| !self.is_shared_checked) {
            // An error on the second connection says nothing.
            self.is_shared |= self.second_run_id().is_ok_and(|other| other.is_some_and(|other| *other != *run_id));
            self.is_shared_checked = true;
        }
        self.is_shared
    }

    fn second_run_id(&self) -> RedisResult<Option<Box<str>>> {
        let mut other = self.open()?;
        let reply = other.ask_one(SERVER, self.end_of(self.response))?;
        Ok(text(&reply).map(Report::of_info).and_then(|report| report.run_id))
    }

    fn open(&self) -> RedisResult<OpenConnection> {
        self.access.connect_for_monitor(self.end_of(self.connect))
    }

    /// Opens a fresh connection, and returns the role in the reply to the handshake.
    pub(crate) fn connect(&mut self) -> Result<Option<Role>, Silence> {
        self.connection = None;
        self.is_shared_checked = false;
        self.question = Question::Info;
        self.last = Report::default();
        let connection = self.open().map_err(|error| {
            let is_turned_away = match Obstacle::of(&error) {
                Obstacle::Node => false,
                Obstacle::Here => true,
                Obstacle::Full | Obstacle::Login | Obstacle::Tls => self.access.has_open(),
            };
            self.failure = Some(error);
            if is_turned_away { Silence::TurnedAway } else { Silence::Unreachable }
        })?;
        Ok(self.connection.insert(connection).role)
    }

    /// Asks the server for its state.
    ///
    /// A connection that was closed since the last question says nothing about the server: it is asked on a fresh one.
    pub(crate) fn ask(&mut self) -> Result<Report, Silence> {
        let was_kept = self.connection.as_ref().is_some_and(|connection| connection.has_served);
        if was_kept {
            match self.ask_on_this() {
                Ok(report) => return Ok(report),
                // The server would take as long on another connection.
                Err(error) if error.is_timeout() => return Err(self.fail(error)),
                Err(_) => {}
            }
        }
        if was_kept || self.connection.is_none() {
            self.connect()?;
        }
        self.ask_on_this().map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: RedisError) -> Silence {
        self.connection = None;
        self.failure = Some(error);
        Silence::Failed
    }

    /// Sets when everything from now on, connecting included, must be over.
    pub(crate) fn set_end(&mut self, end: Instant) {
        self.end = Some(end);
    }

    fn end_of(&self, limit: Duration) -> Instant {
        let end = Instant::now() + limit;
        self.end.map_or(end, |latest| latest.min(end))
    }

    /// Returns how long the last question took, unless a connection had to be made for it.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    fn ask_on_this(&mut self) -> RedisResult<Report> {
        let start = Instant::now();
        let end = self.end_of(self.response);
        self.round_trip = None;
        let Some(connection) = &mut self.connection else { return Ok(Report::default()) };
        let is_fresh = !connection.has_served;
        let mut report = Report::default();
        if self.question == Question::Info {
            let mut answer = ask_info(connection, is_fresh, end)?;
            if !is_fresh && answer.as_ref().is_ok_and(|answer| !answer.has_same_history_as(&self.last)) {
                // Whether only the replication id changed depends on the other sections.
                answer = ask_info(connection, true, end)?;
            }
            match answer {
                Ok(answer) => report = answer,
                Err(error) if is_refused(&error) => self.question = Question::Role,
                Err(_) => {}
            }
        }
        if self.question == Question::Role {
            match ask_role(connection, end)? {
                Ok(answer) => report = answer,
                Err(error) if is_refused(&error) => self.question = Question::Hello,
                Err(_) => {}
            }
        }
        if report.role.is_none() {
            // A server that is busy with a script answers this as well.
            if !is_fresh {
                connection.ask_role(end)?;
            }
            report.role = connection.role;
        }
        connection.has_served = true;
        self.round_trip = (!is_fresh).then(|| start.elapsed());
        self.last = report.completed_by(&self.last);
        Ok(self.last.clone())
    }
}

fn ask_info(connection: &mut OpenConnection, asks_all: bool, end: Instant) -> RedisResult<RedisResult<Report>> {
    let (questions, count, main) = if asks_all { ([BEFORE, INFO, MORE].concat(), 4, 1) } else { (INFO.to_vec(), 1, 0) };
    let mut all = String::new();
    for (index, reply) in connection.ask(&questions, count, end)?.into_iter().enumerate() {
        match reply {
            Value::ServerError(error) if index == main => return Ok(Err(error.into())),
            reply => all.push_str(text(&reply).unwrap_or_default()),
        }
        all.push('\n');
    }
    Ok(Ok(Report::of_info(&all)))
}

fn ask_role(connection: &mut OpenConnection, end: Instant) -> RedisResult<RedisResult<Report>> {
    Ok(connection.ask_one(ROLE, end)?.extract_error().map(|reply| Report::of_role(&reply)))
}

/// Returns whether the server, or a proxy, refuses the question and will refuse it again.
fn is_refused(error: &RedisError) -> bool {
    let no_rights = error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoPerm);
    no_rights || error.code() == Some("ERR")
}

fn text(reply: &Value) -> Option<&str> {
    std::str::from_utf8(text_of(reply)?).ok()
}
