//! Typed helpers for common commands, with the names and meanings of [`redis::TypedCommands`], on a shared handle. The guide has a
//! table of them: [`guide::commands`](crate::guide::commands).
//!
//! All other commands run through [`query`](crate::ReplicatedClient::query) or
//! [`connection`](crate::ReplicatedClient::connection).

use std::time::Duration;

// In the order of the page of `ReplicatedClient`: the blank lines keep rustfmt from sorting it.
mod strings;

mod keys;

mod hashes;

mod lists;

mod sets;

mod sorted_sets;

mod streams;

mod scripts;

#[cfg(feature = "json")]
mod json;

mod server;

/// Returns a time in milliseconds, rounded up, as commands take it.
fn millis_of(time: Duration) -> i64 {
    i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::millis_of;
    use std::time::Duration;

    #[test]
    fn a_time_is_rounded_up_and_never_wraps() {
        for (nanos, millis) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(millis_of(Duration::from_nanos(nanos)), millis);
        }
        assert_eq!(millis_of(Duration::MAX), i64::MAX);
    }
}
