//! The complete reply to a request: how it is put together, and hiding the request's arguments in it.

use redis::{ServerError, Value};

use crate::classification::{Replies, Request};

/// The complete reply to a request. The server's errors are values in it.
#[derive(Debug)]
pub(crate) enum Reply {
    One(Value),
    Many {
        /// The reply to each command of a pipeline; for a transaction, only the reply to `EXEC`.
        kept: Vec<Value>,
        /// The commands that the server refused to queue, by position in the transaction; position 0 is `MULTI` itself.
        not_queued: Vec<(usize, ServerError)>,
    },
}

/// The replies to the commands of a request, as far as they have come.
#[derive(Debug)]
pub(crate) enum ReplyParts {
    One,
    Many { position: usize, skipped: usize, count: usize, kept: Vec<Value>, not_queued: Vec<(usize, ServerError)> },
}

impl ReplyParts {
    /// Begins to collect the replies of a request.
    #[inline]
    pub(crate) fn new(replies: Replies) -> Self {
        match replies {
            Replies::One => Self::One,
            // The vectors grow like the redis crate's, for as many allocations.
            Replies::Many { skipped, kept } => {
                let count = skipped + kept;
                Self::Many { position: 0, skipped, count, kept: Vec::new(), not_queued: Vec::new() }
            }
        }
    }

    /// Takes the next reply. Returns the complete reply to the request with the last one.
    #[inline]
    pub(crate) fn add(&mut self, value: Value) -> Option<Reply> {
        let Self::Many { position, skipped, count, kept, not_queued } = self else { return Some(Reply::One(value)) };
        match value {
            Value::ServerError(error) if position < skipped => not_queued.push((*position, error)),
            _ if position < skipped => {}
            value => kept.push(value),
        }
        *position += 1;
        let is_complete = position >= count;
        is_complete.then(|| Reply::Many { kept: std::mem::take(kept), not_queued: std::mem::take(not_queued) })
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self::One(Value::Nil)
    }
}

impl Reply {
    /// Hides the arguments of the request where errors in the reply repeat them.
    #[inline]
    pub(crate) fn hide_arguments(&mut self, request: &Request<'_>) {
        match self {
            Self::One(Value::ServerError(_) | Value::Attribute { .. }) => self.hide_all(request),
            // Replies of scripts and transactions are arrays, maps and sets that may contain errors.
            Self::One(value) if is_aggregate(value) && (request.runs_script || request.step().is_some()) => {
                self.hide_all(request);
            }
            Self::One(_) => {}
            Self::Many { .. } => self.hide_all(request),
        }
    }

    fn hide_all(&mut self, request: &Request<'_>) {
        match self {
            Self::One(value) => request.hide_arguments(value),
            Self::Many { kept, not_queued } => {
                let is_read = request.is_read();
                // The reply to a read never contains errors, and it may be a long array.
                let may_fail = |value: &&mut Value| {
                    matches!(value, Value::ServerError(_) | Value::Attribute { .. })
                        || (!is_read && is_aggregate(value))
                };
                kept.iter_mut().filter(may_fail).for_each(|value| request.hide_arguments(value));
                for (_, error) in not_queued {
                    if let Some(hidden) = request.without_arguments(error) {
                        *error = hidden;
                    }
                }
            }
        }
    }

    /// Returns whether the reply is an error, or that to one of the commands of a pipeline is.
    pub(crate) fn has_error(&self) -> bool {
        let is_error = |value: &Value| matches!(value, Value::ServerError(_));
        match self {
            Self::One(value) => is_error(value),
            Self::Many { kept, not_queued } => !not_queued.is_empty() || kept.iter().any(is_error),
        }
    }
}

fn is_aggregate(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Map(_) | Value::Set(_))
}
