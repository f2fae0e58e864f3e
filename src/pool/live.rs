//! One open connection and what is known of it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use redis::{RedisResult, Value};

use super::access::{Access, Counted, Term};
use super::hello::{Greeting, read_greeting};
use super::patience::Patience;
use super::wire::Wire;
use crate::classification::{Replies, Request};
use crate::error::TlsError;
use crate::replication::{Role, role_in_reply};
use crate::retry::Reply;

/// An open connection, logged in.
pub(super) struct Live {
    wire: Wire,
    /// What the server said it was when it was last asked; `None` if it keeps that to itself.
    pub(super) role: Option<Role>,
    knows_hello: bool,
    pub(super) last_used: Instant,
    /// It has answered a request, so that an end of file says nothing about the node.
    pub(super) has_served: bool,
    term: Term,
    /// Among the open connections of its pool, once it is ready to be lent.
    counted: Option<Counted>,
}

impl Live {
    pub(super) fn new(wire: Wire, term: Term) -> Self {
        Self { wire, role: None, knows_hello: true, last_used: Instant::now(), has_served: false, term, counted: None }
    }

    pub(super) fn prove(&mut self, role: Option<Role>, knows_hello: bool) {
        self.role = role;
        self.knows_hello = knows_hello;
    }

    /// It is ready to be lent.
    pub(super) fn count(&mut self) {
        self.counted = Some(self.term.count());
    }

    /// Returns whether the node left its place in the set since the connection was opened.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.term.is_over()
    }

    /// Returns the way to the node, if somebody waits there for a connection that comes back.
    #[inline]
    pub(super) fn awaited(&self) -> Option<Arc<Access>> {
        self.term.awaited()
    }

    /// Asks the server for its role, by the command that needs the least rights.
    pub(super) fn ask_role(&mut self, end: Instant) -> RedisResult<()> {
        let question: &[u8] = if self.knows_hello { b"*1\r\n$5\r\nHELLO\r\n" } else { b"*1\r\n$4\r\nROLE\r\n" };
        let knows_hello = self.knows_hello;
        let mut role = None;
        self.ask(question, 1, end, |value| {
            role = match (knows_hello, read_greeting(&value)) {
                (true, Greeting::Role(role)) => role,
                (true, Greeting::Sentinel) => None,
                (false, _) => role_in_reply(&value),
            };
        })?;
        self.role = role;
        Ok(())
    }

    /// Sends questions of this crate and hands over the replies, all of them by `end`.
    pub(super) fn ask(
        &mut self,
        questions: &[u8],
        replies: usize,
        end: Instant,
        mut each: impl FnMut(Value),
    ) -> RedisResult<()> {
        self.wire.begin(Patience::until(Some(end), Instant::now()));
        self.wire.send(questions)?;
        for _ in 0..replies {
            each(self.receive()?);
        }
        Ok(())
    }

    /// Sends the first words on a connection and returns the replies. All of them are read, also behind an error: none may
    /// be left to whoever uses the connection next. A server that hangs up says why before, whatever it was asked.
    pub(super) fn say(&mut self, greeting: &[u8], replies: usize, end: Instant) -> RedisResult<Vec<Value>> {
        self.wire.begin(Patience::until(Some(end), Instant::now()));
        let mut sent = self.wire.send(greeting);
        let mut answers = Vec::with_capacity(replies);
        for _ in 0..replies {
            match self.receive() {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    if TlsError::of(&error).is_some() {
                        // TLS 1.3 tells only now that it wants another certificate. That is why nothing could be sent.
                        sent = Ok(());
                    }
                    let said = answers.into_iter().find_map(|answer| answer.extract_error().err());
                    return Err(said.or(sent.err()).unwrap_or(error));
                }
            }
        }
        sent.map(|()| answers)
    }

    /// Reads the next value of a conversation that the server leads, such as the events of a Sentinel, by `end`.
    pub(super) fn listen(&mut self, end: Instant) -> RedisResult<Value> {
        self.wire.begin(Patience::until(Some(end), Instant::now()));
        self.wire.receive()
    }

    /// Sends a request and reads its replies.
    #[inline]
    pub(super) fn send(&mut self, request: &Request<'_>, patience: Patience) -> RedisResult<Reply> {
        self.wire.begin(patience);
        self.wire.send(request.bytes)?;
        match request.replies {
            Replies::One => self.receive().map(Reply::One),
            Replies::Many { skipped, kept } => self.receive_many(skipped, kept),
        }
    }

    /// Reads the replies of a pipeline, stopping at the first failure. The redis crate goes on reading after one, so
    /// that a hung server costs it the limit times the number of commands.
    fn receive_many(&mut self, skipped: usize, count: usize) -> RedisResult<Reply> {
        let mut not_queued = Vec::new();
        // Grows like the redis crate's, for as many allocations.
        let mut kept = Vec::new();
        for position in 0..skipped + count {
            match self.receive()? {
                Value::ServerError(error) if position < skipped => not_queued.push((position, error)),
                _ if position < skipped => {}
                value => kept.push(value),
            }
        }
        Ok(Reply::Many { kept, not_queued })
    }

    #[inline]
    fn receive(&mut self) -> RedisResult<Value> {
        loop {
            match self.wire.receive()? {
                // RESP3 may put messages between the replies.
                Value::Push { .. } => {}
                value => return Ok(value),
            }
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("role", &self.role).field("has_served", &self.has_served).finish_non_exhaustive()
    }
}
