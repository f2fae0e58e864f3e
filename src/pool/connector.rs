//! Opens connections: socket, login, database, role, all of it by one end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionAddr, ConnectionLike, ProtocolVersion, RedisError, RedisResult, Value, cmd};

use super::access::Access;
use super::greeting::{Login, greeting, is_about_login, old_greeting, without_echo, without_password};
use super::hello::{Greeting, read_greeting};
use super::live::Live;
use super::means::Means;
use super::probe::speaks_tls;
use super::socket::{connect_tcp, is_settable};
use super::tls::{Session, check_provider_of_redis, explained_to_redis};
use super::transport::Transport;
use super::wire::Wire;
use crate::error::{Error, Lasts, Result, TlsError, io_error};
use crate::replication::{Role, role_in_reply};

/// Opens connections to one node.
///
/// The handshake of the redis crate waits the whole limit for each of its replies. So it is left with nothing to do, and
/// the handshake is done here, its replies all by one end.
pub(super) struct Connector {
    /// Opens sockets, with TLS where asked for, and says nothing on them.
    socket: Client,
    /// Does everything the redis crate does; for connections handed to users.
    whole: Client,
    means: Means,
    /// Opens TLS sessions, where the redis crate does not.
    session: Option<Session>,
    database: i64,
    client_name: Option<String>,
    /// `HELLO …`, then `SELECT` where another database than 0 is used.
    greeting: Vec<u8>,
    /// The same for servers and proxies that do not know `HELLO`.
    old_greeting: Vec<u8>,
    hello: AtomicU8,
}

/// What is known of `HELLO` on this node.
const NOT_KNOWN: u8 = 0;
const WORKS: u8 = 1;
const REFUSED: u8 = 2;

impl Connector {
    pub(super) fn new(login: Login, means: Means) -> Result<Self> {
        let Login { info, client_name } = login;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let database = settings.db();
        let greeting = greeting(&settings, client_name.as_deref());
        let old_greeting = old_greeting(&settings, client_name.as_deref());
        let session = means.tls.session(&info)?;
        let info = means.tls.certified(info.set_tcp_settings(tcp));
        let bare = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        let unusable = |error| Error::config("an endpoint cannot be used").because(error);
        let socket = Client::open(info.clone().set_redis_settings(bare)).map_err(unusable)?;
        let whole = Client::open(info.set_redis_settings(settings)).map_err(unusable)?;
        let hello = AtomicU8::new(NOT_KNOWN);
        Ok(Self { socket, whole, means, session, database, client_name, greeting, old_greeting, hello })
    }

    /// Opens a connection to a node, logs in and asks for the role. `is_pooled`: it will be lent.
    pub(super) fn connect(&self, access: &Arc<Access>, is_pooled: bool, end: Instant) -> RedisResult<Live> {
        match self.connect_to_any(access, is_pooled, end)? {
            (_, Greeting::Sentinel) => Err(sentinel()),
            (live, Greeting::Role(_)) => Ok(live),
        }
    }

    /// The same, for a server of any kind.
    pub(super) fn connect_to_any(
        &self,
        access: &Arc<Access>,
        is_pooled: bool,
        end: Instant,
    ) -> RedisResult<(Live, Greeting)> {
        let password = self.whole.get_connection_info().redis_settings().password();
        self.try_to_connect(access, is_pooled, end).map_err(|error| without_password(error, password))
    }

    fn try_to_connect(&self, access: &Arc<Access>, is_pooled: bool, end: Instant) -> RedisResult<(Live, Greeting)> {
        let hello = self.hello.load(Ordering::Relaxed);
        let mut live = self.open(access, is_pooled, end)?;
        if hello == REFUSED {
            let greeting = self.greet_as_of_old(&mut live, end)?;
            return Ok((live, greeting));
        }
        let mut greeted = self.greet(&mut live, end);
        if hello == NOT_KNOWN && greeted.as_ref().is_err_and(RedisError::is_connection_dropped) {
            // Once may be chance.
            live = self.open(access, is_pooled, end)?;
            greeted = self.greet(&mut live, end);
        }
        let refusal = match greeted {
            Ok(greeting) => {
                self.hello.store(WORKS, Ordering::Relaxed);
                return Ok((live, greeting));
            }
            Err(refusal) => refusal,
        };
        let is_answer = refusal.code().is_some();
        // A proxy may also close the connection. Where HELLO worked before, a closed connection is a fault like any other.
        let is_closed = hello == NOT_KNOWN && refusal.is_connection_dropped();
        if (is_answer && is_about_login(&refusal)) || !(is_answer || is_closed) {
            return Err(refusal);
        }
        let greeted = if is_closed { Err(refusal.clone()) } else { self.greet_as_of_old(&mut live, end) };
        let greeted = match greeted {
            Err(error) if error.is_connection_dropped() => {
                live = self.open(access, is_pooled, end)?;
                self.greet_as_of_old(&mut live, end)
            }
            greeted => greeted,
        };
        match greeted {
            Ok(greeting) => {
                self.hello.store(REFUSED, Ordering::Relaxed);
                Ok((live, greeting))
            }
            // What came first says more.
            Err(_) if is_closed && self.may_want_tls(access, end) => {
                let text = "the server speaks TLS on this port, and nothing else: its address begins with rediss://, or tls() is set";
                Err(TlsError::new(Lasts::UntilChanged, text).within(io::ErrorKind::InvalidData).into())
            }
            Err(_) if is_closed => Err(refusal),
            Err(error) => Err(error),
        }
    }

