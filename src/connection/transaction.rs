//! Transactions driven by hand: `WATCH` and `MULTI`, pinned to one connection to the master.
//!
//! Atomic pipelines, which are one request, do not need this unless a `WATCH` is open.

use std::time::Instant;

use redis::Value;

use crate::addr::NodeAddr;
use crate::call::Pinned;
use crate::classification::{Classification, Replies, Request, TransactionStep};
use crate::client::ReplicatedClient;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Reply;
use crate::session::Session;

/// The open transaction of a routed connection, if there is one.
#[derive(Debug, Default)]
pub(super) enum Transaction {
    #[default]
    None,
    /// A `WATCH`, a `MULTI`, or both, on one connection.
    Open { pinned: Pinned, state: State },
    /// The connection was lost, and with it what was open.
    Lost(State),
}

/// What is open on the connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct State {
    is_watching: bool,
    is_queuing: bool,
}

impl Transaction {
    /// Returns whether a connection is pinned.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Returns the node of the open connection.
    pub(super) fn node(&self) -> Option<&NodeAddr> {
        match self {
            Self::Open { pinned, .. } => Some(pinned.node()),
            Self::None | Self::Lost(_) => None,
        }
    }

    /// Answers a command that needs no server: `UNWATCH` with nothing watched, and one that relies on a lost connection.
    pub(super) fn answer(&mut self, step: Option<TransactionStep>) -> Result<Option<Value>> {
        let lost = || {
            let text = "the connection of this transaction was lost; nothing of the transaction was applied";
            Error::new(ErrorKind::Interrupted, text)
        };
        match (&self, step) {
            (Self::Open { .. }, _) => Ok(None),
            (Self::None, Some(TransactionStep::Unwatch)) => Ok(Some(Value::Okay)),
            (Self::None, _) => Ok(None),
            (Self::Lost(_), Some(TransactionStep::Unwatch | TransactionStep::Discard)) => {
                *self = Self::None;
                Ok(Some(Value::Okay))
            }
            (Self::Lost(_), Some(TransactionStep::Watch)) => {
                *self = Self::None;
                Ok(None)
            }
            // The loss is reported once.
            (Self::Lost(_), Some(TransactionStep::Exec)) => {
                *self = Self::None;
                Err(lost())
            }
            (Self::Lost(state), Some(TransactionStep::Multi)) if !state.is_queuing => {
                *self = Self::None;
                Err(lost())
            }
            // Outside its transaction, the command would run at once.
            (Self::Lost(state), _) if state.is_queuing => Err(lost()),
            (Self::Lost(_), _) => Ok(None),
        }
    }

    /// Returns whether the guarantees of the handle hold for the reply: a queued command proves nothing until it is executed, and
    /// an evidence request would be queued too.
    fn proves(&self, client: &ReplicatedClient, request: &Request<'_>) -> bool {
        let mut state = match self {
            Self::Open { state, .. } => *state,
            Self::None | Self::Lost(_) => State::default(),
        };
        if !request.is_transaction() {
            request.steps(client.classifier()).for_each(|step| state.step(step, false));
            if state.is_queuing && request.class == Classification::Write && request.replies != Replies::One {
                // The pipeline writes before its own MULTI: where that write is stays unknown.
                let session = client.options.guarantees.as_ref().and_then(|guarantees| guarantees.session.as_deref());
                session.into_iter().for_each(Session::record_doubt);
            }
        }
        !state.is_queuing || request.is_transaction()
    }

