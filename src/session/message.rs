//! What a caller is told of an answer that does not hold what its session, bound or confirmation asks for.

use redis::{RedisError, ServerError};

use super::loss::Loss;
use crate::classification::Request;
use crate::error::{Error, ErrorKind};
use crate::replication::Role;
use crate::retry::{Fault, Stage, missing_right};
use crate::topology::Assigned;

/// The error for what a session cannot read any more.
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
            let text = "nobody can tell whether the master still has what this session wrote and read";
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
    pub(super) fn lost(&self, loss: Loss) -> Fault {
        Fault::answered(Stage::Ended, loss_error(loss).on(self.server.node.addr()))
    }

    /// The server does not prove to contain what was asked for. Of a write, it is not the master any more.
    pub(super) fn behind(&self) -> Fault {
        let error = if self.request.is_read() {
            let text =
                format!("{}: does not prove to have what the session has seen, or to be fresh enough", self.request);
            Error::new(ErrorKind::Unavailable, text).sent()
        } else {
            let text = format!("stopped being the master during {}: what it read may be old", self.request);
            Error::new(ErrorKind::Unproven, text).executed(true)
        };
        Fault::answered(Stage::Behind, error.on(self.server.node.addr()))
    }

    /// The server does not say how much it contains. Another one may; the master has the last word.
    pub(super) fn no_evidence(&self, refusal: Option<ServerError>) -> Fault {
        let stage = if self.server.assigned_role == Role::Master { Stage::Ended } else { Stage::NoEvidence };
        let text = match refusal.as_ref().and_then(missing_right) {
            Some(right) => {
                let asked = right.trim_start_matches('+').to_ascii_uppercase();
                format!("does not tell what proves a reply: the user may not ask ({asked}), it lacks {right}")
            }
            None => "does not tell what proves a reply: the user may not ask (INFO, or the key of a fence), or it is no server that says so".to_owned(),
        };
        let error =
            Error::new(ErrorKind::Unproven, text).sent().on(self.server.node.addr()).executed(!self.request.is_read());
        Fault::answered(stage, error.because(refusal.map(RedisError::from)))
    }

    /// The write was not executed, because the counter that would prove it could not be raised along with it.
    pub(super) fn unfenced(&self, refusal: Option<ServerError>) -> Fault {
        let text = format!("{} was not executed: the fence of its session could not be raised", self.request);
        let error = Error::new(ErrorKind::Unproven, text).on(self.server.node.addr());
        Fault::answered(Stage::Ended, error.because(refusal.map(RedisError::from)))
    }

    /// The request was refused only because of what was sent along.
    pub(super) fn respell(&self) -> Fault {
        let text = format!("refused {} inside a transaction", self.request);
        Fault::answered(Stage::Respell, Error::new(ErrorKind::Unavailable, text).sent().on(self.server.node.addr()))
    }

    pub(super) fn unacknowledged(&self, confirmed: u32, asked: u32) -> Fault {
        let text =
            format!("{} was applied, but only {confirmed} of {asked} replicas confirmed it in time", self.request);
        let error = Error::new(ErrorKind::Unacknowledged, text).on(self.server.node.addr());
        Fault::answered(Stage::Ended, error.executed(true).confirmed_by(confirmed))
    }

    /// The server refused to wait for replicas.
    pub(super) fn unconfirmed(&self, refusal: ServerError) -> Fault {
        let why = missing_right(&refusal).map_or_else(String::new, |right| format!(": the user lacks {right}"));
        let text = format!("{} was applied, but the server refused to wait for replicas (WAIT){why}", self.request);
        let error = Error::new(ErrorKind::Unacknowledged, text).on(self.server.node.addr()).executed(true);
        Fault::answered(Stage::Ended, error.because(RedisError::from(refusal)))
    }
}
