//! Why a connection could not be made, and whether that says something about the node's open connections.

use std::io;

use redis::{RedisError, ServerErrorKind};

use crate::error::{Lasts, TlsError, io_error};

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Obstacle {
    /// The node cannot be reached, does not answer in time, or is not ready.
    Node,
    /// The server accepts no more connections. Open ones still work.
    Full,
    /// The server refuses the login, or another command of the handshake. Trying again soon does not help.
    Login,
    /// One side refuses the other's certificate, or only one side speaks TLS. Trying again soon does not help.
    Tls,
    /// This process has no descriptors, ports or memory left.
    Here,
}

impl Obstacle {
    pub(crate) fn of(cause: &RedisError) -> Self {
        if is_too_many_clients(cause) {
            return Self::Full;
        }
        match TlsError::of(cause).map(TlsError::lasts) {
            Some(Lasts::UntilChanged) => return Self::Tls,
            Some(Lasts::WhileFull) => return Self::Full,
            Some(Lasts::Once) | None => {}
        }
        if let Some(error) = io_error(cause) {
            return if is_shortage(error) { Self::Here } else { Self::Node };
        }
        let is_for_now = matches!(
            cause.kind(),
            redis::ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown)
        );
        let is_answer = cause.code().is_some() || cause.kind() == redis::ErrorKind::AuthenticationFailed;
        if is_answer && !is_for_now && cause.code() != Some("BUSY") { Self::Login } else { Self::Node }
    }

    /// Returns whether no connection can be made until a configuration changes.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Self::Login | Self::Tls)
    }

    /// Returns whether it says nothing about the node's open connections.
    pub(crate) fn spares_the_node(self) -> bool {
        self != Self::Node
    }
}

fn is_too_many_clients(cause: &RedisError) -> bool {
    cause.detail().is_some_and(|text| text.starts_with("max number of clients"))
}

/// Returns whether this process or system lacks descriptors (24, 23), buffers (105), ports or memory. Windows: 10024, 10055.
fn is_shortage(error: &io::Error) -> bool {
    let codes: &[i32] = if cfg!(windows) { &[10_024, 10_055] } else { &[23, 24, 105] };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
        || matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::Obstacle;
    use crate::error::{Lasts, TlsError};
    use redis::{RedisError, parse_redis_value};
    use std::io;

    fn server(line: &str) -> RedisError {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn a_refused_connection_says_nothing_about_open_ones() {
        for (line, obstacle) in [
            ("ERR max number of clients reached", Obstacle::Full),
            ("ERR max number of clients + cluster connections reached", Obstacle::Full),
            ("WRONGPASS invalid username-password pair or user is disabled.", Obstacle::Login),
            ("NOAUTH Authentication required.", Obstacle::Login),
            ("NOPERM User x has no permissions to run the 'select' command", Obstacle::Login),
            ("DENIED Redis is running in protected mode because", Obstacle::Login),
            ("ERR invalid password", Obstacle::Login),
            ("ERR DB index is out of range", Obstacle::Login),
            ("LOADING Redis is loading the dataset in memory", Obstacle::Node),
            ("MASTERDOWN Link with MASTER is down", Obstacle::Node),
            ("BUSY Redis is busy running a script.", Obstacle::Node),
        ] {
            assert_eq!(Obstacle::of(&server(line)), obstacle, "{line}");
        }
    }

    #[test]
    fn a_refused_certificate_is_no_matter_of_chance() {
        for (lasts, obstacle) in
            [(Lasts::UntilChanged, Obstacle::Tls), (Lasts::WhileFull, Obstacle::Full), (Lasts::Once, Obstacle::Node)]
        {
            let error = TlsError::new(lasts, "no TLS").within(io::ErrorKind::UnexpectedEof);
            assert_eq!(Obstacle::of(&error.into()), obstacle);
        }
    }

    #[test]
    fn a_shortage_here_is_not_the_nodes() {
        let of = |error: io::Error| Obstacle::of(&RedisError::from(error));
        assert_eq!(of(io::Error::from_raw_os_error(if cfg!(windows) { 10_024 } else { 24 })), Obstacle::Here);
        assert_eq!(of(io::ErrorKind::AddrNotAvailable.into()), Obstacle::Here);
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut, io::ErrorKind::UnexpectedEof] {
            assert_eq!(of(kind.into()), Obstacle::Node, "{kind}");
        }
    }
}