    /// Runs a request on the pinned connection, and pins one if there is none yet.
    pub(super) fn run(&mut self, client: &ReplicatedClient, request: &Request<'_>) -> Result<Reply> {
        let (proves, began) = (self.proves(client, request), Instant::now());
        let (mut pinned, mut state) = match std::mem::take(self) {
            Self::Open { pinned, state } => (pinned, state),
            Self::None | Self::Lost(_) => {
                (Pinned::take(client.router(), request, client.call_options())?, State::default())
            }
        };
        let reply = match client.call_pinned(&mut pinned, request, (proves, None), began) {
            Ok((reply, _)) => reply,
            Err(error) => {
                let ends = |step| matches!(step, Some(TransactionStep::Exec | TransactionStep::Discard));
                let is_over = request.is_transaction() || request.steps(client.classifier()).any(ends);
                *self = match (is_over, pinned.is_live()) {
                    // The end of the transaction is in doubt, as this error says: nothing relies on the connection any more.
                    (true, _) => Self::None,
                    // The server answered, but the session rejected the reply.
                    (false, true) => Self::Open { pinned, state },
                    (false, false) => Self::Lost(state),
                };
                return Err(error);
            }
        };
        state.follow(client, request, &reply);
        if state == State::default() {
            // After an error, the server's state may differ from what is assumed here: then the connection is closed.
            if is_free_of_errors(&reply) {
                pinned.release();
            }
        } else if pinned.is_live() {
            *self = Self::Open { pinned, state };
        } else {
            *self = Self::Lost(state);
        }
        Ok(reply)
    }
}

/// Returns whether a reply contains no error, not even for a command that was not queued.
fn is_free_of_errors(reply: &Reply) -> bool {
    match reply {
        Reply::One(value) => !matches!(value, Value::ServerError(_)),
        Reply::Many { kept, not_queued } => {
            not_queued.is_empty() && !kept.iter().any(|value| matches!(value, Value::ServerError(_)))
        }
    }
}

impl State {
    /// Applies the steps of a request, given the reply to it.
    fn follow(&mut self, client: &ReplicatedClient, request: &Request<'_>, reply: &Reply) {
        match reply {
            Reply::One(value) => self.step(request.step(), matches!(value, Value::ServerError(_))),
            // An atomic pipeline of the redis crate, `MULTI … EXEC`: it ends what was open, whatever its outcome.
            Reply::Many { kept, .. } if request.is_transaction() => {
                debug_assert!(kept.len() <= 1);
                *self = Self::default();
            }
            Reply::Many { kept, .. } => {
                for (step, value) in request.steps(client.classifier()).zip(kept) {
                    self.step(step, matches!(value, Value::ServerError(_)));
                }
            }
        }
    }

    /// Applies one step.
    fn step(&mut self, step: Option<TransactionStep>, failed: bool) {
        match step {
            Some(TransactionStep::Watch) => self.is_watching |= !failed,
            Some(TransactionStep::Multi) => self.is_queuing |= !failed,
            // Inside a transaction, UNWATCH is only queued, and EXEC ends the watch anyway.
            Some(TransactionStep::Unwatch) => self.is_watching &= self.is_queuing || failed,
            // A failed EXEC ends a transaction too, a failed DISCARD does not. Without a transaction, both change nothing.
            Some(TransactionStep::Exec) if self.is_queuing => *self = Self::default(),
            Some(TransactionStep::Discard) if self.is_queuing && !failed => *self = Self::default(),
            Some(TransactionStep::Exec | TransactionStep::Discard) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;
    use crate::classification::TransactionStep::{self, Discard, Exec, Multi, Unwatch, Watch};

    fn after(steps: &[(TransactionStep, bool)]) -> State {
        let mut state = State::default();
        steps.iter().for_each(|(step, failed)| state.step(Some(*step), *failed));
        state
    }

    #[test]
    fn a_transaction_ends_when_nothing_is_watched_or_queued() {
        for ended in [
            &[(Watch, false), (Unwatch, false)][..],
            &[(Watch, false), (Multi, false), (Exec, false)],
            &[(Watch, false), (Multi, false), (Unwatch, false), (Exec, true)],
            &[(Multi, false), (Discard, false)],
            &[(Watch, true)],
            &[(Multi, true)],
        ] {
            assert_eq!(after(ended), State::default(), "{ended:?}");
        }
        for open in [
            &[(Watch, false)][..],
            &[(Watch, false), (Exec, true)],
            &[(Multi, false)],
            &[(Multi, false), (Discard, true)],
            &[(Watch, false), (Multi, false), (Unwatch, false)],
            &[(Watch, false), (Unwatch, true)],
        ] {
            assert_ne!(after(open), State::default(), "{open:?}");
        }
    }
}
