//! What stands for rustls where its feature is off: the redis crate opens all TLS connections, if any.

use std::io;
use std::time::Instant;

use redis::{RedisError, RedisResult};

use super::Certificates;
use crate::error::Result;
use crate::pool::transport::Transport;
use crate::pool::wire::Wire;

/// How to open sessions with one host: not at all.
pub(crate) enum Session {}

#[derive(Default)]
pub(crate) struct Configs;

impl Configs {
    pub(super) fn session(&self, _: &Certificates, _: &str, _: bool) -> Result<Option<Session>> {
        Ok(None)
    }
}

impl Session {
    pub(crate) fn open(&self, _: Transport, _: Instant) -> io::Result<Wire> {
        match *self {}
    }
}

impl Certificates {
    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The library of the system needs none.
pub(crate) fn check_provider() -> Result<()> {
    Ok(())
}

pub(crate) fn check_provider_of_redis() -> RedisResult<()> {
    Ok(())
}

pub(crate) fn explained_to_redis(error: RedisError, _: Option<&Session>) -> RedisError {
    error
}
