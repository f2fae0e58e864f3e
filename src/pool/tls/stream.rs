//! A TLS session on a transport: handshake, writes and replies end when the transport's exchange does.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConnection;

use super::config::Session;
use super::words::{broken_off, explained};
use crate::error::TlsError;
use crate::pool::patience::Patience;
use crate::pool::transport::Transport;
use crate::pool::wire::Wire;

/// Bytes that one read of the socket takes: the longest record of TLS. rustls alone asks for 4 KiB at a time, which would
/// cost a longer reply one system call for each of those.
const READ_AT_ONCE: usize = 18 << 10;

/// An open TLS session.
pub(crate) struct TlsStream {
    session: ClientConnection,
    transport: BufReader<Transport>,
    shows_certificate: bool,
}

impl Session {
    /// Shakes hands with the server, by `end`.
    pub(crate) fn open(&self, mut transport: Transport, end: Instant) -> io::Result<Wire> {
        transport.begin(Patience::until(Some(end), Instant::now()));
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let session = session.map_err(|error| explained(&error, self.shows_certificate))?;
        let transport = BufReader::with_capacity(READ_AT_ONCE, transport);
        let mut stream = TlsStream { session, transport, shows_certificate: self.shows_certificate };
        let mut has_heard = false;
        stream.shake_hands(&mut has_heard).map_err(|error| broken_off(error, has_heard))?;
        Ok(Wire::tls(stream))
    }
}

impl TlsStream {
    /// Begins an exchange.
    #[inline]
    pub(crate) fn begin(&mut self, patience: Patience) {
        self.transport.get_mut().begin(patience);
    }

    fn shake_hands(&mut self, has_heard: &mut bool) -> io::Result<()> {
        while self.session.is_handshaking() {
            if let Err(error) = self.send() {
                // A server that hangs up may have said why before.
                let told = self.take_in().err().filter(|error| TlsError::inside(error).is_some());
                return Err(told.unwrap_or(error));
            }
            if self.take_in()? == 0 && self.session.is_handshaking() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *has_heard = true;
        }
        // What is left to be sent goes out with the first request.
        Ok(())
    }

    /// Reads from the socket once at most, and understands what came. Returns how much that was.
    fn take_in(&mut self) -> io::Result<usize> {
        let count = self.session.read_tls(&mut self.transport)?;
        if let Err(error) = self.session.process_new_packets() {
            // The other side is told why; if it does not hear that, nothing is lost.
            let _ = self.send();
            return Err(explained(&error, self.shows_certificate));
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
            // A key was renewed.
            self.send()?;
        }
    }
}

impl Write for TlsStream {
    /// Encrypts and sends what fits rustls' buffer, 64 KiB: a large request is never there twice.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.send()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