    fn open(&self, access: &Arc<Access>, is_pooled: bool, end: Instant) -> RedisResult<Live> {
        let term = access.term(is_pooled);
        let info = self.socket.get_connection_info();
        if let (ConnectionAddr::TcpTls { host, port, .. }, Some(session)) = (info.addr(), &self.session) {
            let socket = connect_tcp((host, *port), &self.means.resolver, info.tcp_settings(), end)?;
            return Ok(Live::new(session.open(Transport::new(socket, term.clone()), end)?, term));
        }
        let socket = match info.addr() {
            ConnectionAddr::Tcp(host, port) if !is_wildcard(host) && is_settable(info.tcp_settings()) => {
                connect_tcp((host, *port), &self.means.resolver, info.tcp_settings(), end)?
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => super::socket::connect_unix(path, end)?,
            _ => return Ok(Live::new(Wire::redis(self.open_by_redis(&self.socket, end, 1)?), term)),
        };
        Ok(Live::new(Wire::plain(Transport::new(socket, term.clone())), term))
    }

    /// Returns whether a server that hung up on all that was said speaks TLS.
    fn may_want_tls(&self, access: &Arc<Access>, end: Instant) -> bool {
        let info = self.socket.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return false };
        let socket = connect_tcp((host, *port), &self.means.resolver, info.tcp_settings(), end);
        socket.is_ok_and(|socket| speaks_tls(&mut Transport::new(socket, access.term(false)), end))
    }

    /// Has the redis crate connect: it tries every address of a name, and waits for each reply, with the whole limit.
    fn open_by_redis(&self, client: &Client, end: Instant, steps: u32) -> RedisResult<Connection> {
        let addresses = match client.get_connection_info().addr() {
            addr @ (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) => {
                if matches!(addr, ConnectionAddr::TcpTls { .. }) {
                    check_provider_of_redis()?;
                }
                self.means.resolver.addresses(host, *port, Some(end))?.len()
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
    pub(super) fn connect_plain(&self, end: Instant) -> RedisResult<(Connection, Option<Role>)> {
        self.connect_by_redis(end).map_err(|error| explained_to_redis(error, self.session.as_ref()))
    }

    fn connect_by_redis(&self, end: Instant) -> RedisResult<(Connection, Option<Role>)> {
        let info = self.whole.get_connection_info().redis_settings();
        let logs_in = info.password().is_some() || info.protocol() == ProtocolVersion::RESP3;
        // All replies there are.
        let replies = u32::from(logs_in) + u32::from(self.database != 0) + u32::from(self.client_name.is_some()) + 1;
        let mut connection = self.open_by_redis(&self.whole, end, replies).map_err(without_echo)?;
        let left = (end.saturating_duration_since(Instant::now()) / replies).max(Duration::from_millis(1));
        connection.set_read_timeout(Some(left))?;
        if let Some(name) = &self.client_name {
            // A user without rights for CLIENT goes without a name.
            let _ = connection.req_command(cmd("CLIENT").arg("SETNAME").arg(name))?;
        }
        let role = match connection.req_command(&cmd("HELLO"))? {
            Value::ServerError(error) if error.code() == "NOAUTH" => return Err(error.into()),
            Value::ServerError(_) => role_in_reply(&connection.req_command(&cmd("ROLE"))?),
            greeting => match read_greeting(&greeting) {
                Greeting::Role(role) => role,
                Greeting::Sentinel => return Err(sentinel()),
            },
        };
        connection.set_read_timeout(None)?;
        Ok((connection, role))
    }

    /// Logs in without `HELLO`, unless the protocol needs it.
    pub(super) fn go_without_hello(&self) {
        if self.whole.get_connection_info().redis_settings().protocol() == ProtocolVersion::RESP2 {
            self.hello.store(REFUSED, Ordering::Relaxed);
        }
    }

    pub(super) fn database(&self) -> i64 {
        self.database
    }

    fn greet(&self, live: &mut Live, end: Instant) -> RedisResult<Greeting> {
        let answers = live.say(&self.greeting, if self.database == 0 { 1 } else { 2 }, end)?;
        let answers = answers.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>()?;
        let greeting = read_greeting(answers.first().unwrap_or(&Value::Nil));
        if let Greeting::Role(role) = greeting {
            live.prove(role, true);
        }
        Ok(greeting)
    }

    fn greet_as_of_old(&self, live: &mut Live, end: Instant) -> RedisResult<Greeting> {
        let settings = self.whole.get_connection_info().redis_settings();
        let needed = usize::from(settings.password().is_some()) + usize::from(self.database != 0);
        let asked = needed + usize::from(self.client_name.is_some()) + 1;
        let answers = live.say(&self.old_greeting, asked, end)?;
        // Refused by rights or a proxy: not known.
        let role = answers.last().and_then(role_in_reply);
        answers.into_iter().take(needed).try_for_each(|answer| answer.extract_error().map(drop))?;
        live.prove(role, false);
        Ok(Greeting::Role(role))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the login.
        f.debug_struct("Connector")
            .field("addr", &self.socket.get_connection_info().addr().to_string())
            .finish_non_exhaustive()
    }
}

/// The redis crate refuses to connect to these.
fn is_wildcard(host: &str) -> bool {
    host == "0.0.0.0" || host == "::"
}

fn is_interrupted(error: &RedisError) -> bool {
    io_error(error).is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

fn sentinel() -> RedisError {
    (redis::ErrorKind::InvalidClientConfig, "this is a Sentinel, not a data node").into()
}
