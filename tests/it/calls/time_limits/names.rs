//! A host name whose look-up hangs.
//!
//! The tests run in a process of their own with a name server of their own, which never answers: that takes a mount
//! namespace. Where the system grants none, they say so and do nothing.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use redis_replicated::{ReplicatedClient, Result};

use super::lateness::{Calls, assert_back_in_time};
use super::{get, set};
use crate::support::set_with_key;

/// The name server; another address of this machine than others use.
const SILENT: &str = "127.0.0.77";
/// Says that look-ups hang in this process.
const HUNG: &str = "REDIS_REPLICATED_TEST_HAS_NO_NAMES";
/// Gives the process a file of its own for the settings of the resolver, and goes on as the program in `$1`.
const SCRIPT: &str = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;

/// The settings of the resolver, removed on drop.
struct Settings(PathBuf);

impl Settings {
    fn write() -> Self {
        let path = std::env::temp_dir().join(format!("redis-replicated-resolv-{}.conf", std::process::id()));
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

#[test]
fn calls_are_back_in_time_though_a_look_up_hangs() {
    let settings = Settings::write();
    let is_granted = settings.command().arg("true").output().is_ok_and(|run| run.status.success());
    if !is_granted || UdpSocket::bind((SILENT, 53)).is_err() {
        println!("skipped: this needs a mount namespace and the port of a name server");
        return;
    }
    let test = "calls::time_limits::names::calls_are_back_in_time_in_a_process_of_its_own";
    let mut command = settings.command();
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--ignored", "--nocapture"]).env(HUNG, "1");
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

fn refresh(client: &ReplicatedClient) -> Result<()> {
    client.refresh()
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn calls_are_back_in_time_in_a_process_of_its_own() {
    if std::env::var_os(HUNG).is_none() {
        return;
    }
    let _silent = UdpSocket::bind((SILENT, 53)).unwrap();
    let hung = "redis://hung.example:6379";
    let servers = set_with_key(1);
    // A node that nobody has reached yet is the last one that is asked.
    let client = servers.client_builder().replica(hung).pool_size(64).build().unwrap();
    let errors = assert_back_in_time("read beside a hung look-up", Calls::MANY, client.clone(), get);
    assert_eq!(errors.iter().flatten().count(), 0, "{:?}", errors.iter().flatten().next());
    assert_back_in_time("refresh beside a hung look-up", Calls { threads: 1, ..Calls::FEW }, client, refresh);

    let replicas = servers.replicas().iter().map(|replica| replica.url());
    let client = ReplicatedClient::builder().master(hung).replicas(replicas).pool_size(64).build().unwrap();
    let errors = assert_back_in_time("read, the master's look-up hangs", Calls::MANY, client.clone(), get);
    assert_eq!(errors.iter().flatten().count(), 0, "{:?}", errors.iter().flatten().next());
    let errors = assert_back_in_time("write, the master's look-up hangs", Calls::MANY, client, set);
    assert!(errors.iter().flatten().all(|error| !error.may_have_executed()));

    let client = ReplicatedClient::builder().discover([hung]).deadline(Duration::from_secs(9)).build().unwrap();
    assert_back_in_time("read, the only seed's look-up hangs", Calls::FEW, client, get);
}
