//! The bytes of one connection: what is sent, what is read, and by how many system calls.
//!
//! A plain socket is read here, and only parsed by the redis crate. Its connections fill a buffer to the last byte before
//! they begin anew, so that a reply which does not fit in what is left takes a second read: one in twenty of 800 bytes, one in
//! three of 4 KiB.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::SockRef};
use redis::{Client, Connection, ConnectionAddr, Parser, RedisResult, Value};

/// Bytes that one read takes: a value of 4 KiB, and what the server says beside it.
const READ_AT_ONCE: usize = 8192;

/// An open socket.
pub(super) enum Wire {
    Tcp(Plain<TcpStream>),
    #[cfg(unix)]
    Unix(Plain<UnixStream>),
    /// TLS keeps what it has read by itself.
    Redis(Box<Connection>),
}

/// A socket whose bytes are the protocol's.
pub(super) struct Plain<S> {
    socket: BufReader<S>,
    parser: Parser,
}

impl Wire {
    /// Connects, and says nothing. `limit`: for each address of the name.
    pub(super) fn open(client: &Client, limit: Duration) -> RedisResult<Self> {
        let info = client.get_connection_info();
        match info.addr() {
            ConnectionAddr::Tcp(host, port) if is_plain(host, info.tcp_settings()) => {
                Ok(Self::Tcp(Plain::new(connect(host, *port, limit, info.tcp_settings())?)))
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => Ok(Self::Unix(Plain::new(UnixStream::connect(path)?))),
            _ => Ok(Self::Redis(Box::new(client.get_connection_with_timeout(limit)?))),
        }
    }

    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8]) -> RedisResult<()> {
        match self {
            Self::Tcp(plain) => plain.send(bytes),
            #[cfg(unix)]
            Self::Unix(plain) => plain.send(bytes),
            Self::Redis(connection) => connection.send_packed_command(bytes),
        }
    }

    /// Reads one value.
    #[inline]
    pub(super) fn receive(&mut self) -> RedisResult<Value> {
        match self {
            Self::Tcp(plain) => plain.receive(),
            #[cfg(unix)]
            Self::Unix(plain) => plain.receive(),
            Self::Redis(connection) => connection.recv_response(),
        }
    }

    /// Limits each system call. `None`: no limit.
    pub(super) fn set_limit(&self, limit: Option<Duration>) -> RedisResult<()> {
        match self {
            Self::Tcp(Plain { socket, .. }) => {
                socket.get_ref().set_read_timeout(limit)?;
                socket.get_ref().set_write_timeout(limit)?;
            }
            #[cfg(unix)]
            Self::Unix(Plain { socket, .. }) => {
                socket.get_ref().set_read_timeout(limit)?;
                socket.get_ref().set_write_timeout(limit)?;
            }
            Self::Redis(connection) => {
                connection.set_read_timeout(limit)?;
                connection.set_write_timeout(limit)?;
            }
        }
        Ok(())
    }
}

impl<S: Read + Write> Plain<S> {
    fn new(socket: S) -> Self {
        Self { socket: BufReader::with_capacity(READ_AT_ONCE, socket), parser: Parser::new() }
    }

    #[inline]
    fn send(&mut self, bytes: &[u8]) -> RedisResult<()> {
        Ok(self.socket.get_mut().write_all(bytes)?)
    }

    #[inline]
    fn receive(&mut self) -> RedisResult<Value> {
        self.parser.parse_value(&mut self.socket)
    }
}

/// Tells whether the socket can be opened here just as the redis crate would: it refuses wildcards, and of its settings the
/// linger time shows in `Debug` only.
fn is_plain(host: &str, settings: &TcpSettings) -> bool {
    host != "0.0.0.0" && host != "::" && format!("{settings:?}").contains("linger_time: None")
}

fn connect(host: &str, port: u16, limit: Duration, settings: &TcpSettings) -> RedisResult<TcpStream> {
    let mut failed = None;
    for addr in (host, port).to_socket_addrs()? {
        match connect_to(&addr, limit, settings) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = Some(error),
        }
    }
    let unknown = || (redis::ErrorKind::InvalidClientConfig, "could not resolve to any addresses").into();
    Err(failed.map_or_else(unknown, Into::into))
}

fn connect_to(addr: &SocketAddr, limit: Duration, settings: &TcpSettings) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(addr, limit)?;
    socket.set_nodelay(settings.nodelay())?;
    if let Some(keepalive) = settings.keepalive() {
        SockRef::from(&socket).set_tcp_keepalive(keepalive)?;
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    if let Some(timeout) = settings.user_timeout() {
        SockRef::from(&socket).set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::{Plain, is_plain};
    use redis::Value;
    use redis::io::tcp::TcpSettings;
    use std::io::{self, Read, Write};
    use std::time::Duration;

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
            let Peer { writes, reads, due, .. } = plain.socket.get_ref();
            assert_eq!((*writes, *reads, *due), (1000, 1000, 0), "{size} bytes");
        }
    }

    #[test]
    fn the_end_of_the_stream_is_told() {
        let mut plain = Plain::new(Peer { reply: b"$5\r\nhal".to_vec(), due: 7, writes: 0, reads: 0 });
        assert!(plain.receive().unwrap_err().is_connection_dropped());
    }

    #[test]
    fn settings_that_cannot_be_read_are_left_to_the_redis_crate() {
        let settings = TcpSettings::default().set_nodelay(true);
        assert!(is_plain("localhost", &settings));
        assert!(!is_plain("0.0.0.0", &settings) && !is_plain("::", &settings));
        assert!(!is_plain("localhost", &settings.set_linger_time(Duration::ZERO)));
    }
}
