//! What a caller is told of an answer that is an error.

use redis::{RedisError, Value};

use super::reply::Reply;
use super::verdict::executed_nothing;
use crate::classification::Request;
use crate::error::{Error, ErrorKind, words_of};

/// The error for a reply that refuses the request.
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

/// The error for an answer of the server that is an error.
pub(crate) fn server_error(request: &Request<'_>, cause: RedisError) -> Error {
    let errors = cause.clone().into_server_errors();
    let untouched = errors.is_some_and(|errors| errors.iter().all(|(_, error)| executed_nothing(request, error)));
    let error = Error::new(ErrorKind::Server, format!("{request} was answered with {}", words_of(&cause)));
    error.executed(request.partial && !request.is_read() && !untouched).caused_by(cause)
}
