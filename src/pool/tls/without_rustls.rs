//! Replaces rustls if its feature is off: the redis crate opens all TLS connections, if any.

use std::io;
use std::time::Instant;

use redis::{RedisError, RedisResult};

use super::certificates::Certificates;
use crate::error::Result;
use crate::pool::transport::Transport;

/// How to open sessions with one host. There is no value of this type.
pub(crate) enum Session {}

/// Never opened; a type with the methods of a stream.
pub(crate) type TlsStream = Transport;

#[derive(Default)]
pub(crate) struct Configs;

impl Configs {
    pub(super) fn session(&self, _: &Certificates, _: &str, _: bool) -> Result<Option<Session>> {
        Ok(None)
    }
}

impl Session {
    pub(crate) fn open(&self, _: Transport, _: Instant) -> io::Result<TlsStream> {
        match *self {}
    }
}

impl Certificates {
    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Always succeeds: the TLS library of the system needs no provider.
pub(crate) fn check_provider() -> Result<()> {
    Ok(())
}

pub(crate) fn check_provider_of_redis() -> RedisResult<()> {
    Ok(())
}

pub(crate) fn with_message(error: RedisError, _: Option<&Session>) -> RedisError {
    error
}
