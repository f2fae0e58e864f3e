//! The complete reply to a request, and hiding the request's arguments in it.

use redis::{ServerError, Value};

use crate::classification::Request;

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
