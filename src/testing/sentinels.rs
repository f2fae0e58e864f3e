//! Sentinels that watch a replica set.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue, RedisError, cmd};
use tempfile::TempDir;

use super::replica_set::ReplicaSet;
use super::server::Server;
use crate::addr::NodeAddr;

/// The name of the replica set for the Sentinels.
const SERVICE: &str = "main";
/// How long the Sentinels may take to find each other, or to begin a failover.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long one Sentinel may take to answer, where another one could.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// The intervals that decide how soon the Sentinels know all servers and each other.
const INTERVALS: [&str; 3] = ["PING-PERIOD", "PUBLISH-PERIOD", "INFO-PERIOD"];
const SHORT_INTERVAL: u64 = 100;

/// Real Sentinels that watch a [`ReplicaSet`] under the name `main`; stopped on drop.
///
/// More than half of them must agree that the master is down, which they detect after 1 s (`down-after-milliseconds`).
/// `failover-timeout` is 10 s, and `parallel-syncs` is 1. All other settings are as in production. So a failover takes as long as
/// there, and an old master that returns, or was never down, is a second master for about 10 s.
///
/// ```no_run
/// use redis_replicated::testing::{ReplicaSet, Sentinels};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut servers = ReplicaSet::start(2)?;
/// let sentinels = Sentinels::start(&servers, 3)?;
/// servers.master_mut().stop();
/// while sentinels.master()? == servers.master().addr() {
///     std::thread::sleep(std::time::Duration::from_millis(50));
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Sentinels {
    /// Dropped before the folder.
    sentinels: Vec<Server>,
    _folder: TempDir,
}

type Fields = HashMap<String, String>;

