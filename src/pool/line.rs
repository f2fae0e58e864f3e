//! A connection outside the slots, on which a server is asked what it is and how it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, ServerErrorKind, Value};

use super::access::Access;
use super::live::Live;
use crate::replication::{Report, Role, text_of};
use crate::retry::Obstacle;

/// Asks one server for its state, on a connection of its own that is kept open.
///
/// Asked first is what tells most, `INFO`; where rights or a proxy refuse that, `ROLE`; and where that is refused as well,
/// `HELLO`, which needs no rights. What is refused is not known, and does not mean that the node is dead.
#[derive(Debug)]
pub(crate) struct Line {
    access: Arc<Access>,
    /// Time to connect and log in.
    connect: Duration,
    /// Time for the replies to all that is asked at once.
    response: Duration,
    /// When all of it must be over, if that is earlier.
    end: Option<Instant>,
    live: Option<Live>,
    question: Question,
    last: Report,
    /// Whether two connections that were open at once led to two processes.
    is_shared: bool,
    has_looked_beside: bool,
    /// Why the last question was not answered.
    failure: Option<RedisError>,
    /// How long the last question took, if no connection had to be made for it.
    round_trip: Option<Duration>,
}

/// Why a server told nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Silence {
    /// No connection could be made.
    Unreachable,
    /// It greeted, and then did not answer.
    Failed,
    /// It, or this process, takes no further connection: nothing is known of those that are open.
    TurnedAway,
}

/// How much the server tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    Info,
    Role,
    Hello,
}

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";
/// One section each: servers before 7.0 take no more. On a fresh connection the process may be another one.
///
/// What was received is asked for before anything else: it must not be younger than what is said of the data.
const BEFORE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$5\r\nstats\r\n";
const MORE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*2\r\n$4\r\nINFO\r\n$11\r\npersistence\r\n";
const SERVER: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

impl Line {
    pub(super) fn new(access: Arc<Access>, connect: Duration, response: Duration) -> Self {
        Self {
            access,
            connect,
            response,
            end: None,
            live: None,
            question: Question::Info,
            last: Report::default(),
            is_shared: false,
            has_looked_beside: false,
            failure: None,
            round_trip: None,
        }
    }

    /// Closes the connection: the next question goes out on a fresh one.
    pub(crate) fn hang_up(&mut self) {
        self.live = None;
    }

    /// Returns why the last question that was not answered was not.
    pub(crate) fn into_failure(self) -> Option<RedisError> {
        self.failure
    }

    pub(crate) fn is_open(&self) -> bool {
        self.live.is_some()
    }

    /// Tells whether connections lead to different processes, as behind the address of a service. Opens a second one for a
    /// moment, once for each connection.
    pub(crate) fn is_shared(&mut self) -> bool {
        // Behind an answer only: nobody waits for this.
        if let Some(run_id) = self.last.run_id.as_deref().filter(|_| !self.has_looked_beside) {
            // Whatever goes wrong with it says nothing.
            self.is_shared |= self.run_id_beside().is_ok_and(|other| other.is_some_and(|other| *other != *run_id));
            self.has_looked_beside = true;
        }
        self.is_shared
    }

    fn run_id_beside(&self) -> RedisResult<Option<Box<str>>> {
        let mut other = self.open()?;
        let mut told = None;
        other.ask(SERVER, 1, self.end_of(self.response), |value| told = text(&value).map(Report::of_info))?;
        Ok(told.and_then(|report| report.run_id))
    }

    fn open(&self) -> RedisResult<Live> {
        self.access.connect_for_monitor(self.end_of(self.connect))
    }

