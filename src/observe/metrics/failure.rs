//! Why a call or an attempt failed, in few words.

use metrics::Label;
use redis::RedisError;

use crate::error::{Error, ErrorKind, TlsError, io_error};
use crate::observe::code::{OTHER, known_code};
use crate::retry::Obstacle;

/// What kind of thing failed, in the words of the specification.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Category {
    /// A connection failed, could not be opened, or a reply was late.
    Network,
    /// The TLS handshake failed.
    Tls,
    /// The server refused the login, or the user lacks a right.
    Auth,
    /// The server answered with another error.
    Server,
    /// All else: this client refused the call, no node may serve it, or a limit of this process was reached.
    Other,
}

/// Why a call or an attempt failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Failure {
    /// The code if there is one, else the word of the [`ErrorKind`].
    kind: &'static str,
    category: Category,
    code: Option<&'static str>,
}

impl Failure {
    /// What is recorded when there are too many series.
    pub(super) const OTHER: Self = Self { kind: OTHER, category: Category::Other, code: None };

    /// `code`: that of the server's error, if there is one.
    #[cold]
    pub(super) fn of(error: Option<&Error>, code: Option<&str>) -> Self {
        let code = code.map(known_code);
        let kind = code.unwrap_or_else(|| error.map_or(OTHER, |error| error.kind().word()));
        Self { kind, category: Category::of(error, code), code }
    }

    /// The failure of an attempt.
    #[cold]
    pub(super) fn of_attempt(error: &Error) -> Self {
        Self::of(Some(error), error.as_redis().and_then(RedisError::code))
    }

    /// Adds the attributes of the failure.
    pub(super) fn add_to(self, labels: &mut Vec<Label>) {
        labels.push(Label::from_static_parts("error.type", self.kind));
        labels.push(Label::from_static_parts("redis.client.errors.category", self.category.word()));
        labels.extend(self.code.map(|code| Label::from_static_parts("db.response.status_code", code)));
    }
}

impl Category {
    fn of(error: Option<&Error>, code: Option<&'static str>) -> Self {
        let cause = error.and_then(Error::as_redis);
        if cause.and_then(TlsError::of).is_some() {
            return Self::Tls;
        }
        let is_refused = cause.is_some_and(|cause| cause.kind() == redis::ErrorKind::AuthenticationFailed);
        if is_refused || matches!(code, Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED")) {
            return Self::Auth;
        }
        if code.is_some() {
            return Self::Server;
        }
        match cause {
            Some(cause) if Obstacle::of(cause) == Obstacle::Here => Self::Other,
            Some(cause) if io_error(cause).is_some() => Self::Network,
            _ => match error.map(Error::kind) {
                Some(ErrorKind::Interrupted) => Self::Network,
                Some(ErrorKind::Server) => Self::Server,
                _ => Self::Other,
            },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Server => "server",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Category, Failure};
    use crate::error::{Error, ErrorKind, Lasts, TlsError};
    use redis::{RedisError, parse_redis_value};
    use std::io;

    fn server(line: &str) -> RedisError {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    fn of(kind: ErrorKind, cause: impl Into<Option<RedisError>>) -> (&'static str, Category, Option<&'static str>) {
        let Failure { kind, category, code } = Failure::of_attempt(&Error::new(kind, "failed").because(cause));
        (kind, category, code)
    }

    #[test]
    fn the_category_follows_from_the_cause() {
        let io = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
        let tls = RedisError::from(TlsError::new(Lasts::Once, "no").within(io::ErrorKind::UnexpectedEof));
        let here = RedisError::from(io::Error::from_raw_os_error(if cfg!(windows) { 10_024 } else { 24 }));
        let login = RedisError::from((redis::ErrorKind::AuthenticationFailed, "no"));
        use ErrorKind::{Checkout, Interrupted, Server, Unavailable};
        for (found, expected) in [
            (of(Interrupted, io(io::ErrorKind::TimedOut)), ("interrupted", Category::Network, None)),
            (of(Interrupted, None), ("interrupted", Category::Network, None)),
            (of(Checkout, io(io::ErrorKind::ConnectionRefused)), ("checkout", Category::Network, None)),
            (of(Checkout, None), ("checkout", Category::Other, None)),
            (of(Checkout, tls), ("checkout", Category::Tls, None)),
            (of(Checkout, here), ("checkout", Category::Other, None)),
            (of(Checkout, login), ("checkout", Category::Auth, None)),
            (of(Checkout, server("WRONGPASS no")), ("WRONGPASS", Category::Auth, Some("WRONGPASS"))),
            (of(Server, server("NOPERM no")), ("NOPERM", Category::Auth, Some("NOPERM"))),
            (of(Server, server("LOADING the data")), ("LOADING", Category::Server, Some("LOADING"))),
            (of(Server, server("INVENTED by a script")), ("OTHER", Category::Server, Some("OTHER"))),
            (of(Unavailable, None), ("unavailable", Category::Other, None)),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_codes_of_the_redis_crate_are_known() {
        for line in ["ERR x", "WRONGTYPE x", "NOSCRIPT x", "EXECABORT x", "MISCONF x", "OOM x", "READONLY x"] {
            let (code, _) = line.split_once(' ').unwrap();
            assert_eq!(of(ErrorKind::Server, server(line)), (code, Category::Server, Some(code)));
        }
    }
}
