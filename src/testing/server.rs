//! One real server process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, cmd, pipe};

use super::launch::{free_port, signal, spawn};
use crate::addr::NodeAddr;

/// How long a server may take to start or to answer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Another process may take a free port before the server does.
const PORTS_TRIED: usize = 8;
/// A year, in milliseconds: servers refuse times that overflow their clock.
const LONGEST_PAUSE: u64 = 365 * 24 * 3600 * 1000;

/// A server process, or a Sentinel, on a free port of the loopback interface; killed on drop.
pub struct Server {
    /// Without TLS.
    port: u16,
    tls_port: Option<u16>,
    password: Option<String>,
    /// All arguments, the port included.
    args: Vec<String>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Starts a server on a free port. `args_of` returns the arguments for that port and for a second one with TLS.
    pub(super) fn start(
        folder: &Path,
        password: Option<&str>,
        has_tls: bool,
        args_of: impl Fn(u16, Option<u16>) -> io::Result<Vec<String>>,
    ) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            let port = free_port()?;
            let tls_port = has_tls.then(free_port).transpose()?;
            let (password, args) = (password.map(str::to_owned), args_of(port, tls_port)?);
            let mut server = Self { port, tls_port, password, args, folder: folder.to_owned(), child: None };
            match server.restart() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("no free port")))
    }

    /// Returns the address on which the server listens, also while it is stopped. With TLS, it is the address for TLS.
    #[must_use]
    pub fn addr(&self) -> NodeAddr {
        NodeAddr::tcp("127.0.0.1", self.tls_port.unwrap_or(self.port))
    }

    /// Returns the URL of the server, with its password if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        let scheme = if self.tls_port.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{login}{}", self.addr())
    }

    /// Opens a direct connection, without routing and without TLS.
    ///
    /// # Errors
    ///
    /// If the server does not answer within 30 s.
    pub fn connection(&self) -> io::Result<Connection> {
        self.connection_within(LONGEST_WAIT)
    }

    /// Opens a connection. Opening it and each reply may take this long.
    pub(super) fn connection_within(&self, limit: Duration) -> io::Result<Connection> {
        let addr = ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port);
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = addr.into_connection_info().map_err(io::Error::other)?.set_redis_settings(settings);
        let client = Client::open(info).map_err(io::Error::other)?;
        let connection = client.get_connection_with_timeout(limit).map_err(io::Error::other)?;
        connection.set_read_timeout(Some(limit)).map_err(io::Error::other)?;
        Ok(connection)
    }

    /// Returns a field of `INFO`, such as `master_link_status`.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn info(&self, section: &str, field: &str) -> io::Result<Option<String>> {
        let text: String = cmd("INFO").arg(section).query(&mut self.connection()?).map_err(io::Error::other)?;
        let value = |line: &str| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned);
        Ok(text.lines().find_map(value))
    }

    /// Returns how often the server has run a command, as it counts them itself. A subcommand is written `CLIENT|LIST`.
    ///
    /// A replica also counts the writes that it gets from its master.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn calls(&self, command: &str) -> io::Result<u64> {
        self.count("commandstats", &format!("cmdstat_{}", command.to_ascii_lowercase()), "calls=")
    }

    /// Returns how often the server has replied with an error of this code, such as `READONLY`, as it counts them itself.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn errors(&self, code: &str) -> io::Result<u64> {
        self.count("errorstats", &format!("errorstat_{code}"), "count=")
    }

    /// Resets the counts of commands and errors to zero.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn reset_counts(&self) -> io::Result<()> {
        self.run(cmd("CONFIG").arg("RESETSTAT"))
    }

    /// Kills the server (SIGKILL) and waits until it has ended. Its port then refuses connections.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the server if it runs, and starts it without data, on the same port and in its first role.
    ///
    /// A Sentinel keeps its state.
    ///
    /// # Errors
    ///
    /// If the program is not found, or does not answer within 30 s.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.child = Some(spawn(&self.folder, &self.args)?);
        self.wait_until_it_answers()
    }

    /// Suspends the process (SIGSTOP): connections hang, but are not closed.
    ///
    /// # Errors
    ///
    /// If the server does not run.
    pub fn pause(&self) -> io::Result<()> {
        signal(self.process()?, "STOP")
    }

    /// Resumes a suspended process (SIGCONT).
    ///
    /// # Errors
    ///
    /// If the server does not run.
    pub fn resume(&self) -> io::Result<()> {
        signal(self.process()?, "CONT")
    }

    /// Returns whether the server was started and not stopped since.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Blocks all writes on this server for this long (`CLIENT PAUSE … WRITE`, from Redis 6.2). Reads are served.
    ///
    /// On a replica, the writes of its master are blocked as well: the replica lags.
    ///
    /// # Errors
    ///
    /// If the server does not answer or does not know the command.
    pub fn pause_writes(&self, time: Duration) -> io::Result<()> {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(LONGEST_PAUSE);
        self.run(cmd("CLIENT").arg("PAUSE").arg(time).arg("WRITE"))
    }

    /// Ends [`pause_writes`](Self::pause_writes) before its time.
    ///
    /// # Errors
    ///
    /// If the server does not answer or does not know the command.
    pub fn unpause(&self) -> io::Result<()> {
        self.run(cmd("CLIENT").arg("UNPAUSE"))
    }

    /// Makes a replica drop its data and load all of it from its master again.
    ///
    /// Returns when this has begun; [`wait_until_in_sync`](super::ReplicaSet::wait_until_in_sync) waits for the end. For its
    /// clients, the server stays a replica. Its own replicas lose their link.
    ///
    /// # Errors
    ///
    /// If the server is no replica, or does not answer.
    pub fn force_full_resync(&self) -> io::Result<()> {
        let field = |name| self.info("replication", name);
        let (Some(host), Some(port)) = (field("master_host")?, field("master_port")?) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not a replica", self.addr())));
        };
        // In a transaction, it becomes a master for a moment: with a new replication history, which no other server can
        // continue.
        let mut steps = pipe();
        steps.atomic().cmd("REPLICAOF").arg("NO").arg("ONE").cmd("REPLICAOF").arg(host).arg(port);
        steps.exec(&mut self.connection()?).map_err(io::Error::other)
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    fn run(&self, command: &Cmd) -> io::Result<()> {
        command.exec(&mut self.connection()?).map_err(io::Error::other)
    }

    fn process(&self) -> io::Result<u32> {
        self.child.as_ref().map(Child::id).ok_or_else(|| io::Error::other("the server is stopped"))
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let end = Instant::now() + LONGEST_WAIT;
        let process = self.process()?.to_string();
        loop {
            // Another server may have taken the port: the process id has to be that of the child.
            match self.info("server", "process_id") {
                Ok(Some(answering)) if answering == process => return Ok(()),
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server took the port")),
                Err(_) => {}
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()?;
            if let Some(status) = ended {
                let text =
                    format!("the server ended at once ({status}): its port is taken, or it refuses {:?}", self.args);
                return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
            }
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not answer within 30 s"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn count(&self, section: &str, field: &str, unit: &str) -> io::Result<u64> {
        let Some(line) = self.info(section, field)? else { return Ok(0) };
        let count = line.split(',').find_map(|part| part.strip_prefix(unit)).and_then(|count| count.parse().ok());
        count.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no {unit} in {line}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr())
            .field("runs", &self.child.is_some())
            .finish_non_exhaustive()
    }
}
