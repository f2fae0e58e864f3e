//! A connection outside the slots, on which a server is asked what it is and how it is.

use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, ServerErrorKind, Value};

use super::connector::{Connector, Login};
use super::live::Live;
use crate::node::{Report, Role, role_of};

/// Asks one server for its state, on a connection of its own that is kept open.
///
/// Asked first is what tells most, `INFO`; where rights or a proxy refuse that, `ROLE`; and where that is refused as well,
/// `HELLO`, which needs no rights. What is refused is not known, and does not mean that the node is dead.
#[derive(Debug)]
pub(crate) struct Line {
    connector: Connector,
    /// Time to connect and log in.
    connect: Duration,
    /// Time for the replies to one set of questions.
    response: Duration,
    live: Option<Live>,
    question: Question,
    last: Report,
    /// Whether two connections that were open at once led to two processes.
    is_shared: bool,
}

/// Why a server told nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Silence {
    /// No connection could be made.
    Unreachable,
    /// It greeted, and then did not answer.
    Failed,
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
const MORE: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n*2\r\n$4\r\nINFO\r\n$11\r\npersistence\r\n";
const SERVER: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

impl Line {
    pub(crate) fn new(login: Login, connect: Duration, response: Duration) -> RedisResult<Self> {
        let connector = Connector::new(login)?;
        Ok(Self {
            connector,
            connect,
            response,
            live: None,
            question: Question::Info,
            last: Report::default(),
            is_shared: false,
        })
    }

    /// Closes the connection: the next question goes out on a fresh one.
    pub(crate) fn hang_up(&mut self) {
        self.live = None;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.live.is_some()
    }

    /// Tells whether connections were seen to lead to different processes, as behind the address of a service.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Opens a second connection for a moment, to see whether it leads to the same process.
    fn look_beside(&mut self, run_id: &str) -> RedisResult<()> {
        let end = Instant::now() + self.response;
        let mut other = self.connector.connect(self.connect)?;
        let mut told = None;
        other.ask(SERVER, 1, end, |value| told = text(&value).map(Report::of_info))?;
        let other_id = told.and_then(|report| report.run_id);
        self.is_shared |= other_id.is_some_and(|other_id| *other_id != *run_id);
        Ok(())
    }

    /// Opens a fresh connection; returns the role that the server gives in its greeting.
    pub(crate) fn connect(&mut self) -> Result<Option<Role>, Silence> {
        self.live = None;
        self.question = Question::Info;
        self.last = Report::default();
        let live = self.connector.connect(self.connect).map_err(|_| Silence::Unreachable)?;
        Ok(self.live.insert(live).role)
    }

    /// Returns the server's account of itself.
    ///
    /// A connection that was closed since the last question says nothing about the server: it is asked on a fresh one.
    pub(crate) fn ask(&mut self) -> Result<Report, Silence> {
        let was_kept = self.live.as_ref().is_some_and(|live| live.has_served);
        if was_kept && let Ok(report) = self.ask_on_this() {
            return Ok(report);
        }
        if was_kept || self.live.is_none() {
            self.connect()?;
        }
        self.ask_on_this().map_err(|_| {
            self.live = None;
            Silence::Failed
        })
    }

    fn ask_on_this(&mut self) -> RedisResult<Report> {
        let end = Instant::now() + self.response;
        let Some(live) = &mut self.live else { return Ok(Report::default()) };
        let is_fresh = !live.has_served;
        let mut report = Report::default();
        if self.question == Question::Info {
            match ask_info(live, is_fresh, end)? {
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
        self.last = report.completed_by(&self.last);
        if let Some(run_id) = self.last.run_id.clone().filter(|_| is_fresh && !self.is_shared) {
            // Whatever goes wrong with it says nothing.
            let _ = self.look_beside(&run_id);
        }
        Ok(self.last.clone())
    }
}

type Told = Result<Report, RedisError>;

fn ask_info(live: &mut Live, is_fresh: bool, end: Instant) -> RedisResult<Told> {
    let questions = if is_fresh { [INFO, MORE].concat() } else { INFO.to_vec() };
    let mut replies = Vec::with_capacity(3);
    live.ask(&questions, if is_fresh { 3 } else { 1 }, end, |value| replies.push(value))?;
    let mut all = String::new();
    for (index, reply) in replies.into_iter().enumerate() {
        match reply {
            Value::ServerError(error) if index == 0 => return Ok(Err(error.into())),
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
        Value::Array(items) => {
            if let Some(role) = items.first().and_then(text).and_then(role_of) {
                told = Ok(Report::of_role(role, items.get(3).and_then(text)));
            }
        }
        _ => {}
    })?;
    Ok(told)
}

/// The server, or what stands before it, does not let us ask that, and will not a second later.
fn is_withheld(error: &RedisError) -> bool {
    let no_rights = error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoPerm);
    no_rights || error.code() == Some("ERR")
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}
