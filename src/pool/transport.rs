//! A socket on which an exchange ends at a point in time, however many system calls it takes.
//!
//! A server that takes or sends a byte now and then makes progress in each system call, so a limit for each of them
//! bounds nothing. Here every wait is cut to what is left of the exchange. A signal that interrupts a wait is no error:
//! the wait goes on with what is left. Nothing here knows the protocol, so that a TLS stream can sit on top.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::generation::Generation;

/// Bytes that fit a socket's send buffer at its smallest, so that sending them to an idle server does not block.
const SENT_AT_ONCE: usize = 4096;
/// The longest wait of one system call. A longer exchange waits several times. In between it checks whether the
/// generation of its connection has ended.
const SLICE: Duration = Duration::from_millis(400);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The time limit of one exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    /// The longest wait of the first system calls. It is rounded, so that it repeats from call to call.
    first: Duration,
    /// When the exchange must be over. `None`: never.
    end: Option<Instant>,
}

/// A socket with the time limit of the exchange under way.
pub(super) struct Transport {
    /// TCP or unix: reading, writing and setting timers are the same system calls.
    socket: TcpStream,
    /// What the timers of the socket are set to, so that they are set only when that changes. `None`: not set.
    read_timer: Option<Duration>,
    write_timer: Option<Duration>,
    limit: TimeLimit,
    /// A system call may have taken time since the exchange began: the clock is read before the next one. In most
    /// exchanges the reply comes in one read, and the clock is never read.
    may_have_waited: bool,
    generation: Generation,
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

impl TimeLimit {
    pub(super) const NONE: Self = Self { first: SLICE, end: None };

    /// Makes the limit of an exchange that begins `now` and must be over by `end`. `None`: it may take for ever.
    #[inline]
    pub(crate) fn until(end: Option<Instant>, now: Instant) -> Self {
        let first = match end.map(|end| end.saturating_duration_since(now)) {
            // Usually there is ample time, also for a timer that fires late.
            Some(left) if left < SLICE + SLICE / 8 + Duration::from_millis(4) => coarse(timer_within(left)),
            _ => SLICE,
        };
        Self { first, end }
    }

    /// Makes the limit of an exchange that begins at this moment and must be over by `end`.
    pub(super) fn by(end: Instant) -> Self {
        Self::until(Some(end), Instant::now())
    }

    /// Returns how much time is left. `None`: the exchange must be over.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        Some(left).filter(|left| !left.is_zero())
    }
}

impl Transport {
    pub(super) fn new(socket: TcpStream, generation: Generation) -> Self {
        let limit = TimeLimit::NONE;
        Self { socket, read_timer: None, write_timer: None, limit, may_have_waited: false, generation }
    }

    /// Returns another transport on the same socket. One of them may only read, and the other only write: each sets one timer.
    pub(super) fn twin(&self) -> io::Result<Self> {
        Ok(Self::new(self.socket.try_clone()?, self.generation.clone()))
    }

    /// Ends the connection, or one direction of it, also for a system call that waits on it. An error means that it had ended.
    pub(super) fn shut(&self, what: Shutdown) {
        let _ = self.socket.shutdown(what);
    }

    /// Begins an exchange.
    #[inline]
    pub(super) fn begin(&mut self, limit: TimeLimit) {
        self.limit = limit;
        self.may_have_waited = false;
    }

    /// Sets the timer for the next system call.
    #[inline]
    fn prepare(&mut self, direction: Direction) -> io::Result<()> {
        if self.may_have_waited {
            return self.cut_to_what_is_left(direction);
        }
        let first = self.limit.first;
        if self.timer(direction) == Some(first) { Ok(()) } else { self.set_timer(direction, first) }
    }

    #[inline]
    fn timer(&self, direction: Direction) -> Option<Duration> {
        match direction {
            Direction::Read => self.read_timer,
            Direction::Write => self.write_timer,
        }
    }

    /// Prepares for the next system call after one that waited without success: its time was over, or a signal came.
    #[cold]
    fn go_on(&mut self, direction: Direction) -> io::Result<()> {
        self.may_have_waited = true;
        self.cut_to_what_is_left(direction)
    }

