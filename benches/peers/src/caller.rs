//! What all arms do: read a value and look at its length.

use std::future::Future;

/// Callers get their errors as text: a bench only counts and prints them.
pub type Outcome<T> = Result<T, String>;

/// One synchronous caller.
pub trait Caller: Send {
    /// Reads a value; returns its length.
    fn get(&mut self, key: &'static str) -> Outcome<usize>;
}

/// One asynchronous caller.
pub trait AsyncCaller: Send + 'static {
    /// Reads a value; returns its length.
    fn get(&mut self, key: &'static str) -> impl Future<Output = Outcome<usize>> + Send;
}

/// Turns any error into text.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Returns the length of a value; a missing one is an error.
pub fn length(value: Option<Vec<u8>>) -> Outcome<usize> {
    value.map(|value| value.len()).ok_or_else(|| "the key is missing".to_owned())
}
