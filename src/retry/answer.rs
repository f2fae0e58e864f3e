//! The errors that a caller gets for error replies of a server.

use redis::{RedisError, Value};

use super::reply::Reply;
use super::verdict::executed_nothing;
use crate::classification::Request;
use crate::error::{Error, ErrorKind, words_of};

/// Returns the error for a reply that refuses the whole request.
pub(crate) fn refused(request: &Request<'_>, mut reply: Reply) -> Error {
    reply.hide_arguments(request);
    let values = match reply {
        Reply::One(value) => vec![value],
        Reply::Many { kept, not_queued } => {
            not_queued.into_iter().map(|(_, error)| Value::ServerError(error)).chain(kept).collect()
        }
    };
    match values.into_iter().find_map(|value| value.extract_error().err()) {
        Some(cause) => server_error(request, cause).executed(false),
        None => Error::new(ErrorKind::Server, format!("{request} was refused")),
    }
}

/// Returns the error for an error reply of the server.
pub(crate) fn server_error(request: &Request<'_>, cause: RedisError) -> Error {
    let errors = cause.clone().into_server_errors();
    let untouched = errors.is_some_and(|errors| errors.iter().all(|(_, error)| executed_nothing(request, error)));
    let error = Error::new(ErrorKind::Server, format!("{request} was answered with {}", words_of(&cause)));
    error.executed(request.partial && !request.is_read() && !untouched).caused_by(cause)
}
