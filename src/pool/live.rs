//! One open connection and what is known of it.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use redis::{RedisResult, Value};

use super::hello::{Greeting, read_greeting, read_role};
use super::patience::{Ends, Patience, socket_limit};
use super::wire::Wire;
use crate::classification::{Replies, Request};
use crate::node::Role;
use crate::routing::Reply;

/// Bytes that fit a socket's send buffer at its smallest, so that sending them to an idle peer does not block.
const SENT_AT_ONCE: usize = 4096;

/// An open connection, logged in.
pub(super) struct Live {
    wire: Wire,
    /// The time limit of the socket, so that it is set only when it changes. `None`: not set.
    limit: Option<Duration>,
    /// What the server said it was when it was last asked; `None` if it keeps that to itself.
    pub(super) role: Option<Role>,
    knows_hello: bool,
    pub(super) last_used: Instant,
    /// It has answered a request, so that an end of file says nothing about the node.
    pub(super) has_served: bool,
}

impl Live {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, limit: None, role: None, knows_hello: true, last_used: Instant::now(), has_served: false }
    }

    pub(super) fn prove(&mut self, role: Option<Role>, knows_hello: bool) {
        self.role = role;
        self.knows_hello = knows_hello;
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
                (false, _) => read_role(&value),
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
        self.limit_until(end)?;
        self.wire.send(questions)?;
        for _ in 0..replies {
            self.limit_until(end)?;
            each(self.receive()?);
        }
        Ok(())
    }

    /// Sends a request and reads its replies.
    #[inline]
    pub(super) fn send(&mut self, request: &Request<'_>, patience: Patience) -> RedisResult<Reply> {
        self.set_limit(patience.limit)?;
        let takes_time = request.replies != Replies::One || request.bytes.len() > SENT_AT_ONCE;
        let ends = if takes_time { patience.ends() } else { None };
        self.wire.send(request.bytes)?;
        match request.replies {
            Replies::One => {
                self.shorten(ends)?;
                self.receive().map(Reply::One)
            }
            Replies::Many { skipped, kept } => self.receive_many(skipped, kept, ends),
        }
    }

    /// Reads the replies of a pipeline, stopping at the first failure. The redis crate goes on reading after one, so
    /// that a hung server costs it the limit times the number of commands.
    fn receive_many(&mut self, skipped: usize, count: usize, ends: Option<Ends>) -> RedisResult<Reply> {
        let mut not_queued = Vec::new();
        // Grows like the redis crate's, for as many allocations.
        let mut kept = Vec::new();
        for position in 0..skipped + count {
            self.shorten(ends)?;
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

    /// Lowers the limit of the socket when a good part of the time is gone.
    #[inline]
    fn shorten(&mut self, ends: Option<Ends>) -> RedisResult<()> {
        let (Some(ends), Some(limit)) = (ends, self.limit) else { return Ok(()) };
        let left = ends.left(Instant::now());
        // Each setting is a system call: one in 10 ms is cheap, one a reply is not.
        if left + Duration::from_millis(10) < limit { self.set_time_left(left) } else { Ok(()) }
    }

    fn limit_until(&mut self, end: Instant) -> RedisResult<()> {
        self.set_time_left(socket_limit(end.saturating_duration_since(Instant::now())))
    }

    fn set_time_left(&mut self, left: Duration) -> RedisResult<()> {
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        self.set_limit(Some(left.max(Duration::from_millis(1))))
    }

    #[inline]
    fn set_limit(&mut self, limit: Option<Duration>) -> RedisResult<()> {
        if self.limit == limit { Ok(()) } else { self.change_limit(limit) }
    }

    #[cold]
    fn change_limit(&mut self, limit: Option<Duration>) -> RedisResult<()> {
        self.wire.set_limit(limit)?;
        self.limit = limit;
        Ok(())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("role", &self.role).field("has_served", &self.has_served).finish_non_exhaustive()
    }
}
