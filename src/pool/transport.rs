//! A socket on which an exchange ends at a point in time, however many system calls it takes.
//!
//! A peer that takes or sends a byte now and then makes progress in each system call, so a limit for each of them bounds
//! nothing. Here every wait is cut to what is left of the exchange. A signal that interrupts a wait is no error: it goes on
//! with what is left. Nothing here knows the protocol, so that a TLS stream can sit on top.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::access::Term;
use super::patience::{Patience, next_timer};

/// Bytes that fit a socket's send buffer at its smallest, so that sending them to an idle peer does not block.
const SENT_AT_ONCE: usize = 4096;

/// A connected socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A socket with the time limit of the exchange under way.
pub(super) struct Transport {
    socket: Socket,
    read: Timer,
    write: Timer,
    patience: Patience,
    /// A system call may have taken time since the exchange began: the clock is read before the next one. Of most
    /// exchanges, whose reply comes by one read, the clock is never read.
    may_have_waited: bool,
    term: Term,
}

/// What a timer of the socket is set to, so that it is set only when that changes. `None`: not set.
#[derive(Debug, Default)]
struct Timer(Option<Duration>);

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

impl Transport {
    pub(super) fn new(socket: Socket, term: Term) -> Self {
        let patience = Patience::until(None, Instant::now());
        let (read, write) = (Timer::default(), Timer::default());
        Self { socket, read, write, patience, may_have_waited: false, term }
    }

    /// Begins an exchange.
    #[inline]
    pub(super) fn begin(&mut self, patience: Patience) {
        self.patience = patience;
        self.may_have_waited = false;
    }

    /// Gets ready for a system call.
    #[inline]
    fn set_out(&mut self, direction: Direction) -> io::Result<()> {
        if self.may_have_waited {
            return self.cut_to_what_is_left(direction);
        }
        let first = self.patience.first();
        let timer = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        if timer.0 == Some(first) { Ok(()) } else { self.set_timer(direction, first) }
    }

    /// Goes on after a wait that ended without anything: a part of the time is over, or a signal came.
    #[cold]
    fn go_on(&mut self, direction: Direction) -> io::Result<()> {
        self.may_have_waited = true;
        self.cut_to_what_is_left(direction)
    }

    fn cut_to_what_is_left(&mut self, direction: Direction) -> io::Result<()> {
        // Also while bytes arrive: a peer that goes on talking may talk for ever.
        if self.term.is_over() {
            let text = "given up, for the node was ejected or lost its role meanwhile";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
        let left = self.patience.left(Instant::now()).ok_or(io::ErrorKind::TimedOut)?;
        let timer = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        next_timer(timer.0, left).map_or(Ok(()), |limit| self.set_timer(direction, limit))
    }

    #[cold]
    fn set_timer(&mut self, direction: Direction, limit: Duration) -> io::Result<()> {
        match direction {
            Direction::Read => {
                self.socket.set_read_timeout(limit)?;
                self.read.0 = Some(limit);
            }
            Direction::Write => {
                self.socket.set_write_timeout(limit)?;
                self.write.0 = Some(limit);
            }
        }
        Ok(())
    }
}

impl Transport {
    #[inline]
    fn put(&mut self, length: usize, mut write: impl FnMut(&mut Socket) -> io::Result<usize>) -> io::Result<usize> {
        self.set_out(Direction::Write)?;
        loop {
            match write(&mut self.socket) {
                Err(error) if may_go_on(&error) => self.go_on(Direction::Write)?,
                done => {
                    self.may_have_waited |= length > SENT_AT_ONCE;
                    return done;
                }
            }
        }
    }
}

impl Read for Transport {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.set_out(Direction::Read)?;
        loop {
            match self.socket.read(buffer) {
                Err(error) if may_go_on(&error) => self.go_on(Direction::Read)?,
                done => {
                    self.may_have_waited = true;
                    return done;
                }
            }
        }
    }
}

impl Write for Transport {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes.len(), |socket| socket.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.put(length, |socket| socket.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether a system call only waited for as long as it was let, or was interrupted by a signal.
fn may_go_on(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => true,
        // Windows says so of its timers. Elsewhere the network says so of a connection that it gave up.
        io::ErrorKind::TimedOut => cfg!(windows),
        _ => false,
    }
}

impl Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            #[cfg(unix)]
            Self::Unix(socket) => socket.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(pieces),
            #[cfg(unix)]
            Self::Unix(socket) => socket.write_vectored(pieces),
        }
    }

    fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(Some(limit)),
            #[cfg(unix)]
            Self::Unix(socket) => socket.set_read_timeout(Some(limit)),
        }
    }

    fn set_write_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_write_timeout(Some(limit)),
            #[cfg(unix)]
            Self::Unix(socket) => socket.set_write_timeout(Some(limit)),
        }
    }
}
