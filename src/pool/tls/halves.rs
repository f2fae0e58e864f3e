//! The two halves of an open TLS session: one encrypts and sends, the other receives and decrypts, at the same time.
//!
//! They share the session behind a lock, which neither holds while it waits for the socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConnection;

use super::messages::session_error;
use super::stream::TlsStream;
use crate::pool::transport::{TimeLimit, Transport};

/// The half that encrypts and sends.
pub(crate) struct TlsSender {
    session: Arc<Mutex<ClientConnection>>,
    transport: Transport,
    /// Encrypted, and not sent yet from `sent` on.
    records: Vec<u8>,
    sent: usize,
}

/// The half that receives and decrypts.
pub(crate) struct TlsReceiver {
    session: Arc<Mutex<ClientConnection>>,
    transport: BufReader<Transport>,
    shows_certificate: bool,
}

impl TlsStream {
    /// Separates the halves of an open session.
    pub(crate) fn separate(self) -> io::Result<(TlsSender, TlsReceiver)> {
        let (session, transport, shows_certificate) = self.into_parts();
        let session = Arc::new(Mutex::new(session));
        let twin = transport.get_ref().twin()?;
        let sender = TlsSender { session: Arc::clone(&session), transport: twin, records: Vec::new(), sent: 0 };
        Ok((sender, TlsReceiver { session, transport, shows_certificate }))
    }
}

impl TlsSender {
    /// Returns whether all that was encrypted is sent.
    pub(crate) fn is_done(&self) -> bool {
        self.sent == self.records.len()
    }

    /// Encrypts and sends `bytes` from `taken` on, within the limit, and moves `taken` on. When the time is over, a later call
    /// continues.
    pub(crate) fn send(&mut self, bytes: &[u8], taken: &mut usize, limit: TimeLimit) -> io::Result<()> {
        self.transport.begin(limit);
        loop {
            while self.sent < self.records.len() {
                match self.transport.write(&self.records[self.sent..])? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => self.sent += count,
                }
            }
            if *taken == bytes.len() {
                return Ok(());
            }
            self.records.clear();
            self.sent = 0;
            let mut session = self.session.lock();
            // As much as fits the session's buffer; also what the session itself has to say, such as a renewed key.
            *taken += session.writer().write(&bytes[*taken..])?;
            while session.wants_write() {
                session.write_tls(&mut self.records)?;
            }
        }
    }

    pub(crate) fn shut(&self) {
        self.transport.shut(Shutdown::Write);
    }
}

impl TlsReceiver {
    pub(crate) fn begin(&mut self, limit: TimeLimit) {
        self.transport.get_mut().begin(limit);
    }

    pub(crate) fn shut(&self) {
        self.transport.get_ref().shut(Shutdown::Both);
    }
}

impl Read for TlsReceiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.lock().reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            let records = self.transport.fill_buf()?;
            let mut rest = records;
            let mut session = self.session.lock();
            session.read_tls(&mut rest)?;
            let used = records.len() - rest.len();
            let processed =
                session.process_new_packets().map_err(|error| session_error(&error, self.shows_certificate));
            drop(session);
            self.transport.consume(used);
            processed?;
        }
    }
}
