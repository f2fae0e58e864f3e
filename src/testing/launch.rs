//! Finds the server program and a free port.

use std::env;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const INSTALL: &str = "install one (apt-get install redis-server, dnf install valkey, apk add redis, brew install redis) \
                       or name its path in REDIS_SERVER_BIN";

/// Returns a TCP port of the loopback interface on which nothing listens at the moment.
///
/// Another process may take it at any time. Be ready to try another port when you start a server on it.
///
/// # Errors
///
/// The error of the system, if there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Starts the server program with these arguments.
pub(super) fn spawn(folder: &Path, args: &[String]) -> io::Result<Child> {
    let named = env::var("REDIS_SERVER_BIN").ok();
    let programs = named.as_deref().map_or_else(|| PROGRAMS.to_vec(), |program| vec![program]);
    for program in &programs {
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            started => return started,
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no {} found: {INSTALL}", programs.join(" or "))))
}

/// Sends a signal to a process that this module started.
pub(super) fn signal(process: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill -{name} {process}: {status}"))) }
}
