//! One real server process.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, cmd};

use super::launch::{free_port, signal, spawn};
use crate::addr::NodeAddr;

/// How long a server may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Another process may take a free port before the server does.
const PORTS_TRIED: usize = 8;

/// A server process on a free port of the loopback interface; killed on drop.
pub struct Server {
    port: u16,
    password: Option<String>,
    args: Vec<String>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start(folder: &Path, password: Option<&str>, args: Vec<String>) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            let port = free_port()?;
            let password = password.map(str::to_owned);
            let mut server = Self { port, password, args: args.clone(), folder: folder.to_owned(), child: None };
            match server.restart() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("no free port")))
    }

    /// Returns where the server listens, also while it is stopped.
    #[must_use]
    pub fn addr(&self) -> NodeAddr {
        NodeAddr::tcp("127.0.0.1", self.port)
    }

    /// Returns the URL of the server, with its password if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        let login = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{login}{}", self.addr())
    }

    /// Opens a connection past any router.
    ///
    /// # Errors
    ///
    /// If the server does not answer within 30 s.
    pub fn connection(&self) -> io::Result<Connection> {
        let addr = ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port);
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = addr.into_connection_info().map_err(io::Error::other)?.set_redis_settings(settings);
        let client = Client::open(info).map_err(io::Error::other)?;
        let connection = client.get_connection_with_timeout(PATIENCE).map_err(io::Error::other)?;
        connection.set_read_timeout(Some(PATIENCE)).map_err(io::Error::other)?;
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

    /// Returns how often the server has run a command, by its own count; a subcommand is written `CLIENT|LIST`.
    ///
    /// Replicas count the writes of their master's stream as well.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn calls(&self, command: &str) -> io::Result<u64> {
        self.count("commandstats", &format!("cmdstat_{}", command.to_ascii_lowercase()), "calls=")
    }

    /// Returns how often the server has answered with an error of this code, such as `READONLY`, by its own count.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn errors(&self, code: &str) -> io::Result<u64> {
        self.count("errorstats", &format!("errorstat_{code}"), "count=")
    }

    /// Sets the counts of commands and errors back to zero.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub fn reset_counts(&self) -> io::Result<()> {
        cmd("CONFIG").arg("RESETSTAT").exec(&mut self.connection()?).map_err(io::Error::other)
    }

    /// Kills the server (SIGKILL) and waits for its end. Its port then refuses connections.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the server again, empty, on the same port; kills it first if it runs.
    ///
    /// # Errors
    ///
    /// If the program is not found, or does not answer within 30 s.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        let mut args = vec!["--port".to_owned(), self.port.to_string()];
        args.extend(self.args.iter().cloned());
        self.child = Some(spawn(&self.folder, &args)?);
        self.wait_until_it_answers()
    }

    /// Stops the process from running (SIGSTOP): connections hang, nothing is closed.
    ///
    /// # Errors
    ///
    /// If the server does not run.
    pub fn pause(&self) -> io::Result<()> {
        signal(self.process()?, "STOP")
    }

    /// Lets a paused process run again.
    ///
    /// # Errors
    ///
    /// If the server does not run.
    pub fn resume(&self) -> io::Result<()> {
        signal(self.process()?, "CONT")
    }

    /// Tells whether the server was started and not stopped since.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    fn process(&self) -> io::Result<u32> {
        self.child.as_ref().map(Child::id).ok_or_else(|| io::Error::other("the server is stopped"))
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        let process = self.process()?.to_string();
        loop {
            // Another server may have taken the port: only the own process counts.
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