impl Sentinels {
    /// Starts `count` Sentinels without a password, and waits until each knows the master, all replicas and the other Sentinels.
    ///
    /// All servers of the set have to run in their first roles. If they use TLS, the Sentinels do, too.
    ///
    /// # Errors
    ///
    /// If `count` is zero, no server program is found, or the start takes longer than 30 s.
    pub fn start(servers: &ReplicaSet, count: usize) -> io::Result<Self> {
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a group needs at least one Sentinel"));
        }
        let folder = tempfile::Builder::new().prefix("redis-replicated-").tempdir()?;
        let sentinels = (0..count).map(|_| {
            Server::start(folder.path(), None, servers.has_tls(), |port, tls_port| {
                let file = folder.path().join(format!("{port}.conf"));
                fs::write(&file, configuration(folder.path(), port, servers.master(), count / 2 + 1))?;
                let fixed = [file.to_string_lossy().into_owned(), "--sentinel".to_owned()];
                Ok(fixed.into_iter().chain(servers.tls_args(tls_port)).collect())
            })
        });
        let sentinels = sentinels.collect::<io::Result<Vec<_>>>()?;
        let group = Self { sentinels, _folder: folder };
        group.wait_until_all_are_known(servers.replicas().len())?;
        Ok(group)
    }

    /// Returns the name of the replica set.
    #[must_use]
    pub fn service(&self) -> &str {
        SERVICE
    }

    /// Returns the URLs of all Sentinels.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    /// Returns the Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Returns a Sentinel, counted from 0, to stop or restart it.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    pub fn sentinel_mut(&mut self, index: usize) -> &mut Server {
        &mut self.sentinels[index]
    }

    /// Returns the master, as reported by the first Sentinel that answers.
    ///
    /// # Errors
    ///
    /// If none answers within 2 s.
    pub fn master(&self) -> io::Result<NodeAddr> {
        let place = |sentinel: &Server| ask(&mut sentinel.connection_within(ANSWER_LIMIT)?, "GET-MASTER-ADDR-BY-NAME");
        let (host, port): (String, u16) = self.first_answer(place)?;
        Ok(NodeAddr::tcp(&host, port))
    }

    /// Begins a failover to a replica that the Sentinels choose (`SENTINEL FAILOVER`), although the master is up.
    ///
    /// Waits while another failover runs. [`master`](Self::master) returns the new master about a second later. The old master
    /// accepts writes for about 10 s more, which are lost. A server whose role changes closes all its connections, so that
    /// even [`Server::info`] may fail for a moment.
    ///
    /// # Errors
    ///
    /// If no Sentinel answers, there is no replica to promote, or another failover runs for 30 s.
    pub fn fail_over(&self) -> io::Result<()> {
        let end = Instant::now() + LONGEST_WAIT;
        let begin = |sentinel: &Server| ask(&mut sentinel.connection_within(ANSWER_LIMIT)?, "FAILOVER");
        loop {
            match self.first_answer(begin) {
                Err(error) if Instant::now() < end && matches!(code(&error), Some("INPROG" | "NOGOODSLAVE")) => {
                    thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    fn first_answer<T>(&self, question: impl Fn(&Server) -> io::Result<T>) -> io::Result<T> {
        let mut last = io::Error::other("all Sentinels are stopped");
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.runs()) {
            match question(sentinel) {
                // An error reply is an answer. Asking the next Sentinel could begin a second failover.
                Err(error) if code(&error).is_none() => last = error,
                answer => return answer,
            }
        }
        Err(last)
    }

    fn wait_until_all_are_known(&self, replicas: usize) -> io::Result<()> {
        let end = Instant::now() + LONGEST_WAIT;
        let connections = self.sentinels.iter().map(Server::connection);
        let mut connections = connections.collect::<io::Result<Vec<_>>>()?;
        let intervals: Vec<_> = connections.iter_mut().map(shorten_intervals).collect();
        for connection in &mut connections {
            while !knows_all(connection, replicas, self.sentinels.len())? {
                if Instant::now() > end {
                    let text = "a Sentinel does not know all servers after 30 s";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                thread::sleep(PAUSE);
            }
        }
        // With short intervals a failover fails: other Sentinels see the new master before they are told of the failover, and
        // make it a replica again (after four PUBLISH-PERIODs).
        for (connection, intervals) in connections.iter_mut().zip(&intervals) {
            set_intervals(connection, intervals)?;
        }
        Ok(())
    }
}

fn configuration(folder: &Path, port: u16, master: &Server, quorum: usize) -> String {
    let master_port = master.addr().port().unwrap_or_default();
    let mut lines = vec![
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", quoted(&folder.to_string_lossy())),
        "sentinel resolve-hostnames no".to_owned(),
        format!("sentinel monitor {SERVICE} 127.0.0.1 {master_port} {quorum}"),
        format!("sentinel down-after-milliseconds {SERVICE} 1000"),
        format!("sentinel failover-timeout {SERVICE} 10000"),
        format!("sentinel parallel-syncs {SERVICE} 1"),
    ];
    lines.extend(master.password().map(|password| format!("sentinel auth-pass {SERVICE} {}", quoted(password))));
    lines.join("\n") + "\n"
}

/// Writes any text as one word of a configuration file.
fn quoted(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{bytes}\"")
}

/// Returns the code of an error that a server sent.
fn code(error: &io::Error) -> Option<&str> {
    error.get_ref()?.downcast_ref::<RedisError>()?.code()
}

/// Asks `SENTINEL <subcommand> main`.
fn ask<T: FromRedisValue>(connection: &mut Connection, subcommand: &str) -> io::Result<T> {
    cmd("SENTINEL").arg(subcommand).arg(SERVICE).query(connection).map_err(io::Error::other)
}

fn knows_all(connection: &mut Connection, replicas: usize, sentinels: usize) -> io::Result<bool> {
    let is = |fields: &Fields, name: &str, value: &str| fields.get(name).is_some_and(|text| text == value);
    // The flags are the role and the problems, such as `s_down` and `disconnected`.
    let master: Fields = ask(connection, "MASTER")?;
    let known: Vec<Fields> = ask(connection, "REPLICAS")?;
    let others: Vec<Fields> = ask(connection, "SENTINELS")?;
    let good = |replica: &&Fields| is(replica, "flags", "slave") && is(replica, "master-link-status", "ok");
    Ok(is(&master, "flags", "master")
        && known.iter().filter(good).count() >= replicas
        && others.iter().filter(|other| is(other, "flags", "sentinel")).count() + 1 >= sentinels)
}

/// Shortens the intervals. Returns the previous ones, or none if the server has no command for it (before Redis 7).
fn shorten_intervals(connection: &mut Connection) -> Vec<(String, u64)> {
    let known: HashMap<String, u64> = cmd("SENTINEL").arg("DEBUG").query(connection).unwrap_or_default();
    let usual: Vec<_> = known.into_iter().filter(|(name, _)| INTERVALS.contains(&name.as_str())).collect();
    let short: Vec<_> = usual.iter().map(|(name, _)| (name.clone(), SHORT_INTERVAL)).collect();
    // Without short intervals, the start only takes longer.
    if set_intervals(connection, &short).is_ok() { usual } else { Vec::new() }
}

fn set_intervals(connection: &mut Connection, intervals: &[(String, u64)]) -> io::Result<()> {
    for (name, interval) in intervals {
        cmd("SENTINEL").arg("DEBUG").arg(name).arg(interval).exec(connection).map_err(io::Error::other)?;
    }
    Ok(())
}
