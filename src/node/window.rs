//! What became of the attempts of the last ten seconds.

/// How many seconds count.
const SECONDS: usize = 10;
/// Fewer attempts than this say nothing about a rate.
const FEWEST: u64 = 10;

/// Failures by the second, and how many answers there had been when each second began.
///
/// Answers are not counted here: healthy calls must not come by. Their sum is compared with the one of the oldest second
/// that is known.
#[derive(Debug, Default)]
pub(super) struct Window {
    seconds: [Option<Second>; SECONDS],
}

#[derive(Clone, Copy, Debug)]
struct Second {
    number: u64,
    answered_before: u64,
    failed: u64,
}

impl Window {
    /// Notes how many answers there are at some time in this second.
    pub(super) fn mark(&mut self, second: u64, answered: u64) -> &mut u64 {
        let place = &mut self.seconds[(second % SECONDS as u64) as usize];
        match place {
            Some(known) if known.number == second => {}
            _ => *place = Some(Second { number: second, answered_before: answered, failed: 0 }),
        }
        &mut place.get_or_insert(Second { number: second, answered_before: answered, failed: 0 }).failed
    }

    /// Counts a failure; tells whether at least half of the attempts failed, if there were enough.
    pub(super) fn fail(&mut self, second: u64, answered: u64) -> bool {
        *self.mark(second, answered) += 1;
        let recent = || self.seconds.iter().flatten().filter(|known| known.number + SECONDS as u64 > second);
        let failed: u64 = recent().map(|known| known.failed).sum();
        let before = recent().map(|known| known.answered_before).min().unwrap_or(answered);
        let answered = answered.saturating_sub(before);
        failed + answered >= FEWEST && failed >= answered
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn half_of_ten_is_too_many_and_less_is_not() {
        let mut window = Window::default();
        assert!((1..=4).all(|n| !window.fail(0, n)));
        assert!(!window.fail(0, 5), "5 of 9: the first answer was before the first failure");
        assert!(window.fail(0, 6));
        let mut window = Window::default();
        assert!((1..100).all(|n| !window.fail(0, 3 * n)), "a third");
    }

    #[test]
    fn answers_and_failures_count_for_ten_seconds() {
        let mut window = Window::default();
        window.mark(0, 0);
        assert!((0..90).all(|_| !window.fail(1, 1000)), "90 of 1090");
        let mut window = Window::default();
        assert!((0..9).all(|_| !window.fail(1, 0)));
        assert!(!window.fail(11, 0), "the nine are forgotten");
    }
}
