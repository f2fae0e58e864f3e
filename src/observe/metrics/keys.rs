//! What differs between the series of one metric at one node.

use metrics::{Counter, Histogram, Label};

use super::failure::Failure;
use super::family::SeriesKey;
use super::labels::Labels;
use super::metric::{DURATION, ERRORS};
use crate::observe::code::OTHER;

/// Numbers of retries, as attributes. More of them count as the last one.
const RETRIES: [&str; 6] = ["0", "1", "2", "3", "4", "5"];

/// A number of retries, at most 5.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Retries(u8);

/// Calls that ended in the same way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct CallKey {
    pub(super) operation: &'static str,
    /// `None`: there was no attempt.
    pub(super) database: Option<i64>,
    pub(super) retries: Retries,
    pub(super) failure: Option<Failure>,
}

/// Errors of the same kind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct ErrorKey {
    pub(super) failure: Failure,
    pub(super) retries: Retries,
    /// A retry handled it.
    pub(super) is_internal: bool,
}

impl Retries {
    #[inline]
    pub(super) fn of(count: u32) -> Self {
        Self(u8::try_from(count).unwrap_or(u8::MAX).min(5))
    }

    fn label(self) -> Label {
        let text = RETRIES[usize::from(self.0).min(RETRIES.len() - 1)];
        Label::from_static_parts("redis.client.operation.retry_attempts", text)
    }
}

impl SeriesKey for CallKey {
    type Handle = Histogram;
    const MOST: usize = 256;

    fn shortened(self) -> Self {
        Self { operation: OTHER, database: None, failure: self.failure.map(|_| Failure::OTHER), ..self }
    }

    fn register(self, labels: &Labels) -> Histogram {
        let mut labels = labels.with([("db.operation.name", self.operation)]);
        labels.extend(self.database.map(|database| Label::new("db.namespace", database.to_string())));
        labels.push(self.retries.label());
        if let Some(failure) = self.failure {
            failure.add_to(&mut labels);
        }
        DURATION.histogram(labels)
    }
}

impl SeriesKey for ErrorKey {
    type Handle = Counter;
    const MOST: usize = 128;

    fn shortened(self) -> Self {
        Self { failure: Failure::OTHER, ..self }
    }

    fn register(self, labels: &Labels) -> Counter {
        let is_internal = if self.is_internal { "true" } else { "false" };
        let mut labels = labels.with([("redis.client.errors.internal", is_internal)]);
        labels.push(self.retries.label());
        self.failure.add_to(&mut labels);
        ERRORS.counter(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::{CallKey, ErrorKey, Failure, Labels, Retries, SeriesKey};
    use crate::observe::metrics::family::Family;
    use std::cell::Cell;

    fn call(operation: &'static str, retries: u32) -> CallKey {
        CallKey { operation, database: Some(0), retries: Retries::of(retries), failure: None }
    }

    /// As many different texts as are wanted.
    fn invented(count: usize) -> impl Iterator<Item = &'static str> {
        (0..count).map(|number| &*format!("INVENTED{number}").leak())
    }

    #[test]
    fn six_numbers_of_retries_are_distinguished() {
        let words: Vec<_> = [0, 1, 4, 5, 6, 300, u32::MAX].map(Retries::of).map(Retries::label).to_vec();
        let words: Vec<_> = words.iter().map(metrics::Label::value).collect();
        assert_eq!(words, ["0", "1", "4", "5", "5", "5", "5"]);
    }

    #[test]
    fn the_number_of_series_of_a_node_is_bounded() {
        let family = Family::<CallKey>::new(Labels::common(&[]));
        let recorded = Cell::new(0);
        for operation in invented(1000) {
            for retries in 0..10 {
                family.with(call(operation, retries), |_| recorded.set(recorded.get() + 1));
                let failure = Failure::of(None, Some(operation));
                let failed = CallKey { failure: Some(failure), ..call(operation, retries) };
                family.with(failed, |_| recorded.set(recorded.get() + 1));
            }
        }
        assert_eq!(recorded.get(), 20_000, "each is recorded");
        // Six numbers of retries, with and without a failure.
        assert_eq!(family.len(), CallKey::MOST + 12);
        let errors = Family::<ErrorKey>::new(Labels::common(&[]));
        for code in invented(1000) {
            let failure = Failure::of(None, Some(code));
            errors.with(ErrorKey { failure, retries: Retries::of(0), is_internal: false }, |_| ());
        }
        assert_eq!(errors.len(), 1, "invented codes are one");
    }

    #[test]
    fn threads_that_fill_a_family_at_once_keep_its_bound() {
        let family = Family::<CallKey>::new(Labels::common(&[]));
        let names: Vec<_> = invented(1000).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| names.iter().for_each(|name| family.with(call(name, 0), |_| ())));
            }
        });
        assert_eq!(family.len(), CallKey::MOST + 1);
    }
}
