//! What an error of the redis crate contains: an error of the system, or a failed TLS handshake.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use redis::RedisError;

/// Returns the error of the system inside an error of the redis crate.
pub(crate) fn io_error(error: &RedisError) -> Option<&io::Error> {
    error.source()?.downcast_ref::<Arc<dyn StdError + Send + Sync>>()?.downcast_ref()
}

/// Why a TLS connection failed. [`TlsError::of`] finds it inside a [`RedisError`].
#[derive(Clone, Debug)]
pub(crate) struct TlsError {
    words: Cow<'static, str>,
    lasts: Lasts,
}

/// How long the cause of a failed handshake lasts.
#[cfg_attr(not(feature = "tls-rustls"), allow(dead_code, reason = "only rustls distinguishes them"))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lasts {
    /// Until a certificate or a setting is changed.
    UntilChanged,
    /// As long as the server has its largest number of clients: it closed the connection unread.
    WhileFull,
    /// It may have been chance: the next handshake may succeed.
    Once,
}

impl TlsError {
    pub(crate) fn new(lasts: Lasts, words: impl Into<Cow<'static, str>>) -> Self {
        Self { words: words.into(), lasts }
    }

    /// Converts it into an error of the system.
    pub(crate) fn within(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, self)
    }

    /// Returns the TLS error inside an error of the redis crate.
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
