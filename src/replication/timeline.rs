//! How far the master had written when: staleness without any server's clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::position::Position;

/// The number of samples that are kept: enough for bounds of 50 ms and of an hour at once, each within a seventh.
const KEPT: usize = 128;

/// Offsets of the master, and when it was asked for them.
///
/// Whatever was written before a question was sent lies before the offset in the answer. So a node that contains that
/// offset is no staler than the question is old.
///
/// The older samples are, the fewer are kept: long bounds need no more.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    asked: Instant,
    answered: Instant,
    position: Position,
}

impl Timeline {
    /// Records how far the master had written, by its answer to a question that was sent at `asked` or later, and answered
    /// at `answered` or before.
    pub(crate) fn record(&self, asked: Instant, answered: Instant, position: Position) {
        let mut samples = self.0.lock();
        if let Some(last) = samples.back() {
            if last.asked >= asked {
                return;
            }
            if last.position.history != position.history || last.position.offset > position.offset {
                // What only the master before had, or this one before it was reset, is lost.
                samples.clear();
            }
        }
        if samples.len() == KEPT
            && let Some(index) = most_dispensable(&samples, asked)
        {
            samples.remove(index);
        }
        samples.push_back(Sample { asked, answered, position });
    }

    /// Returns what a node must contain so that it has everything that was written before `moment`; `None` if the master
    /// was not asked since.
    pub(crate) fn at(&self, moment: Instant) -> Option<Position> {
        let samples = self.0.lock();
        // The oldest that is young enough demands the least.
        let first = samples.partition_point(|sample| sample.asked < moment);
        samples.get(first).map(|sample| sample.position)
    }

    /// Returns how old a node's data is at most that has reached this position: the age of the latest known position of the
    /// master that it contains. `None`: it contains none that is known.
    pub(crate) fn age_of(&self, position: Position, now: Instant) -> Option<Duration> {
        let samples = self.0.lock();
        let is_reached =
            |sample: &&Sample| sample.position.history == position.history && sample.position.offset <= position.offset;
        samples.iter().rev().find(is_reached).map(|sample| now.saturating_duration_since(sample.asked))
    }

    /// Returns whether this is a position in the history that is recorded.
    pub(crate) fn is_of(&self, position: Position) -> bool {
        self.0.lock().back().is_some_and(|last| last.position.history == position.history)
    }

    /// Returns when the master had gone beyond this position, by the first answer that says so. `None`: it had not, as far as it
    /// was asked.
    pub(crate) fn left_at(&self, position: Position) -> Option<Instant> {
        let samples = self.0.lock();
        let is_beyond =
            |sample: &&Sample| sample.position.history == position.history && sample.position.offset > position.offset;
        samples.iter().find(is_beyond).map(|sample| sample.answered)
    }

    /// Returns whether the master had gone beyond this position by `moment`, as far as it was asked.
    pub(crate) fn had_left(&self, position: Position, moment: Instant) -> bool {
        let samples = self.0.lock();
        let latest = samples.iter().rev().find(|sample| sample.answered <= moment);
        latest.is_some_and(|sample| {
            sample.position.history == position.history && sample.position.offset > position.offset
        })
    }
}

/// Returns the sample without which the gap between its neighbours is the smallest, compared with their age. The oldest and
/// the latest ones stay.
fn most_dispensable(samples: &VecDeque<Sample>, now: Instant) -> Option<usize> {
    let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    let gap = |index: &usize| {
        let (older, younger) = (samples[index - 1].asked, samples[index + 1].asked);
        seconds(older, younger) / seconds(older, now)
    };
    (1..samples.len().saturating_sub(1)).min_by(|one, two| gap(one).total_cmp(&gap(two)))
}

#[cfg(test)]
mod tests {
    use super::super::examples::at;
    use super::{KEPT, Timeline};
    use std::time::{Duration, Instant};

    #[test]
    fn the_oldest_sample_that_is_young_enough_counts() {
        let (timeline, start) = (Timeline::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(timeline.at(start), None);
        timeline.record(after(100), after(100), at(1, 10));
        timeline.record(after(200), after(200), at(1, 20));
        timeline.record(after(150), after(150), at(1, 15));
        assert_eq!(timeline.at(after(50)), Some(at(1, 10)));
        assert_eq!(timeline.at(after(101)), Some(at(1, 20)));
        assert_eq!(timeline.at(after(201)), None);
    }

    #[test]
    fn a_position_is_left_once_the_master_has_written_more() {
        let (timeline, start) = (Timeline::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!timeline.had_left(at(1, 0), after(1000)), "nobody asked");
        for (asked, answered, offset) in [(0, 5, 10), (100, 105, 10), (200, 205, 20)] {
            timeline.record(after(asked), after(answered), at(1, offset));
        }
        assert!(!timeline.had_left(at(1, 10), after(204)), "it stood still");
        assert!(timeline.had_left(at(1, 10), after(205)) && timeline.had_left(at(1, 9), after(5)));
        let ages = [19, 20, 25].map(|offset| timeline.age_of(at(1, offset), after(300)));
        assert_eq!(ages, [200, 100, 100].map(|millis| Some(Duration::from_millis(millis))));
        assert_eq!(timeline.age_of(at(1, 9), after(300)), None);
        assert_eq!(timeline.left_at(at(1, 10)), Some(after(205)), "the first answer that says more");
        assert_eq!((timeline.left_at(at(1, 20)), timeline.left_at(at(2, 1))), (None, None));
        assert!(!timeline.had_left(at(1, 9), after(4)), "not known yet");
        assert!(!timeline.had_left(at(1, 20), after(9999)) && !timeline.had_left(at(2, 1), after(9999)));
        timeline.record(after(300), after(305), at(1, 5));
        assert!(!timeline.had_left(at(1, 10), after(9999)), "it was reset");
    }

    #[test]
    fn short_and_long_bounds_are_served_at_once() {
        let (timeline, start) = (Timeline::default(), Instant::now());
        let pace = Duration::from_millis(25);
        // An hour at the pace of the shortest bound; an offset is the number of its question.
        let count: u32 = 40 * 3600;
        (0..count).for_each(|n| timeline.record(start + pace * n, start + pace * n, at(1, u64::from(n))));
        let now = start + pace * (count - 1);
        for millis in [50, 80, 200, 1_000, 5_000, 20_000, 60_000, 600_000, 3_000_000] {
            let bound = Duration::from_millis(millis);
            let position = timeline.at(now - bound).unwrap();
            let age = now - (start + pace * u32::try_from(position.offset).unwrap());
            assert!(age <= bound, "{age:?} for {bound:?}");
            let is_near = age + pace * 2 >= bound.mul_f64(0.85);
            assert!(is_near, "{age:?} for {bound:?}: more is asked for than needed");
        }
        assert!(timeline.0.lock().len() <= KEPT);
    }

    #[test]
    fn another_history_begins_anew_and_memory_is_bounded() {
        let (timeline, start) = (Timeline::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        timeline.record(after(1), after(1), at(1, 10));
        timeline.record(after(2), after(2), at(2, 5));
        assert_eq!(timeline.at(start), Some(at(2, 5)));
        (0..1000).for_each(|n| timeline.record(after(10 + n), after(10 + n), at(2, 100 + n)));
        assert!(timeline.0.lock().len() <= KEPT);
        assert_eq!(timeline.at(start), Some(at(2, 5)), "long bounds are kept");
        assert_eq!(timeline.at(after(1009)), Some(at(2, 1099)), "and short ones");
    }
}
