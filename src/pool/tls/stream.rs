//! A TLS session on a transport: handshake, writes and replies end when the transport's exchange does.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConnection;

use super::config::Session;
use super::messages::{handshake_error, session_error};
use crate::error::TlsError;
use crate::pool::transport::{TimeLimit, Transport};

/// Bytes that one read of the socket takes: the longest record of TLS. rustls alone asks for 4 KiB at a time, which
/// would cost a longer reply one system call for each of those.
const READ_AT_ONCE: usize = 18 << 10;

/// An open TLS session.
pub(crate) struct TlsStream {
    session: ClientConnection,
    transport: BufReader<Transport>,
    shows_certificate: bool,
}

impl Session {
    /// Does the TLS handshake, by `end`.
    pub(crate) fn open(&self, mut transport: Transport, end: Instant) -> io::Result<TlsStream> {
        transport.begin(TimeLimit::by(end));
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let session = session.map_err(|error| session_error(&error, self.shows_certificate))?;
        let transport = BufReader::with_capacity(READ_AT_ONCE, transport);
        let mut stream = TlsStream { session, transport, shows_certificate: self.shows_certificate };
        let mut was_answered = false;
        stream.shake_hands(&mut was_answered).map_err(|error| handshake_error(error, was_answered))?;
        Ok(stream)
    }
}

impl TlsStream {
    /// Begins an exchange.
    #[inline]
    pub(crate) fn begin(&mut self, limit: TimeLimit) {
        self.transport.get_mut().begin(limit);
    }

    /// Returns the session, the transport, and whether it shows a certificate.
    pub(super) fn into_parts(self) -> (ClientConnection, BufReader<Transport>, bool) {
        (self.session, self.transport, self.shows_certificate)
    }

    fn shake_hands(&mut self, was_answered: &mut bool) -> io::Result<()> {
        while self.session.is_handshaking() {
            if let Err(error) = self.send() {
                // A server that closes the connection may have sent the reason before.
                let reason = self.take_in().err().filter(|error| TlsError::inside(error).is_some());
                return Err(reason.unwrap_or(error));
            }
            if self.take_in()? == 0 && self.session.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *was_answered = true;
        }
        // What is left to be sent goes out with the first request.
        Ok(())
    }

    /// Reads from the socket at most once, and processes what came. Returns how many bytes that was.
    fn take_in(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut self.transport)?;
        if let Err(error) = self.session.process_new_packets() {
            // Sends the reason to the server; if that fails, nothing is lost.
            let _ = self.send();
            return Err(session_error(&error, self.shows_certificate));
        }
        Ok(count)
    }

    /// Sends all that is ready to be sent.
    #[inline]
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(self.transport.get_mut())? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            self.take_in()?;
            // The answer to a renewed key.
            self.send()?;
        }
    }
}

impl Write for TlsStream {
    /// Encrypts and sends what fits rustls' buffer, 64 KiB: a large request is not copied as a whole.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.send()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
