//! The two halves of an open connection: one sends, the other receives, at the same time.

use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use redis::{Parser, RedisResult, Value};

use super::roles::{Receiver, Sender};
use crate::pool::open_connection::{OpenConnection, Wire};
use crate::pool::tls::{TlsReceiver, TlsSender};
use crate::pool::transport::{TimeLimit, Transport};

/// Bytes that one read takes: the small replies to a batch of many callers.
const READ_AT_ONCE: usize = 32 << 10;
/// From this size on, a reply holds up the others for so long that the connection takes no further requests.
const LARGE: usize = 256 << 10;
/// Messages that a server may push between two replies, in bytes.
const MOST_PUSHED: usize = 1 << 20;

/// The half that sends on a socket.
pub(super) struct SocketSender {
    bytes: Vec<u8>,
    sent: usize,
    way: SendingWay,
}

enum SendingWay {
    Plain(Transport),
    Tls(TlsSender),
}

/// The half that receives from a socket.
pub(super) struct SocketReceiver {
    parser: Parser,
    source: Source,
    received: Vec<Value>,
    /// Bytes of messages that belong to no request, since the last reply.
    pushed: usize,
}

/// What the parser reads from.
struct Source {
    stream: BufReader<ReceivingWay>,
    /// Whether the parser may wait for more than what has come.
    may_wait: bool,
    /// Bytes of the value that is being parsed. It includes those of small replies beside it.
    taken: usize,
    /// Bytes that the parser has taken since its caller began to receive.
    fresh: usize,
    /// Set when a large reply begins: the connection takes no further requests.
    is_full: Arc<AtomicBool>,
}

enum ReceivingWay {
    Plain(Transport),
    Tls(TlsReceiver),
}

/// Separates the halves of an open connection. `is_full`: set when a large reply begins. Returns `None` for connections of
/// the redis crate, which cannot be separated.
pub(super) fn separate(
    connection: OpenConnection,
    is_full: Arc<AtomicBool>,
) -> io::Result<Option<(SocketSender, SocketReceiver)>> {
    let (sending, receiving, parser) = match connection.into_wire() {
        Wire::Plain(stream) => {
            let (receiving, parser) = stream.into_parts()?;
            (SendingWay::Plain(receiving.twin()?), ReceivingWay::Plain(receiving), parser)
        }
        Wire::Tls(stream) => {
            let (stream, parser) = stream.into_parts()?;
            let (sending, receiving) = stream.separate()?;
            (SendingWay::Tls(sending), ReceivingWay::Tls(receiving), parser)
        }
        Wire::Redis(_) => return Ok(None),
    };
    let stream = BufReader::with_capacity(READ_AT_ONCE, receiving);
    let source = Source { stream, may_wait: true, taken: 0, fresh: 0, is_full };
    let receiver = SocketReceiver { parser, source, received: Vec::new(), pushed: 0 };
    Ok(Some((SocketSender { bytes: Vec::new(), sent: 0, way: sending }, receiver)))
}

impl Sender for SocketSender {
    fn room(&mut self) -> &mut Vec<u8> {
        self.sent = 0;
        &mut self.bytes
    }

    #[inline]
    fn is_done(&self) -> bool {
        self.sent == self.bytes.len()
            && match &self.way {
                SendingWay::Plain(_) => true,
                SendingWay::Tls(sender) => sender.is_done(),
            }
    }

    fn send(&mut self, end: Option<Instant>) -> RedisResult<()> {
        let limit = TimeLimit::until(end, Instant::now());
        match &mut self.way {
            SendingWay::Plain(transport) => {
                transport.begin(limit);
                while self.sent < self.bytes.len() {
                    match transport.write(&self.bytes[self.sent..])? {
                        0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                        count => self.sent += count,
                    }
                }
                Ok(())
            }
            SendingWay::Tls(sender) => Ok(sender.send(&self.bytes, &mut self.sent, limit)?),
        }
    }

    fn shut(&mut self) {
        match &self.way {
            SendingWay::Plain(transport) => transport.shut(Shutdown::Write),
            SendingWay::Tls(sender) => sender.shut(),
        }
    }
}

impl Receiver for SocketReceiver {
    fn receive(&mut self, end: Option<Instant>) -> RedisResult<()> {
        self.source.begin(TimeLimit::until(end, Instant::now()));
        let mut parsed = Some(0);
        loop {
            match self.parser.parse_value(&mut self.source) {
                // Messages belong to nobody.
                Ok(Value::Push { .. }) => {
                    self.pushed += std::mem::take(&mut self.source.taken);
                    if self.pushed > MOST_PUSHED {
                        let text = "the server sends messages without end, and no replies";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
                    }
                }
                Ok(value) => {
                    parsed = parsed.zip(encoded_length(&value)).map(|(parsed, length)| parsed + length);
                    self.received.push(value);
                    (self.source.may_wait, self.source.taken, self.pushed) = (false, 0, 0);
                    // The parser need not look for another reply, which would allocate an error. Should this be mistaken, the
                    // rest is found with the next reply.
                    if parsed == Some(self.source.fresh) && self.source.stream.buffer().is_empty() {
                        return Ok(());
                    }
                }
                // What has come is parsed.
                Err(error) if !self.source.may_wait && error.is_timeout() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn received(&mut self) -> &mut Vec<Value> {
        &mut self.received
    }

    fn shut(&mut self) {
        match self.source.stream.get_ref() {
            ReceivingWay::Plain(transport) => transport.shut(Shutdown::Both),
            ReceivingWay::Tls(receiver) => receiver.shut(),
        }
    }
}

impl Source {
    fn begin(&mut self, limit: TimeLimit) {
        (self.may_wait, self.fresh) = (true, 0);
        match self.stream.get_mut() {
            ReceivingWay::Plain(transport) => transport.begin(limit),
            ReceivingWay::Tls(receiver) => receiver.begin(limit),
        }
    }
}

/// Returns the length of the usual values in the protocol.
fn encoded_length(value: &Value) -> Option<usize> {
    let digits = |number: usize| number.checked_ilog10().unwrap_or(0) as usize + 1;
    match value {
        Value::BulkString(bytes) => Some(5 + digits(bytes.len()) + bytes.len()),
        Value::SimpleString(text) => Some(3 + text.len()),
        Value::Okay | Value::Nil => Some(5),
        Value::Int(number) => Some(3 + usize::from(*number < 0) + digits(usize::try_from(number.unsigned_abs()).ok()?)),
        Value::Array(values) => {
            let inner: Option<usize> = values.iter().map(encoded_length).sum();
            Some(3 + digits(values.len()) + inner?)
        }
        _ => None,
    }
}

impl Read for Source {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.may_wait && self.stream.buffer().is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.stream.read(buffer)?;
        self.taken += count;
        self.fresh += count;
        if self.taken > LARGE {
            // Relaxed: a hint. Nothing else is passed on by it.
            self.is_full.store(true, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl Read for ReceivingWay {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(transport) => transport.read(buffer),
            Self::Tls(receiver) => receiver.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests;
