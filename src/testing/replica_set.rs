//! A master with its replicas.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::Server;
use crate::addr::NodeAddr;
use crate::builder::Builder;
use crate::client::ReplicatedClient;

/// How long replicas may take to catch up.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A real master with real replicas, stopped on drop.
#[derive(Debug)]
pub struct ReplicaSet {
    /// The master first. Dropped before the folder.
    servers: Vec<Server>,
    tls: Option<TlsFiles>,
    _folder: TempDir,
}

/// The description of a replica set: [`ReplicaSet::setup`].
#[derive(Clone, Debug, Default)]
#[must_use = "nothing happens before start()"]
pub struct Setup {
    replicas: usize,
    password: Option<String>,
    tls: Option<TlsFiles>,
    args: Vec<String>,
}

/// The files that servers need for TLS, in PEM form.
#[derive(Clone, Debug)]
struct TlsFiles {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl ReplicaSet {
    /// Starts a master with `replicas` replicas and waits until they are in sync.
    ///
    /// # Errors
    ///
    /// If no server program is found (the error says how to install one), or the servers do not start within 30 s.
    pub fn start(replicas: usize) -> io::Result<Self> {
        Self::setup().replicas(replicas).start()
    }

    /// Returns the description of a set without replicas, password, TLS and further settings.
    pub fn setup() -> Setup {
        Setup::default()
    }

    /// Returns the server that was the master at the start. A failover does not change the order of the servers.
    #[must_use]
    pub fn master(&self) -> &Server {
        &self.servers[0]
    }

    /// Returns the master, to stop or restart it.
    pub fn master_mut(&mut self) -> &mut Server {
        &mut self.servers[0]
    }

    /// Returns the replicas.
    #[must_use]
    pub fn replicas(&self) -> &[Server] {
        &self.servers[1..]
    }

    /// Returns a replica, counted from 0.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    #[must_use]
    pub fn replica(&self, index: usize) -> &Server {
        &self.servers[1 + index]
    }

    /// Returns a replica, counted from 0, to stop or restart it.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    pub fn replica_mut(&mut self, index: usize) -> &mut Server {
        &mut self.servers[1 + index]
    }

    /// Returns all servers, the master first.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns the server that listens at this address, as a Sentinel reports it.
    #[must_use]
    pub fn server_at(&self, addr: &NodeAddr) -> Option<&Server> {
        self.servers.iter().find(|server| server.addr() == *addr)
    }

