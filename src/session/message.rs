//! The errors for replies that do not keep the guarantees of a handle.

use redis::{RedisError, ServerError};

use super::token::Loss;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};
use crate::replication::Role;
use crate::retry::{Fault, Stage, missing_right};
use crate::topology::Assigned;

/// Returns the error that reports a loss.
pub(super) fn loss_error(loss: Loss) -> Error {
    match loss {
        Loss::Lost => {
            let text = "something that this session wrote is not in the master's history any more";
            Error::new(ErrorKind::WriteLost, text)
        }
        Loss::History => {
            let text =
                "something that this session read is not in the master's history any more; all that it wrote itself is";
            Error::new(ErrorKind::HistoryLost, text)
        }
        Loss::Unproven => {
            let text = "it is not known whether the master still has all that this session wrote and read";
            Error::new(ErrorKind::Unproven, text)
        }
    }
}

/// An answer to a request, and the server that gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) server: &'a Assigned,
    pub(super) request: &'a Request<'a>,
}

impl Answer<'_> {
    /// Returns the fault that reports a loss.
    pub(super) fn lost(&self, loss: Loss) -> Fault {
        Fault::answered(Stage::Ended, loss_error(loss).on(self.server.node.addr()))
    }

    /// Returns the fault of a server that does not prove what is required. For a write: it is no longer the master.
    pub(super) fn behind(&self) -> Fault {
        let error = if self.request.is_read() {
            let text =
                format!("{}: does not prove to have what the session has seen, or to be fresh enough", self.request);
            Error::new(ErrorKind::Unavailable, text).sent()
        } else {
            let text = format!("stopped being the master during {}: what it read may be old", self.request);
            Error::new(ErrorKind::Unproven, text).executed(true).about(self.server.node.addr())
        };
        Fault::answered(Stage::Behind, error.on(self.server.node.addr()))
    }

    /// Returns the fault of a server that gives no evidence. Another one may, but not after the master.
    pub(super) fn no_evidence(&self, refusal: Option<ServerError>) -> Fault {
        let stage = if self.server.assigned_role == Role::Master { Stage::Ended } else { Stage::NoEvidence };
        let why = match refusal.as_ref().and_then(missing_right) {
            Some(right) => {
                let command = right.trim_start_matches('+').to_ascii_uppercase();
                format!("the user may not run {command} (it lacks {right})")
            }
            None => "the user may not run INFO or read the key of a fence, or the server gives no evidence".to_owned(),
        };
        let text = format!("cannot prove the reply to {}: {why}", self.request);
        let error = Error::new(ErrorKind::Unproven, text).sent().executed(!self.request.is_read());
        Fault::answered(stage, error.about(self.server.node.addr()).because(refusal.map(RedisError::from)))
    }

    /// Returns the fault of a write that was not executed because the fence could not be raised along with it.
    pub(super) fn not_fenced(&self, refusal: Option<ServerError>) -> Fault {
        let text = format!("{} was not executed: the fence of its session could not be raised", self.request);
        let error = Error::new(ErrorKind::Unproven, text).on(self.server.node.addr());
        Fault::answered(Stage::Ended, error.because(refusal.map(RedisError::from)))
    }

    /// Returns the fault of a request that was refused only because of the transaction around it.
    pub(super) fn transaction_refused(&self) -> Fault {
        let text = format!("refused {} inside a transaction, as a session sends it", self.request);
        let error = Error::new(ErrorKind::Unavailable, text).sent().about(self.server.node.addr());
        Fault::answered(Stage::TransactionRefused, error)
    }

    /// Returns the fault of a write that too few replicas acknowledged.
    pub(super) fn unacknowledged(&self, acknowledged: u32, asked: u32) -> Fault {
        let text =
            format!("{} was applied, but only {acknowledged} of {asked} replicas confirmed it in time", self.request);
        let error = Error::new(ErrorKind::Unacknowledged, text).on(self.server.node.addr());
        Fault::answered(Stage::Ended, error.executed(true).confirmed_by(acknowledged))
    }

    /// Returns the fault of a write for which the server refused to wait for replicas.
    pub(super) fn wait_refused(&self, refusal: ServerError) -> Fault {
        let why = missing_right(&refusal).map_or_else(String::new, |right| format!(": the user lacks {right}"));
        let text = format!("{} was applied, but the server refused to wait for replicas (WAIT){why}", self.request);
        let error = Error::new(ErrorKind::Unacknowledged, text).on(self.server.node.addr()).executed(true);
        Fault::answered(Stage::Ended, error.because(RedisError::from(refusal)))
    }
}
