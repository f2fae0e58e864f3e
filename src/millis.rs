//! Durations as numbers of milliseconds, for what `serde` writes.

use std::time::Duration;

use serde::Serializer;

/// Writes a duration in milliseconds, to the microsecond: `0.213`.
pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(millis(*time))
}

/// As [`serialize`], and nothing where the duration is not known.
pub(crate) fn serialize_option<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&millis(*time)),
        None => serializer.serialize_none(),
    }
}

/// Returns the milliseconds of a duration, to the microsecond.
fn millis(time: Duration) -> f64 {
    // One division of whole numbers: 213 µs are 0.213, and not 0.21300000000000002.
    ((time.as_nanos() + 500) / 1000) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::millis;
    use std::time::Duration;

    #[test]
    fn a_time_is_a_short_number() {
        for (nanos, expected) in [(0, "0"), (213_049, "0.213"), (499, "0"), (500, "0.001"), (1_500_000_000, "1500")] {
            assert_eq!(millis(Duration::from_nanos(nanos)).to_string(), expected, "{nanos}");
        }
        assert!(millis(Duration::MAX).is_finite());
    }
}
