//! Wakes one worker of the monitor: to ask now rather than later, or to end.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Wakes a worker that waits for its next round.
#[derive(Debug, Default)]
pub(crate) struct Wakeup {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Quiet,
    Requested,
    Closed,
}

/// Why a worker was woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Woken {
    /// The time is up.
    InTime,
    /// A round was requested.
    Requested,
    /// The worker has to end.
    Closed,
}

impl Wakeup {
    /// Wakes the worker. Several requests before its next round are one.
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock();
        if *state == State::Quiet {
            *state = State::Requested;
            self.changed.notify_all();
        }
    }

    /// Wakes the worker for the last time.
    pub(crate) fn close(&self) {
        *self.state.lock() = State::Closed;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.state.lock() == State::Closed
    }

    /// Waits until a round is requested, at most for this long.
    pub(crate) fn wait(&self, limit: Duration) -> Woken {
        let mut state = self.state.lock();
        match Instant::now().checked_add(limit) {
            Some(end) => {
                while *state == State::Quiet {
                    if self.changed.wait_until(&mut state, end).timed_out() && *state == State::Quiet {
                        return Woken::InTime;
                    }
                }
            }
            // Too far away for the clock.
            None => self.changed.wait_while(&mut state, |state| *state == State::Quiet),
        }
        if *state == State::Closed {
            return Woken::Closed;
        }
        *state = State::Quiet;
        Woken::Requested
    }
}

#[cfg(test)]
mod tests {
    use super::{Wakeup, Woken};
    use std::time::Duration;

    #[test]
    fn a_request_wakes_once_also_later_and_a_close_for_ever() {
        let wakeup = Wakeup::default();
        assert_eq!(wakeup.wait(Duration::ZERO), Woken::InTime);
        wakeup.wake();
        wakeup.wake();
        assert_eq!(wakeup.wait(Duration::from_secs(60)), Woken::Requested);
        assert_eq!(wakeup.wait(Duration::ZERO), Woken::InTime);
        wakeup.close();
        wakeup.wake();
        assert_eq!(wakeup.wait(Duration::from_secs(60)), Woken::Closed);
        assert_eq!(wakeup.wait(Duration::from_secs(60)), Woken::Closed);
    }
}