    /// Returns the server that listens at this address, to stop or restart it.
    pub fn server_at_mut(&mut self, addr: &NodeAddr) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.addr() == *addr)
    }

    /// Returns a builder that names the master and the replicas.
    pub fn client_builder(&self) -> Builder {
        let replicas = self.replicas().iter().map(Server::url);
        ReplicatedClient::builder().master(self.master().url()).replicas(replicas)
    }

    /// Waits until every running replica has all data that its master has now.
    ///
    /// The current roles count, also after a failover.
    ///
    /// # Errors
    ///
    /// If that takes longer than 30 s, or a server does not answer.
    pub fn wait_until_in_sync(&self) -> io::Result<()> {
        let mut replicas = Vec::new();
        for server in self.servers.iter().filter(|server| server.runs()) {
            if let Some(master) = self.master_of(server)? {
                replicas.push((server, offset(master, "master_repl_offset")?));
            }
        }
        let end = Instant::now() + LONGEST_WAIT;
        for (replica, written) in replicas {
            let is_in_sync = || -> io::Result<bool> {
                let link = replica.info("replication", "master_link_status")?;
                Ok(link.as_deref() == Some("up") && offset(replica, "slave_repl_offset")? >= written)
            };
            while !is_in_sync()? {
                if Instant::now() > end {
                    let text = format!("{} is not in sync after 30 s", replica.addr());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Returns the arguments for TLS on that port, of a server or a Sentinel.
    pub(super) fn tls_args(&self, port: Option<u16>) -> Vec<String> {
        self.tls.iter().zip(port).flat_map(|(tls, port)| tls.args(port)).collect()
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the server that this one replicates, or the first one if it replicates one outside the set; `None` for a master.
    fn master_of(&self, server: &Server) -> io::Result<Option<&Server>> {
        let field = |name| server.info("replication", name);
        let (Some(host), Some(port)) = (field("master_host")?, field("master_port")?) else { return Ok(None) };
        let master = port.parse().ok().and_then(|port| self.server_at(&NodeAddr::tcp(&host, port)));
        Ok(Some(master.unwrap_or_else(|| self.master())))
    }
}

impl Setup {
    /// Sets the number of replicas. Default: 0.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets a password for all servers. Default: none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Makes all servers use TLS, also for replication, with these files in PEM form. Default: no TLS.
    ///
    /// Servers require no certificate of clients, unless `setting("tls-auth-clients", "yes")` is added. [`Server::url`] then has
    /// the scheme `rediss`; [`Server::connection`] does not use TLS.
    pub fn tls(mut self, ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsFiles { ca: ca.into(), cert: cert.into(), key: key.into() });
        self
    }

    /// Adds a setting to all servers, as in their configuration file: `setting("maxclients", "20")`. Default: none.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.args.extend([format!("--{name}"), value.to_owned()]);
        self
    }

    /// Starts the set and waits until the replicas are in sync.
    ///
    /// # Errors
    ///
    /// See [`ReplicaSet::start`].
    pub fn start(self) -> io::Result<ReplicaSet> {
        let folder = tempfile::Builder::new().prefix("redis-replicated-").tempdir()?;
        let password = self.password.as_deref();
        let has_tls = self.tls.is_some();
        let master = Server::start(folder.path(), password, has_tls, |port, tls| Ok(self.args_of(port, tls, None)))?;
        let mut servers = vec![master];
        for _ in 0..self.replicas {
            let master = servers[0].addr().port();
            let args_of = |port, tls| Ok(self.args_of(port, tls, master));
            servers.push(Server::start(folder.path(), password, has_tls, args_of)?);
        }
        let set = ReplicaSet { servers, tls: self.tls, _folder: folder };
        set.wait_until_in_sync()?;
        Ok(set)
    }

    /// Returns the arguments of a server on `port`: a replica of the master on the port `master`, or a master.
    fn args_of(&self, port: u16, tls_port: Option<u16>, master: Option<u16>) -> Vec<String> {
        // Nothing on disk, and a first sync without the usual wait for further replicas.
        let fixed = [
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--repl-diskless-sync",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
            // A replica keeps the file of a sync. After a restart, it would load that file, or that of another server.
            "--rdb-del-sync-files",
            "yes",
        ];
        let mut args = vec!["--port".to_owned(), port.to_string(), "--dbfilename".to_owned(), format!("{port}.rdb")];
        args.extend(fixed.iter().map(ToString::to_string));
        if let Some(password) = &self.password {
            args.extend(["--requirepass".to_owned(), password.clone(), "--masterauth".to_owned(), password.clone()]);
        }
        if let Some(master) = master {
            args.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), master.to_string()]);
        }
        args.extend(self.tls.iter().zip(tls_port).flat_map(|(tls, port)| tls.args(port)));
        args.extend(self.args.iter().cloned());
        args
    }
}

impl TlsFiles {
    fn args(&self, port: u16) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", path(&self.ca)),
            ("--tls-cert-file", path(&self.cert)),
            ("--tls-key-file", path(&self.key)),
            ("--tls-auth-clients", "no".to_owned()),
            ("--tls-replication", "yes".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

/// Returns a number of `INFO replication`.
fn offset(server: &Server, field: &str) -> io::Result<u64> {
    let text = server.info("replication", field)?.unwrap_or_default();
    Ok(text.parse().unwrap_or(0))
}
