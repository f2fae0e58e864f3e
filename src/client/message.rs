//! The errors for a single command: refused by the client, or answered with a reply of another type.

use crate::call::Served;
use crate::classification::{Classification, Request};
use crate::error::Error;

/// Returns the error for a command that no pooled connection may run on its own.
#[cold]
pub(super) fn refusal(request: &Request<'_>) -> Error {
    Error::refused(if request.class == Classification::Connection {
        format!("{request} would change a pooled connection for its next user: use dedicated()")
    } else if request.continues_scan {
        format!("{request} continues a cursor, which only its node knows: use connection() or dedicated()")
    } else if request.step().is_some() {
        format!("{request} is a step of a transaction, which needs one connection: use connection() or dedicated()")
    } else {
        format!("{request} does not wait for its reply, which the connection's next user would get: use dedicated()")
    })
}

/// Returns the error for a reply that cannot be converted; `what` names its type.
#[cold]
pub(super) fn conversion_error<T>(request: &Request<'_>, served: &Served, what: &str) -> Error {
    let error = Error::conversion(format!("the reply to {request} is {what}, which is no {}", type_name::<T>()));
    error.on(served.node()).executed(!request.is_read())
}

/// Returns the name of a type without the paths of its parts: `Vec<String>`.
pub(crate) fn type_name<T>() -> String {
    let parts = std::any::type_name::<T>().split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_');
    parts.filter(|part| !part.ends_with(':')).collect()
}
