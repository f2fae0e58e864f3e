//! Opens connections: socket, login, database, role, all of it by one end.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, ConnectionLike, ProtocolVersion};
use redis::{RedisError, RedisResult, Value, cmd};

use super::generation::Generations;
use super::handshake::{HelloReply, Login, is_about_login, with_hello, without_echo, without_hello, without_password};
use super::network::Network;
use super::open_connection::{OpenConnection, Wire};
use super::socket::{connect_tcp, is_settable};
use super::tls::{Session, check_provider_of_redis, with_message};
use super::transport::{TimeLimit, Transport};
use crate::error::{Error, Lasts, Result, TlsError, io_error};
use crate::replication::{Role, role_in_reply};

/// Opens connections to one node.
///
/// The handshake of the redis crate waits the whole limit for each of its replies. So it is left with nothing to do,
/// and the handshake is done here, its replies all by one end.
pub(super) struct Connector {
    /// Opens sockets, with TLS where asked for, without any handshake.
    bare: Client,
    /// Opens sockets and does the handshake of the redis crate: for connections that are handed to users.
    complete: Client,
    network: Network,
    /// Opens TLS sessions, where the redis crate does not.
    session: Option<Session>,
    database: i64,
    client_name: Option<String>,
    with_hello: Vec<u8>,
    without_hello: Vec<u8>,
    /// What is known of `HELLO` on this node.
    hello: AtomicU8,
}

const NOT_KNOWN: u8 = 0;
const WORKS: u8 = 1;
const REFUSED: u8 = 2;

/// The beginning of a TLS handshake that is too short for any server: those that speak TLS answer with an alert.
const TOO_SHORT: [u8; 10] = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
/// The kinds of TLS records that a server begins with.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

impl Connector {
    pub(super) fn new(login: Login, network: Network) -> Result<Self> {
        let Login { info, client_name } = login;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let session = network.tls.session(&info)?;
        let info = network.tls.certified(info.set_tcp_settings(tcp));
        let nothing = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        let unusable = |error| Error::config("an endpoint cannot be used").because(error);
        Ok(Self {
            database: settings.db(),
            with_hello: with_hello(&settings, client_name.as_deref()),
            without_hello: without_hello(&settings, client_name.as_deref()),
            bare: Client::open(info.clone().set_redis_settings(nothing)).map_err(unusable)?,
            complete: Client::open(info.set_redis_settings(settings)).map_err(unusable)?,
            network,
            session,
            client_name,
            hello: AtomicU8::new(NOT_KNOWN),
        })
    }

    /// Makes a connector for the same node with another login.
    pub(super) fn with_login(&self, info: ConnectionInfo) -> Result<Self> {
        Self::new(Login { info, client_name: self.client_name.clone() }, self.network.clone())
    }

    /// Opens a connection to a data node, logs in and asks for the role.
    pub(super) fn connect(&self, generations: &Generations, end: Instant) -> RedisResult<OpenConnection> {
        match self.connect_to_any(generations, end)? {
            (_, HelloReply::Sentinel) => Err(sentinel()),
            (connection, HelloReply::Data(_)) => Ok(connection),
        }
    }

    /// Opens a connection to a server of any kind, logs in and asks for the role.
    pub(super) fn connect_to_any(
        &self,
        generations: &Generations,
        end: Instant,
    ) -> RedisResult<(OpenConnection, HelloReply)> {
        let password = self.complete.get_connection_info().redis_settings().password();
        self.try_to_connect(generations, end).map_err(|error| without_password(error, password))
    }