    fn cut_to_what_is_left(&mut self, direction: Direction) -> io::Result<()> {
        // Also while bytes arrive: a server may send for ever.
        if self.generation.is_over() {
            let text = "given up, because the node was ejected or lost its role meanwhile";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
        let left = self.limit.left(Instant::now()).ok_or(io::ErrorKind::TimedOut)?;
        next_timer(self.timer(direction), left).map_or(Ok(()), |timer| self.set_timer(direction, timer))
    }

    #[cold]
    fn set_timer(&mut self, direction: Direction, timer: Duration) -> io::Result<()> {
        let (known, set) = match direction {
            Direction::Read => (&mut self.read_timer, self.socket.set_read_timeout(Some(timer))),
            Direction::Write => (&mut self.write_timer, self.socket.set_write_timeout(Some(timer))),
        };
        set?;
        *known = Some(timer);
        Ok(())
    }

    /// Makes one system call, several times where it waits in slices. `may_wait`: it may take time.
    #[inline]
    fn transfer(
        &mut self,
        direction: Direction,
        may_wait: bool,
        mut system_call: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.prepare(direction)?;
        loop {
            match system_call(&mut self.socket) {
                Err(error) if may_go_on(&error) => self.go_on(direction)?,
                done => {
                    self.may_have_waited |= may_wait;
                    return done;
                }
            }
        }
    }
}

impl Read for Transport {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.transfer(Direction::Read, true, |socket| socket.read(buffer))
    }
}

impl Write for Transport {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.transfer(Direction::Write, bytes.len() > SENT_AT_ONCE, |socket| socket.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        self.transfer(Direction::Write, length > SENT_AT_ONCE, |socket| socket.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns whether a system call failed only because its timer fired or a signal interrupted it.
fn may_go_on(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => true,
        // Windows reports its timers so. Elsewhere it is the network that gave the connection up.
        io::ErrorKind::TimedOut => cfg!(windows),
        _ => false,
    }
}

/// Returns what to set a timer to that must not fire after `left`. `None`: its present setting `set` will do.
pub(super) fn next_timer(set: Option<Duration>, left: Duration) -> Option<Duration> {
    let wanted = timer_within(left).min(SLICE).max(MILLISECOND);
    // Each setting is a system call: one in 8 ms is cheap, one for each read is not.
    let is_too_long = |set: Duration| latest(set) > left.saturating_add(Duration::from_millis(8));
    set.is_none_or(is_too_long).then_some(wanted)
}

/// Returns the setting of a timer that must not fire later than after `left`.
///
/// Linux rounds long timers up to a coarser tick: they fire up to an eighth late.
pub(super) fn timer_within(left: Duration) -> Duration {
    if left > Duration::from_millis(200) { left - left / 8 - Duration::from_millis(4) } else { left }
}

/// Returns when a timer fires at the latest.
fn latest(set: Duration) -> Duration {
    if set > Duration::from_millis(170) { set + set / 8 } else { set }
}

/// Rounds a limit down to five significant bits, so that calls of the same deadline set their socket to the same value
/// and need no system call for it; at least 1 ms.
fn coarse(limit: Duration) -> Duration {
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    let dropped = (u64::BITS - micros.leading_zeros()).saturating_sub(5);
    Duration::from_micros(micros >> dropped << dropped).max(MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::{SLICE, TimeLimit, coarse, next_timer, timer_within};
    use std::time::{Duration, Instant};

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn long_limits_are_cut_so_that_a_late_timer_is_not_too_late() {
        assert_eq!(timer_within(millis(200)), millis(200));
        assert_eq!(timer_within(millis(800)), millis(696));
    }

    #[test]
    fn limits_are_rounded_so_that_they_repeat() {
        let same = [249_999_u64, 249_000, 246_000].map(|micros| coarse(Duration::from_micros(micros)));
        assert!(same.iter().all(|limit| *limit == same[0]), "{same:?}");
        assert_eq!(coarse(Duration::ZERO), millis(1));
    }

    #[test]
    fn the_first_wait_is_the_same_for_all_calls_with_ample_time() {
        let now = Instant::now();
        for end in [None, Some(now + millis(460)), Some(now + millis(3000))] {
            assert_eq!(TimeLimit::until(end, now).first, SLICE);
        }
        let short = TimeLimit::until(Some(now + millis(300)), now).first;
        assert!(short <= timer_within(millis(300)) && short >= millis(240), "{short:?}");
    }

    #[test]
    fn an_exchange_is_over_at_its_end_and_not_before() {
        let now = Instant::now();
        let limit = TimeLimit::until(Some(now + millis(300)), now);
        assert_eq!(limit.left(now + millis(299)), Some(millis(1)));
        assert_eq!(limit.left(now + millis(300)), None);
        assert!(TimeLimit::NONE.left(now + millis(1 << 40)).is_some());
    }

    #[test]
    fn a_timer_is_set_only_where_it_would_fire_too_late() {
        assert_eq!(next_timer(Some(SLICE), millis(3000)), None);
        assert_eq!(next_timer(Some(millis(100)), millis(95)), None);
        assert_eq!(next_timer(Some(millis(100)), millis(80)), Some(millis(80)));
        assert_eq!(next_timer(None, millis(3000)), Some(SLICE));
        assert_eq!(next_timer(Some(SLICE), Duration::from_micros(10)), Some(millis(1)));
    }
}
