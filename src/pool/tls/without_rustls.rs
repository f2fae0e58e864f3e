//! Replaces rustls if its feature is off: the redis crate opens all TLS connections, if any.

use std::io::{self, Read, Write};
use std::time::Instant;

use redis::{RedisError, RedisResult};

use super::certificates::Certificates;
use crate::error::Result;
use crate::pool::transport::{TimeLimit, Transport};

/// How to open sessions with one host. There is no value of this type.
pub(crate) enum Session {}

/// An open session, and each half of one. There is no value of this type.
pub(crate) enum TlsStream {}

pub(crate) type TlsSender = TlsStream;
pub(crate) type TlsReceiver = TlsStream;

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

impl TlsStream {
    pub(crate) fn begin(&mut self, _: TimeLimit) {
        match *self {}
    }

    pub(crate) fn separate(self) -> io::Result<(TlsSender, TlsReceiver)> {
        match self {}
    }

    pub(crate) fn is_done(&self) -> bool {
        match *self {}
    }

    pub(crate) fn send(&mut self, _: &[u8], _: &mut usize, _: TimeLimit) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn shut(&self) {
        match *self {}
    }
}

impl Read for TlsStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}

impl Write for TlsStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    fn flush(&mut self) -> io::Result<()> {
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
