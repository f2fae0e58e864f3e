//! A host name whose look-up hangs: this program runs itself with a name server that never answers.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use redis_replicated::ReplicatedClient;
use redis_replicated::testing::{ReplicaSet, Server};

use super::measure::{Fault, Scale, Verdict};

/// The name server; another address of this machine than others use.
const SILENT: &str = "127.0.0.77";
/// Says that look-ups hang in this process.
const HUNG: &str = "REDIS_REPLICATED_BENCH_HAS_NO_NAMES";
/// Gives the process a file of its own for the settings of the resolver, and goes on as another program.
const SCRIPT: &str = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
const NAME: &str = "redis://hung.example:6379";
const DEADLINE: Duration = Duration::from_millis(300);

/// The settings of the resolver, removed on drop.
struct Settings(PathBuf);

impl Settings {
    fn write() -> Self {
        let path = std::env::temp_dir().join(format!("redis-replicated-bench-{}.conf", std::process::id()));
        std::fs::write(&path, format!("nameserver {SILENT}\n")).unwrap();
        Self(path)
    }

    /// A program that will run with these settings.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT]).arg(&self.0);
        command
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn are_hung() -> bool {
    std::env::var_os(HUNG).is_some()
}

/// Measures in a process of its own; returns whether it holds, or could not be measured.
pub(super) fn measure(scale: Scale) -> bool {
    let settings = Settings::write();
    let is_granted = settings.command().arg("true").output().is_ok_and(|run| run.status.success());
    if !is_granted || UdpSocket::bind((SILENT, 53)).is_err() {
        println!("  hung look-up         skipped: it needs a mount namespace and the port of a name server");
        return true;
    }
    let mut command = settings.command();
    command.arg(std::env::current_exe().unwrap()).env(HUNG, "1");
    if scale == Scale::Quick {
        command.arg("--quick");
    }
    command.status().is_ok_and(|status| status.success())
}

/// Measures in this process, whose look-ups hang.
pub(super) fn run(scale: Scale) -> Verdict {
    let _silent = UdpSocket::bind((SILENT, 53)).unwrap();
    let servers = ReplicaSet::start(1).unwrap();
    let replicas: Vec<_> = servers.replicas().iter().map(Server::url).collect();
    // The name of a replica beside one that serves; the name of the master, whom writes wait for.
    let reads = servers.client_builder().replica(NAME).pool_size(64).build().unwrap();
    let writes = ReplicatedClient::builder().master(NAME).replicas(replicas).pool_size(64).build().unwrap();
    let fault = |name, client: ReplicatedClient, call: fn(&ReplicatedClient) -> redis_replicated::Result<()>| Fault {
        name,
        threads: 64,
        deadline: DEADLINE,
        calls_per_client: 4,
        client: Box::new(move |_| client.clone()),
        call: Arc::new(call),
    };
    let read = fault("hung look-up, reads", reads, |client| client.get::<Option<String>>("k").map(drop)).measure(scale);
    let written = fault("hung look-up, writes", writes, |client| client.set("k", "v")).measure(scale);
    if read.holds() { written } else { read }
}
