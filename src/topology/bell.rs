//! Wakes one thread of the monitor: to ask now rather than later, or to end.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Wakes a thread that waits for its next round.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Quiet,
    Rung,
    Closed,
}

/// Why a thread was woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Woken {
    /// The time has come.
    InTime,
    /// Somebody rang.
    Rung,
    /// The thread has to end.
    Closed,
}

impl Bell {
    /// Wakes the thread; rung several times before it looks, it is woken once.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        if *state == State::Quiet {
            *state = State::Rung;
            self.changed.notify_all();
        }
    }

    /// Wakes the thread for the last time.
    pub(crate) fn close(&self) {
        *self.state.lock() = State::Closed;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.state.lock() == State::Closed
    }

    /// Waits until somebody rings, at most for this long.
    pub(crate) fn wait(&self, limit: Duration) -> Woken {
        // `None`: too far away for the clock.
        let end = Instant::now().checked_add(limit);
        let mut state = self.state.lock();
        while *state == State::Quiet {
            let Some(end) = end else {
                self.changed.wait(&mut state);
                continue;
            };
            if self.changed.wait_until(&mut state, end).timed_out() && *state == State::Quiet {
                return Woken::InTime;
            }
        }
        if *state == State::Closed {
            return Woken::Closed;
        }
        *state = State::Quiet;
        Woken::Rung
    }
}

#[cfg(test)]
mod tests {
    use super::{Bell, Woken};
    use std::time::Duration;

    #[test]
    fn a_ring_is_heard_once_also_later_and_a_close_for_ever() {
        let bell = Bell::default();
        assert_eq!(bell.wait(Duration::ZERO), Woken::InTime);
        bell.ring();
        bell.ring();
        assert_eq!(bell.wait(Duration::from_secs(60)), Woken::Rung);
        assert_eq!(bell.wait(Duration::ZERO), Woken::InTime);
        bell.ring();
        assert_eq!(bell.wait(Duration::MAX), Woken::Rung);
        bell.close();
        bell.ring();
        assert_eq!(bell.wait(Duration::from_secs(60)), Woken::Closed);
        assert_eq!(bell.wait(Duration::from_secs(60)), Woken::Closed);
    }
}
