//! What became of a call that failed.

use redis_replicated::redis::RedisError;
use redis_replicated::{Error, ErrorKind};

/// The columns under which errors are counted.
pub(super) const COLUMNS: [&str; 7] = ["unavail", "checkout", "interr", "server", "unack", "told", "other"];

/// Which of them counts what sessions are told.
pub(super) const TELLINGS: usize = 5;

/// Answers of a server that did nothing: they come with a change of roles, or with a start.
const REFUSALS: [&str; 8] =
    ["READONLY", "LOADING", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED", "EXECABORT", "NOREPLICAS", "BUSY"];

/// A failed call.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: ErrorKind,
    /// The code of the server's answer, if that is what failed.
    code: Option<String>,
    text: String,
    /// A write may have been applied.
    pub(super) in_doubt: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = error.as_redis().and_then(RedisError::code).map(str::to_owned);
        Self { kind: error.kind(), code, text: error.to_string(), in_doubt: error.may_have_executed() }
    }
}

impl From<RedisError> for Failure {
    /// From a routed connection: an error of this crate, or an answer of the server.
    fn from(error: RedisError) -> Self {
        match Error::of(&error) {
            Some(error) => error.clone().into(),
            None => {
                let code = error.code().map(str::to_owned);
                let in_doubt = !code.as_deref().is_some_and(is_refusal);
                Self { kind: ErrorKind::Server, code, text: error.to_string(), in_doubt }
            }
        }
    }
}

impl Failure {
    /// Returns the column under which it is counted.
    pub(super) fn column(&self) -> usize {
        match self.kind {
            ErrorKind::Unavailable => 0,
            ErrorKind::Checkout => 1,
            ErrorKind::Interrupted => 2,
            ErrorKind::Server => 3,
            ErrorKind::Unacknowledged => 4,
            ErrorKind::WriteLost | ErrorKind::HistoryLost | ErrorKind::Unproven => TELLINGS,
            _ => 6,
        }
    }

    /// Returns whether no fault of the schedule explains it.
    pub(super) fn is_wrong(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Checkout | ErrorKind::Interrupted | ErrorKind::Unacknowledged => false,
            ErrorKind::Server => !self.code.as_deref().is_some_and(is_refusal),
            // For a session by counter that may be: after writes in doubt and another master, it cannot know.
            ErrorKind::Unproven => false,
            // Nothing is ever lost.
            _ => true,
        }
    }

    /// Returns whether a session was told that something may be lost: its next reads need not contain what it saw.
    pub(super) fn is_telling(&self) -> bool {
        // After a write in doubt it is no telling.
        self.kind == ErrorKind::Unproven && !self.in_doubt
    }

    /// Returns the kind, and the code of the server's answer.
    pub(super) fn name(&self) -> String {
        let code = self.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
        format!("{:?}{code}{}", self.kind, if self.in_doubt { ", in doubt" } else { "" })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn is_refusal(code: &str) -> bool {
    REFUSALS.contains(&code)
}
