//! The values of one connection: what is sent, what is read, and by how many system calls.
//!
//! A plain socket is read here, and only parsed by the redis crate. Its connections fill a buffer to the last byte before
//! they begin anew, so that a reply which does not fit in what is left takes a second read: one in twenty of 800 bytes, one in
//! three of 4 KiB.

use std::io::{self, BufReader, Read, Write};
use std::time::{Duration, Instant};

use redis::{Connection, Parser, RedisResult, Value};

use super::patience::{Patience, next_timer};
#[cfg(feature = "tls-rustls")]
use super::tls::TlsStream;
use super::transport::Transport;

/// Bytes that one read takes: a value of 4 KiB, and what the server says beside it.
const READ_AT_ONCE: usize = 8192;

/// An open connection on which values come back.
pub(super) enum Wire {
    Plain(Plain<Transport>),
    /// Boxed: a session is large, and plain connections should not have to carry its size.
    #[cfg(feature = "tls-rustls")]
    Tls(Box<Plain<TlsStream>>),
    /// What is not opened here: native-tls, and settings of sockets that only the redis crate knows.
    Redis(Box<OfRedis>),
}

/// A stream whose bytes are the protocol's.
pub(super) struct Plain<S> {
    stream: BufReader<S>,
    parser: Parser,
}

/// A connection of the redis crate. Its time limit is one for each system call, cut before each value.
pub(super) struct OfRedis {
    connection: Connection,
    limit: Option<Duration>,
    patience: Patience,
    has_begun: bool,
}

impl Wire {
    pub(super) fn plain(transport: Transport) -> Self {
        Self::Plain(Plain::new(transport))
    }

    #[cfg(feature = "tls-rustls")]
    pub(super) fn tls(stream: TlsStream) -> Self {
        Self::Tls(Box::new(Plain::new(stream)))
    }

    pub(super) fn redis(connection: Connection) -> Self {
        let patience = Patience::until(None, Instant::now());
        Self::Redis(Box::new(OfRedis { connection, limit: None, patience, has_begun: false }))
    }

    /// Begins an exchange: all that is sent and received from now on has to be over when the patience ends.
    #[inline]
    pub(super) fn begin(&mut self, patience: Patience) {
        match self {
            Self::Plain(plain) => plain.stream.get_mut().begin(patience),
            #[cfg(feature = "tls-rustls")]
            Self::Tls(tls) => tls.stream.get_mut().begin(patience),
            Self::Redis(redis) => (redis.patience, redis.has_begun) = (patience, false),
        }
    }

    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8]) -> RedisResult<()> {
        match self {
            Self::Plain(plain) => plain.send(bytes),
            #[cfg(feature = "tls-rustls")]
            Self::Tls(tls) => tls.send(bytes),
            Self::Redis(redis) => {
                redis.cut()?;
                redis.connection.send_packed_command(bytes)
            }
        }
    }

    /// Reads one value.
    #[inline]
    pub(super) fn receive(&mut self) -> RedisResult<Value> {
        match self {
            Self::Plain(plain) => plain.receive(),
            #[cfg(feature = "tls-rustls")]
            Self::Tls(tls) => tls.receive(),
            Self::Redis(redis) => {
                redis.cut()?;
                redis.connection.recv_response()
            }
        }
    }
}

impl OfRedis {
    /// Cuts the limit of the next system calls to what is left.
    fn cut(&mut self) -> RedisResult<()> {
        let left = self.patience.left(Instant::now()).ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))?;
        let whole = left.min(Duration::from_secs(366 * 86_400));
        let set = self.limit.filter(|_| self.has_begun);
        self.has_begun = true;
        if set.is_none() || next_timer(set, left).is_some() {
            self.connection.set_read_timeout(Some(whole))?;
            self.connection.set_write_timeout(Some(whole))?;
            self.limit = Some(whole);
        }
        Ok(())
    }
}

impl<S: Read + Write> Plain<S> {
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
    use super::Plain;
    use redis::Value;
    use std::io::{self, Read, Write};

    /// A peer that answers each write by one reply, all of which is there when it is read.
    struct Peer {
        reply: Vec<u8>,
        due: usize,
        writes: usize,
        reads: usize,
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            let from = self.reply.len() - self.due;
            let count = buffer.len().min(self.due);
            buffer[..count].copy_from_slice(&self.reply[from..from + count]);
            self.due -= count;
            Ok(count)
        }
    }

    impl Write for Peer {
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
            let mut plain = Plain::new(Peer { reply: reply.into_bytes(), due: 0, writes: 0, reads: 0 });
            for _ in 0..1000 {
                plain.send(b"*1\r\n$4\r\nPING\r\n").unwrap();
                let replies: Vec<Value> = (0..4).map(|_| plain.receive().unwrap()).collect();
                let both = [&info, &value].map(|text| Value::BulkString(text.clone().into_bytes()));
                assert_eq!(replies[3], Value::Array(both.to_vec()));
            }
            let Peer { writes, reads, due, .. } = plain.stream.get_ref();
            assert_eq!((*writes, *reads, *due), (1000, 1000, 0), "{size} bytes");
        }
    }

    #[test]
    fn the_end_of_the_stream_is_told() {
        let mut plain = Plain::new(Peer { reply: b"$5\r\nhal".to_vec(), due: 7, writes: 0, reads: 0 });
        assert!(plain.receive().unwrap_err().is_connection_dropped());
    }
}
