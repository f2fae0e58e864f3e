//! One open connection: what is sent on it, what is read from it, and what is known of it.
//!
//! A plain socket is read here, and only parsed by the redis crate. Connections of the redis crate fill a buffer to the
//! last byte before they begin anew, so that a reply which does not fit in what is left takes a second read: one in
//! twenty of 800 bytes, one in three of 4 KiB.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use redis::{Connection, Parser, RedisResult, Value};

use super::generation::Generation;
use super::handshake::role_in_hello;
use super::limits::LONGEST_SHARED;
use super::tls::TlsStream;
use super::transport::{TimeLimit, Transport, next_timer};
use crate::classification::{Replies, Request};
use crate::error::TlsError;
use crate::replication::{Role, role_in_reply};
use crate::retry::{Reply, ReplyParts};

/// Bytes that one read takes: a value of 4 KiB, and what a server sends beside it.
const READ_AT_ONCE: usize = 8192;

/// An open connection, logged in.
pub(super) struct OpenConnection {
    wire: Wire,
    /// The role in the server's last answer, if it contained one.
    pub(super) role: Option<Role>,
    knows_hello: bool,
    pub(super) last_used: Instant,
    /// It has answered a request. Then an end of file does not count against the node.
    pub(super) has_served: bool,
    generation: Generation,
}

/// How values are sent and read.
pub(super) enum Wire {
    Plain(Stream<Transport>),
    /// Boxed: a session is large, and plain connections should not have to carry its size.
    Tls(Box<Stream<TlsStream>>),
    /// What is not opened here: native-tls, and settings of sockets that only the redis crate knows.
    Redis(Box<RedisStream>),
}

/// A stream whose bytes are the protocol's.
pub(super) struct Stream<S> {
    stream: BufReader<S>,
    parser: Parser,
}

/// A connection of the redis crate. It has one time limit for each system call, which is cut before each value.
pub(super) struct RedisStream {
    connection: Connection,
    limit: TimeLimit,
    /// What its time limit is set to, once it was set in this exchange.
    timer: Option<Duration>,
}

impl OpenConnection {
    pub(super) fn new(wire: Wire, generation: Generation) -> Self {
        Self { wire, role: None, knows_hello: true, last_used: Instant::now(), has_served: false, generation }
    }

    /// Records what the handshake showed.
    pub(super) fn record_handshake(&mut self, role: Option<Role>, knows_hello: bool) {
        (self.role, self.knows_hello) = (role, knows_hello);
    }

    /// Returns whether the generation of this connection has ended.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.generation.is_over()
    }

    pub(super) fn into_wire(self) -> Wire {
        self.wire
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(super) fn knows_hello(&self) -> bool {
        self.knows_hello
    }

    /// Asks the server for its role, by the command that needs the least rights.
    pub(super) fn ask_role(&mut self, end: Instant) -> RedisResult<()> {
        let knows_hello = self.knows_hello;
        let reply = self.ask_one(role_question(knows_hello), end)?;
        self.role = role_in_answer(&reply, knows_hello);
        Ok(())
    }

    /// Sends a question of this crate and returns the reply, by `end`.
    pub(super) fn ask_one(&mut self, question: &[u8], end: Instant) -> RedisResult<Value> {
        self.wire.begin(TimeLimit::by(end));
        self.wire.send(question)?;
        self.receive()
    }

    /// Sends questions of this crate and returns the replies, all of them by `end`.
    pub(super) fn ask(&mut self, questions: &[u8], replies: usize, end: Instant) -> RedisResult<Vec<Value>> {
        self.wire.begin(TimeLimit::by(end));
        self.wire.send(questions)?;
        (0..replies).map(|_| self.receive()).collect()
    }

    /// Sends the commands of a handshake and returns the replies. All replies are read, also those after an error: the
    /// next user of the connection must not find them. A server that closes the connection may have sent the reason
    /// before.
    pub(super) fn shake_hands(&mut self, commands: &[u8], replies: usize, end: Instant) -> RedisResult<Vec<Value>> {
        self.wire.begin(TimeLimit::by(end));
        let mut sent = self.wire.send(commands);
        let mut answers = Vec::with_capacity(replies);
        for _ in 0..replies {
            match self.receive() {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    if TlsError::of(&error).is_some() {
                        // With TLS 1.3 the server asks for another certificate only now. That is why sending failed.
                        sent = Ok(());
                    }
                    let refusal = answers.into_iter().find_map(|answer| answer.extract_error().err());
                    return Err(refusal.or(sent.err()).unwrap_or(error));
                }
            }
        }
        sent.map(|()| answers)
    }

    /// Reads the next value that the server sends unasked, such as an event of a Sentinel, by `end`.
    pub(super) fn listen(&mut self, end: Instant) -> RedisResult<Value> {
        self.wire.begin(TimeLimit::by(end));
        self.wire.receive()
    }

    /// Sends a request and reads its replies. `sending`: gets how long it took to send a long one.
    #[inline]
    pub(super) fn send(
        &mut self,
        request: &Request<'_>,
        limit: TimeLimit,
        sending: &mut Duration,
    ) -> RedisResult<Reply> {
        self.wire.begin(limit);
        if request.bytes.len() > LONGEST_SHARED {
            self.send_long(request.bytes, sending)?;
        } else {
            self.wire.send(request.bytes)?;
        }
        self.collect(request.replies)
    }

    #[cold]
    fn send_long(&mut self, bytes: &[u8], sending: &mut Duration) -> RedisResult<()> {
        let began = Instant::now();
        let sent = self.wire.send(bytes);
        *sending = began.elapsed();
        sent
    }

    /// Reads the replies to a request, stopping at the first failure. The redis crate continues to read after one, so that a
    /// hung server costs it the limit times the number of commands.
    #[inline]
    fn collect(&mut self, replies: Replies) -> RedisResult<Reply> {
        let mut parts = ReplyParts::new(replies);
        loop {
            if let Some(reply) = parts.add(self.receive()?) {
                return Ok(reply);
            }
        }
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

/// Returns the question for a server's role that needs the least rights.
pub(super) fn role_question(knows_hello: bool) -> &'static [u8] {
    if knows_hello { b"*1\r\n$5\r\nHELLO\r\n" } else { b"*1\r\n$4\r\nROLE\r\n" }
}