    /// Opens a fresh connection; returns the role that the server gives in its greeting.
    pub(crate) fn connect(&mut self) -> Result<Option<Role>, Silence> {
        self.live = None;
        self.has_looked_beside = false;
        self.question = Question::Info;
        self.last = Report::default();
        let live = self.open().map_err(|error| {
            let is_elsewhere = match Obstacle::of(&error) {
                Obstacle::Node => false,
                Obstacle::Here => true,
                Obstacle::Full | Obstacle::Login | Obstacle::Tls => self.access.has_open(),
            };
            self.failure = Some(error);
            if is_elsewhere { Silence::TurnedAway } else { Silence::Unreachable }
        })?;
        Ok(self.live.insert(live).role)
    }

    /// Returns the server's account of itself.
    ///
    /// A connection that was closed since the last question says nothing about the server: it is asked on a fresh one.
    pub(crate) fn ask(&mut self) -> Result<Report, Silence> {
        let was_kept = self.live.as_ref().is_some_and(|live| live.has_served);
        if was_kept {
            match self.ask_on_this() {
                Ok(report) => return Ok(report),
                // Whoever takes that long to answer would take as long on another connection.
                Err(error) if error.is_timeout() => return Err(self.fail(error)),
                Err(_) => {}
            }
        }
        if was_kept || self.live.is_none() {
            self.connect()?;
        }
        self.ask_on_this().map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: RedisError) -> Silence {
        self.live = None;
        self.failure = Some(error);
        Silence::Failed
    }

    /// Has everything that is asked from now on, connecting included, be over at this time.
    pub(crate) fn answer_by(&mut self, end: Instant) {
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
        let Some(live) = &mut self.live else { return Ok(Report::default()) };
        let is_fresh = !live.has_served;
        let mut report = Report::default();
        if self.question == Question::Info {
            let mut told = ask_info(live, is_fresh, end)?;
            if !is_fresh && told.as_ref().is_ok_and(|told| !told.has_same_history_as(&self.last)) {
                // Whether it was only named anew depends on more.
                told = ask_info(live, true, end)?;
            }
            match told {
                Ok(told) => report = told,
                Err(error) if is_withheld(&error) => self.question = Question::Role,
                Err(_) => {}
            }
        }
        if self.question == Question::Role {
            match ask_role(live, end)? {
                Ok(told) => report = told,
                Err(error) if is_withheld(&error) => self.question = Question::Hello,
                Err(_) => {}
            }
        }
        if report.role.is_none() {
            // Also a server that a script keeps busy answers this.
            if !is_fresh {
                live.ask_role(end)?;
            }
            report.role = live.role;
        }
        live.has_served = true;
        self.round_trip = (!is_fresh).then(|| start.elapsed());
        self.last = report.completed_by(&self.last);
        Ok(self.last.clone())
    }
}

type Told = Result<Report, RedisError>;

fn ask_info(live: &mut Live, asks_all: bool, end: Instant) -> RedisResult<Told> {
    let (questions, count, main) = if asks_all { ([BEFORE, INFO, MORE].concat(), 4, 1) } else { (INFO.to_vec(), 1, 0) };
    let mut replies = Vec::with_capacity(count);
    live.ask(&questions, count, end, |value| replies.push(value))?;
    let mut all = String::new();
    for (index, reply) in replies.into_iter().enumerate() {
        match reply {
            Value::ServerError(error) if index == main => return Ok(Err(error.into())),
            reply => all.push_str(text(&reply).unwrap_or_default()),
        }
        all.push('\n');
    }
    Ok(Ok(Report::of_info(&all)))
}

fn ask_role(live: &mut Live, end: Instant) -> RedisResult<Told> {
    let mut told = Ok(Report::default());
    live.ask(ROLE, 1, end, |value| match value {
        Value::ServerError(error) => told = Err(error.into()),
        reply => told = Ok(Report::of_role(&reply)),
    })?;
    Ok(told)
}

/// The server, or what stands before it, does not let us ask that, and will not a second later.
fn is_withheld(error: &RedisError) -> bool {
    let no_rights = error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoPerm);
    no_rights || error.code() == Some("ERR")
}

fn text(reply: &Value) -> Option<&str> {
    std::str::from_utf8(text_of(reply)?).ok()
}
