//! How long a socket waits.

use std::time::{Duration, Instant};

/// How long one exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// What the socket is set to at first. `None`: waits for ever.
    pub(crate) limit: Option<Duration>,
    /// When the attempt must be over. `None`: never.
    pub(crate) until: Option<Instant>,
}

/// The ends of an exchange of several waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    response: Instant,
    until: Option<Instant>,
}

impl Patience {
    /// The ends of an exchange that begins now.
    pub(super) fn ends(self) -> Option<Ends> {
        let limit = self.limit?;
        Some(Ends { response: Instant::now() + limit, until: self.until })
    }
}

impl Ends {
    pub(super) fn left(self, now: Instant) -> Duration {
        let response = self.response.saturating_duration_since(now);
        self.until.map_or(response, |until| response.min(socket_limit(until.saturating_duration_since(now))))
    }
}

/// The setting of a socket that must not wait longer than `left`.
///
/// Socket timers fire up to an eighth late (Linux rounds long timers up to a coarser tick).
pub(crate) fn socket_limit(left: Duration) -> Duration {
    if left > Duration::from_millis(200) { left - left / 8 - Duration::from_millis(4) } else { left }
}

#[cfg(test)]
mod tests {
    use super::{Patience, socket_limit};
    use std::time::{Duration, Instant};

    #[test]
    fn long_limits_are_cut_so_that_a_late_timer_is_not_too_late() {
        assert_eq!(socket_limit(Duration::from_millis(200)), Duration::from_millis(200));
        assert_eq!(socket_limit(Duration::from_millis(800)), Duration::from_millis(696));
    }

    #[test]
    fn several_waits_share_one_end() {
        let now = Instant::now();
        let until = Some(now + Duration::from_millis(300));
        let ends = Patience { limit: Some(Duration::from_millis(100)), until }.ends().unwrap();
        assert!(ends.left(now + Duration::from_millis(60)) <= Duration::from_millis(41));
        assert_eq!(ends.left(now + Duration::from_secs(1)), Duration::ZERO);
        assert!(Patience { limit: None, until: None }.ends().is_none());
    }
}
