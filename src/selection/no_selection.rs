//! The errors of calls for which no server was selected.

use super::read_from::ReadFrom;
use super::select::{Affinity, NoSelection};
use crate::classification::Request;
use crate::error::{Error, ErrorKind};

/// Returns the error for a request that no server may serve now.
#[cold]
pub(crate) fn no_server(why: NoSelection, request: &Request<'_>, read_from: ReadFrom, affinity: Affinity<'_>) -> Error {
    let text = match why {
        NoSelection::Later | NoSelection::Never => format!("no node may serve {request} (read from {read_from})"),
        NoSelection::NoPermit => {
            format!("no replica can serve {request}, and the master serves no more fallback reads (fallback_limit)")
        }
        NoSelection::NotInSet => format!("{request} can only go to one node, which is not in the set (any more)"),
        NoSelection::CannotProve => {
            format!("{request} can only continue on a replica, but only the master can prove what the session has seen")
        }
    };
    let error = Error::new(ErrorKind::Unavailable, text);
    match affinity {
        Affinity::Only(addr) => error.on(addr),
        Affinity::Any | Affinity::First(_) => error,
    }
}