    fn try_to_connect(&self, generations: &Generations, end: Instant) -> RedisResult<(OpenConnection, HelloReply)> {
        let hello = self.hello.load(Ordering::Relaxed);
        let mut connection = self.open(generations, end)?;
        if hello == REFUSED {
            let reply = self.log_in_without_hello(&mut connection, end)?;
            return Ok((connection, reply));
        }
        let mut greeted = self.log_in_with_hello(&mut connection, end);
        if hello == NOT_KNOWN && greeted.as_ref().is_err_and(RedisError::is_connection_dropped) {
            // Once may be chance.
            connection = self.open(generations, end)?;
            greeted = self.log_in_with_hello(&mut connection, end);
        }
        let refusal = match greeted {
            Ok(reply) => {
                self.hello.store(WORKS, Ordering::Relaxed);
                return Ok((connection, reply));
            }
            Err(refusal) => refusal,
        };
        let is_answer = refusal.code().is_some();
        // A proxy may also close the connection. Where HELLO worked before, a closed connection is a fault like any
        // other.
        let is_closed = hello == NOT_KNOWN && refusal.is_connection_dropped();
        if (is_answer && is_about_login(&refusal)) || !(is_answer || is_closed) {
            return Err(refusal);
        }
        let greeted = if is_closed { Err(refusal.clone()) } else { self.log_in_without_hello(&mut connection, end) };
        let greeted = match greeted {
            Err(error) if error.is_connection_dropped() => {
                connection = self.open(generations, end)?;
                self.log_in_without_hello(&mut connection, end)
            }
            greeted => greeted,
        };
        match greeted {
            Ok(reply) => {
                self.hello.store(REFUSED, Ordering::Relaxed);
                Ok((connection, reply))
            }
            // The first error says more than the second.
            Err(_) if is_closed && self.may_want_tls(end) => {
                let text = "the server speaks TLS on this port, and nothing else: its address begins with rediss://, or tls() is set";
                Err(TlsError::new(Lasts::UntilChanged, text).within(io::ErrorKind::InvalidData).into())
            }
            Err(_) if is_closed => Err(refusal),
            Err(error) => Err(error),
        }
    }

    fn open(&self, generations: &Generations, end: Instant) -> RedisResult<OpenConnection> {
        let generation = generations.present();
        let info = self.bare.get_connection_info();
        let tcp = |host: &str, port| connect_tcp((host, port), &self.network.resolver, info.tcp_settings(), end);
        let transport = |socket| Transport::new(socket, generation.clone());
        let wire = match (info.addr(), &self.session) {
            (ConnectionAddr::TcpTls { host, port, .. }, Some(session)) => {
                Wire::tls(session.open(transport(tcp(host, *port)?), end)?)
            }
            (ConnectionAddr::Tcp(host, port), _) if !is_wildcard(host) && is_settable(info.tcp_settings()) => {
                Wire::plain(transport(tcp(host, *port)?))
            }
            #[cfg(unix)]
            (ConnectionAddr::Unix(path), _) => Wire::plain(transport(super::socket::connect_unix(path, end)?)),
            _ => Wire::redis(self.open_by_redis(&self.bare, end, 1)?),
        };
        Ok(OpenConnection::new(wire, generation))
    }

