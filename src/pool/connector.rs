//! Opens connections: socket, login, database, role, all within one limit.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ConnectionLike, ProtocolVersion, RedisConnectionInfo,
    RedisError, RedisResult, Value, cmd, pipe,
};

use super::hello::{Greeting, read_greeting, read_role};
use super::live::Live;
use super::wire::Wire;
use crate::node::Role;

/// How to log in at a node.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) info: ConnectionInfo,
    pub(crate) client_name: Option<String>,
}

/// Opens connections to one node.
///
/// The handshake of the redis crate waits the whole limit for each of its replies. So it is left with nothing to do, and
/// the handshake is done here, its replies all within one limit.
pub(super) struct Connector {
    /// Opens sockets, with TLS where asked for, and says nothing on them.
    socket: Client,
    /// Does everything the redis crate does; for connections handed to users.
    whole: Client,
    database: i64,
    client_name: Option<String>,
    /// `HELLO …`, then `SELECT` where another database than 0 is used.
    greeting: Vec<u8>,
    /// The same for servers and proxies that do not know `HELLO`.
    old_greeting: Vec<u8>,
}

impl Connector {
    pub(super) fn new(login: Login) -> RedisResult<Self> {
        let Login { info, client_name } = login;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let database = settings.db();
        let greeting = greeting(&settings, client_name.as_deref());
        let old_greeting = old_greeting(&settings, client_name.as_deref());
        let info = info.set_tcp_settings(tcp);
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let socket = Client::open(info.clone().set_redis_settings(bare))?;
        let whole = Client::open(info.set_redis_settings(settings))?;
        Ok(Self { socket, whole, database, client_name, greeting, old_greeting })
    }

    /// Opens a connection, logs in and asks for the role.
    pub(super) fn connect(&self, limit: Duration) -> RedisResult<Live> {
        let end = Instant::now() + limit;
        let mut live = Live::new(Wire::open(&self.socket, self.limit_per_address(limit))?);
        match self.greet(&mut live, end) {
            Err(error) if is_unknown(&error) => self.greet_as_of_old(&mut live, end)?,
            greeted => greeted?,
        }
        Ok(live)
    }

    /// Opens a connection for a user, with the handshake of the redis crate and without time limits, and asks for the
    /// role of the node.
    pub(super) fn connect_plain(&self, limit: Duration) -> RedisResult<(Connection, Option<Role>)> {
        let info = self.whole.get_connection_info().redis_settings();
        let logs_in = info.password().is_some() || info.protocol() == ProtocolVersion::RESP3;
        // The redis crate waits the whole limit for each reply; these are all replies there are.
        let replies = u32::from(logs_in) + u32::from(self.database != 0) + u32::from(self.client_name.is_some()) + 1;
        let limit = (self.limit_per_address(limit) / replies).max(Duration::from_millis(1));
        let mut connection = self.whole.get_connection_with_timeout(limit).map_err(without_echo)?;
        connection.set_read_timeout(Some(limit))?;
        if let Some(name) = &self.client_name {
            cmd("CLIENT").arg("SETNAME").arg(name).exec(&mut connection)?;
        }
        let role = match connection.req_command(&cmd("HELLO"))? {
            Value::ServerError(error) if error.code() == "NOAUTH" => return Err(error.into()),
            Value::ServerError(_) => read_role(&connection.req_command(&cmd("ROLE"))?),
            greeting => match read_greeting(&greeting) {
                Greeting::Role(role) => role,
                Greeting::Sentinel => return Err(sentinel()),
            },
        };
        connection.set_read_timeout(None)?;
        Ok((connection, role))
    }

    pub(super) fn database(&self) -> i64 {
        self.database
    }

    fn greet(&self, live: &mut Live, end: Instant) -> RedisResult<()> {
        let replies = if self.database == 0 { 1 } else { 2 };
        let mut answers = Vec::with_capacity(replies);
        // All of them are read, also behind an error: none may be left to whoever uses the connection next.
        live.ask(&self.greeting, replies, end, |value| answers.push(value))?;
        let answers = answers.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>()?;
        match read_greeting(answers.first().unwrap_or(&Value::Nil)) {
            Greeting::Sentinel => Err(sentinel()),
            Greeting::Role(role) => {
                live.prove(role, true);
                Ok(())
            }
        }
    }

    fn greet_as_of_old(&self, live: &mut Live, end: Instant) -> RedisResult<()> {
        let settings = self.whole.get_connection_info().redis_settings();
        let needed = usize::from(settings.password().is_some()) + usize::from(self.database != 0);
        let asked = needed + usize::from(self.client_name.is_some()) + 1;
        let mut answers = Vec::with_capacity(asked);
        live.ask(&self.old_greeting, asked, end, |value| answers.push(value))?;
        // Refused by rights or a proxy: not known.
        let role = answers.last().and_then(read_role);
        answers.into_iter().take(needed).try_for_each(|answer| answer.extract_error().map(drop))?;
        live.prove(role, false);
        Ok(())
    }

    /// The redis crate tries every address of a name, each with the whole limit.
    fn limit_per_address(&self, limit: Duration) -> Duration {
        let addresses = match self.socket.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                if host.parse::<IpAddr>().is_ok() {
                    1
                } else {
                    (host.as_str(), *port).to_socket_addrs().map_or(1, Iterator::count)
                }
            }
            _ => 1,
        };
        let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
        (limit / addresses).max(Duration::from_millis(1))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing secret.
        f.debug_struct("Login").field("addr", &self.info.addr().to_string()).finish_non_exhaustive()
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

fn greeting(settings: &RedisConnectionInfo, client_name: Option<&str>) -> Vec<u8> {
    let mut hello = cmd("HELLO");
    hello.arg(if settings.protocol() == ProtocolVersion::RESP3 { 3 } else { 2 });
    if let Some(password) = settings.password() {
        hello.arg("AUTH").arg(settings.username().unwrap_or("default")).arg(password);
    }
    if let Some(name) = client_name {
        hello.arg("SETNAME").arg(name);
    }
    let mut greeting = hello.get_packed_command();
    if settings.db() != 0 {
        cmd("SELECT").arg(settings.db()).write_packed_command(&mut greeting);
    }
    greeting
}

fn old_greeting(settings: &RedisConnectionInfo, client_name: Option<&str>) -> Vec<u8> {
    let mut greeting = pipe();
    if let Some(password) = settings.password() {
        greeting.cmd("AUTH").arg(settings.username()).arg(password);
    }
    if settings.db() != 0 {
        greeting.cmd("SELECT").arg(settings.db());
    }
    if let Some(name) = client_name {
        greeting.cmd("CLIENT").arg("SETNAME").arg(name);
    }
    greeting.cmd("ROLE");
    greeting.get_packed_pipeline()
}

fn sentinel() -> RedisError {
    (redis::ErrorKind::InvalidClientConfig, "this is a Sentinel, not a data node").into()
}

/// Old servers echo the arguments of a command that they do not know: of `HELLO 3 AUTH`, the password.
fn without_echo(error: RedisError) -> RedisError {
    if is_unknown(&error) {
        return (redis::ErrorKind::RESP3NotSupported, "the server does not know HELLO, which RESP3 needs").into();
    }
    error
}

/// The server does not know `HELLO`, or not the protocol that was asked for.
fn is_unknown(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some("ERR") && detail.to_ascii_lowercase().contains("unknown command")
}
