//! Opens sockets within a time limit, whatever the other side does.

use std::io;
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::path::Path;
use std::time::{Duration, Instant};

use redis::io::tcp::{TcpSettings, socket2::SockRef};

use super::resolver::Resolver;

/// Returns whether this crate can apply the settings of a socket: the redis crate shows the linger time in `Debug`
/// only.
pub(super) fn is_settable(settings: &TcpSettings) -> bool {
    format!("{settings:?}").contains("linger_time: None")
}

/// Connects to one of the addresses of a name, by `end`.
pub(super) fn connect_tcp(
    (host, port): (&str, u16),
    resolver: &Resolver,
    settings: &TcpSettings,
    end: Instant,
) -> io::Result<TcpStream> {
    let addresses = resolver.addresses(host, port, Some(end))?;
    // The name may have other addresses by now: the next connection needs them.
    resolver.look_up_again(host);
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for (index, addr) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        // The other addresses need time, too.
        let limit = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match connect_to(addr, limit.max(Duration::from_millis(1)), settings) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn connect_to(addr: &SocketAddr, limit: Duration, settings: &TcpSettings) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(addr, limit)?;
    socket.set_nodelay(settings.nodelay())?;
    if let Some(keepalive) = settings.keepalive() {
        SockRef::from(&socket).set_tcp_keepalive(keepalive)?;
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    if let Some(timeout) = settings.user_timeout() {
        SockRef::from(&socket).set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(socket)
}

/// Connects to a unix socket, by `end`. A listener whose backlog is full makes `connect(2)` wait: without a limit, for
/// as long as the server is stopped.
///
/// The result is a `TcpStream`, which makes the same system calls for reading, writing and timers.
#[cfg(unix)]
pub(super) fn connect_unix(path: &Path, end: Instant) -> io::Result<TcpStream> {
    use super::transport::timer_within;
    use redis::io::tcp::socket2::{Domain, SockAddr, Socket, Type};

    /// How long to wait where the system does not wait by itself.
    const PAUSE: Duration = Duration::from_millis(2);

    let addr = SockAddr::unix(path)?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // On Linux the limit of writes bounds this wait, too.
        socket.set_write_timeout(Some(timer_within(left).max(Duration::from_millis(1))))?;
        match socket.connect(&addr) {
            Ok(()) => {
                socket.set_write_timeout(None)?;
                return Ok(socket.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE.min(left)),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_settable;
    use redis::io::tcp::TcpSettings;
    use std::time::Duration;

    #[test]
    fn settings_that_cannot_be_read_are_left_to_the_redis_crate() {
        let settings = TcpSettings::default().set_nodelay(true);
        assert!(is_settable(&settings));
        assert!(!is_settable(&settings.set_linger_time(Duration::ZERO)));
    }

    #[cfg(unix)]
    #[test]
    fn a_full_backlog_is_not_waited_for_beyond_the_end() {
        use super::connect_unix;
        use std::os::unix::net::UnixListener;
        use std::time::Instant;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut held = Vec::new();
        let failed = loop {
            match connect_unix(&path, Instant::now() + Duration::from_millis(50)) {
                Ok(socket) => held.push(socket),
                Err(error) => break error,
            }
            assert!(held.len() < 10_000, "the backlog never fills");
        };
        assert_eq!(failed.kind(), std::io::ErrorKind::TimedOut);
        assert!(connect_unix(&folder.path().join("none"), Instant::now() + Duration::from_secs(1)).is_err());
    }
}