/// Returns the role in the answer to that question.
pub(super) fn role_in_answer(reply: &Value, knows_hello: bool) -> Option<Role> {
    if knows_hello { role_in_hello(reply) } else { role_in_reply(reply) }
}

impl fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenConnection")
            .field("role", &self.role)
            .field("has_served", &self.has_served)
            .finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn plain(transport: Transport) -> Self {
        Self::Plain(Stream::new(transport))
    }

    pub(super) fn tls(stream: TlsStream) -> Self {
        Self::Tls(Box::new(Stream::new(stream)))
    }

    pub(super) fn redis(connection: Connection) -> Self {
        Self::Redis(Box::new(RedisStream { connection, limit: TimeLimit::NONE, timer: None }))
    }

    /// Begins an exchange: all that is sent and received from now on has to be over within the limit.
    #[inline]
    fn begin(&mut self, limit: TimeLimit) {
        match self {
            Self::Plain(plain) => plain.stream.get_mut().begin(limit),
            Self::Tls(tls) => tls.stream.get_mut().begin(limit),
            Self::Redis(redis) => (redis.limit, redis.timer) = (limit, None),
        }
    }

    #[inline]
    fn send(&mut self, bytes: &[u8]) -> RedisResult<()> {
        match self {
            Self::Plain(plain) => plain.send(bytes),
            Self::Tls(tls) => tls.send(bytes),
            Self::Redis(redis) => redis.ready()?.send_packed_command(bytes),
        }
    }

    /// Reads one value.
    #[inline]
    fn receive(&mut self) -> RedisResult<Value> {
        match self {
            Self::Plain(plain) => plain.receive(),
            Self::Tls(tls) => tls.receive(),
            Self::Redis(redis) => redis.ready()?.recv_response(),
        }
    }
}

impl RedisStream {
    /// Cuts the limit of the next system calls to what is left, and returns the connection.
    fn ready(&mut self) -> RedisResult<&mut Connection> {
        let left = self.limit.left(Instant::now()).ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))?;
        if next_timer(self.timer, left).is_some() {
            let whole = Some(left.min(Duration::from_secs(366 * 86_400)));
            self.connection.set_read_timeout(whole)?;
            self.connection.set_write_timeout(whole)?;
            self.timer = whole;
        }
        Ok(&mut self.connection)
    }
}

impl<S> Stream<S> {
    /// Returns the stream, of which nothing may be left unread, and the parser, which may have the begin of a message.
    pub(super) fn into_parts(self) -> io::Result<(S, Parser)> {
        if self.stream.buffer().is_empty() {
            return Ok((self.stream.into_inner(), self.parser));
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent more than it was asked for"))
    }
}

impl<S: Read + Write> Stream<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::with_capacity(READ_AT_ONCE, stream), parser: Parser::new() }
    }

    #[inline]
    fn send(&mut self, bytes: &[u8]) -> RedisResult<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    #[inline]
    fn receive(&mut self) -> RedisResult<Value> {
        self.parser.parse_value(&mut self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;
    use redis::Value;
    use std::io::{self, Read, Write};

    /// A server that answers each write by one reply, all of which is there when it is read.
    struct Server {
        reply: Vec<u8>,
        due: usize,
        writes: usize,
        reads: usize,
    }

    impl Read for Server {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            let from = self.reply.len() - self.due;
            let count = buffer.len().min(self.due);
            buffer[..count].copy_from_slice(&self.reply[from..from + count]);
            self.due -= count;
            Ok(count)
        }
    }

    impl Write for Server {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            self.due = self.reply.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_replies_to_a_request_take_one_read() {
        for size in [0, 100, 4096] {
            let (info, value) = ("i".repeat(700), "v".repeat(size));
            let reply = format!(
                "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n${}\r\n{info}\r\n${}\r\n{value}\r\n",
                info.len(),
                value.len()
            );
            let mut stream = Stream::new(Server { reply: reply.into_bytes(), due: 0, writes: 0, reads: 0 });
            for _ in 0..1000 {
                stream.send(b"*1\r\n$4\r\nPING\r\n").unwrap();
                let replies: Vec<Value> = (0..4).map(|_| stream.receive().unwrap()).collect();
                let both = [&info, &value].map(|text| Value::BulkString(text.clone().into_bytes()));
                assert_eq!(replies[3], Value::Array(both.to_vec()));
            }
            let Server { writes, reads, due, .. } = stream.stream.get_ref();
            assert_eq!((*writes, *reads, *due), (1000, 1000, 0), "{size} bytes");
        }
    }

    #[test]
    fn the_end_of_the_stream_is_an_error() {
        let mut stream = Stream::new(Server { reply: b"$5\r\nhal".to_vec(), due: 7, writes: 0, reads: 0 });
        assert!(stream.receive().unwrap_err().is_connection_dropped());
    }
}