    /// Returns whether a server that closed all plain connections speaks TLS.
    fn may_want_tls(&self, end: Instant) -> bool {
        let info = self.bare.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return false };
        let answer = || {
            let socket = connect_tcp((host, *port), &self.network.resolver, info.tcp_settings(), end)?;
            let mut transport = Transport::new(socket, Generations::default().present());
            let mut record = [0; 3];
            transport.begin(TimeLimit::by(end));
            transport.write_all(&TOO_SHORT)?;
            transport.read_exact(&mut record)?;
            io::Result::Ok(record)
        };
        matches!(answer(), Ok([ALERT | HANDSHAKE, 3, _]))
    }

    /// Has the redis crate connect: it tries every address of a name, and waits for each reply, with the whole limit.
    fn open_by_redis(&self, client: &Client, end: Instant, steps: u32) -> RedisResult<Connection> {
        let addresses = match client.get_connection_info().addr() {
            addr @ (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) => {
                if matches!(addr, ConnectionAddr::TcpTls { .. }) {
                    check_provider_of_redis()?;
                }
                self.network.resolver.addresses(host, *port, Some(end))?.len()
            }
            _ => 1,
        };
        let parts = u32::try_from(addresses).unwrap_or(u32::MAX).saturating_mul(steps).max(1);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            match client.get_connection_with_timeout((left / parts).max(Duration::from_millis(1))) {
                // A signal is no error.
                Err(error) if is_interrupted(&error) => {}
                done => return done,
            }
        }
    }

    /// Opens a connection for a user, with the handshake of the redis crate and without time limits, and asks for the
    /// role of the node.
    pub(super) fn connect_for_user(&self, end: Instant) -> RedisResult<(Connection, Option<Role>)> {
        self.connect_by_redis(end).map_err(|error| with_message(error, self.session.as_ref()))
    }

    fn connect_by_redis(&self, end: Instant) -> RedisResult<(Connection, Option<Role>)> {
        let info = self.complete.get_connection_info().redis_settings();
        let logs_in = info.password().is_some() || info.protocol() == ProtocolVersion::RESP3;
        // All replies there are.
        let replies = u32::from(logs_in) + u32::from(self.database != 0) + u32::from(self.client_name.is_some()) + 1;
        let mut connection = self.open_by_redis(&self.complete, end, replies).map_err(without_echo)?;
        let left = (end.saturating_duration_since(Instant::now()) / replies).max(Duration::from_millis(1));
        connection.set_read_timeout(Some(left))?;
        if let Some(name) = &self.client_name {
            // A user without rights for CLIENT goes without a name.
            let _ = connection.req_command(cmd("CLIENT").arg("SETNAME").arg(name))?;
        }
        let role = match connection.req_command(&cmd("HELLO"))? {
            Value::ServerError(error) if error.code() == "NOAUTH" => return Err(error.into()),
            Value::ServerError(_) => role_in_reply(&connection.req_command(&cmd("ROLE"))?),
            reply => match HelloReply::of(&reply) {
                HelloReply::Data(role) => role,
                HelloReply::Sentinel => return Err(sentinel()),
            },
        };
        connection.set_read_timeout(None)?;
        Ok((connection, role))
    }

    /// Logs in without `HELLO` from now on, unless the protocol needs it.
    pub(super) fn go_without_hello(&self) {
        if self.complete.get_connection_info().redis_settings().protocol() == ProtocolVersion::RESP2 {
            self.hello.store(REFUSED, Ordering::Relaxed);
        }
    }

    pub(super) fn database(&self) -> i64 {
        self.database
    }

    fn log_in_with_hello(&self, connection: &mut OpenConnection, end: Instant) -> RedisResult<HelloReply> {
        let answers = connection.shake_hands(&self.with_hello, if self.database == 0 { 1 } else { 2 }, end)?;
        let answers = answers.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>()?;
        let reply = HelloReply::of(answers.first().unwrap_or(&Value::Nil));
        if let HelloReply::Data(role) = reply {
            connection.record_handshake(role, true);
        }
        Ok(reply)
    }

    fn log_in_without_hello(&self, connection: &mut OpenConnection, end: Instant) -> RedisResult<HelloReply> {
        let settings = self.complete.get_connection_info().redis_settings();
        let needed = usize::from(settings.password().is_some()) + usize::from(self.database != 0);
        let asked = needed + usize::from(self.client_name.is_some()) + 1;
        let answers = connection.shake_hands(&self.without_hello, asked, end)?;
        // Not known if rights or a proxy refuse it.
        let role = answers.last().and_then(role_in_reply);
        answers.into_iter().take(needed).try_for_each(|answer| answer.extract_error().map(drop))?;
        connection.record_handshake(role, false);
        Ok(HelloReply::Data(role))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the login.
        f.debug_struct("Connector")
            .field("addr", &self.bare.get_connection_info().addr().to_string())
            .finish_non_exhaustive()
    }
}

/// Returns whether the redis crate refuses to connect to this host.
fn is_wildcard(host: &str) -> bool {
    host == "0.0.0.0" || host == "::"
}

fn is_interrupted(error: &RedisError) -> bool {
    io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

fn sentinel() -> RedisError {
    (redis::ErrorKind::InvalidClientConfig, "this is a Sentinel, not a data node").into()
}
