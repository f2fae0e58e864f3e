//! What went wrong between two that speak TLS, or of which only one does, in words.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use redis::RedisError;

use super::reason::io_error;

/// Why there is no TLS connection. It is found again inside a [`RedisError`].
#[derive(Clone, Debug)]
pub(crate) struct TlsError {
    words: Cow<'static, str>,
    lasts: Lasts,
}

/// Whether the next handshake is to go better.
#[cfg_attr(not(feature = "tls-rustls"), allow(dead_code, reason = "only rustls tells them apart"))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lasts {
    /// Somebody has to change a certificate or a setting.
    UntilChanged,
    /// The server took the connection and closed it unread: so it does when it has as many clients as it takes.
    WhileFull,
    /// It may have been chance.
    Once,
}

impl TlsError {
    pub(crate) fn new(lasts: Lasts, words: impl Into<Cow<'static, str>>) -> Self {
        Self { words: words.into(), lasts }
    }

    /// Returns it as an error of the system.
    pub(crate) fn within(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, self)
    }

    /// Finds it inside an error of the redis crate.
    pub(crate) fn of(error: &RedisError) -> Option<&Self> {
        Self::inside(io_error(error)?)
    }

    pub(crate) fn inside(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn lasts(&self) -> Lasts {
        self.lasts
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl StdError for TlsError {}

#[cfg(test)]
mod tests {
    use super::{Lasts, TlsError};
    use redis::RedisError;
    use std::io;

    #[test]
    fn it_is_found_again_inside_a_redis_error() {
        let error = TlsError::new(Lasts::Once, "no TLS here").within(io::ErrorKind::TimedOut);
        let error = RedisError::from(error);
        assert!(error.is_timeout());
        assert_eq!(TlsError::of(&error).map(TlsError::lasts), Some(Lasts::Once));
        assert!(TlsError::of(&io::Error::other("no TLS here").into()).is_none());
    }
}
