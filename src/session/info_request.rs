//! Evidence by `INFO`: how a request is sent together with `INFO replication`, and how their replies are separated.
//!
//! What the evidence proves is decided in [`verification`](super::verification). `WAIT`, for the acknowledgement of a write, is
//! added here too.

use redis::{ServerError, Value};

use super::guarantees::Acknowledgement;
use crate::classification::{Block, Replies, Request};
use crate::replication::{INFO, InfoEvidence, NoEvidence, evidence_of};
use crate::retry::{Refusal, Reply};

pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A request with the commands that ask for evidence, sent by one write, on one connection.
#[derive(Debug)]
pub(super) struct InfoRequest {
    bytes: Vec<u8>,
    form: Form,
    wait: Option<Acknowledgement>,
}

/// Where `INFO` is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Not at all.
    WithoutInfo,
    /// `MULTI`, `INFO`, the read, `EXEC`: value and evidence are of the same moment.
    InTransaction,
    /// `INFO`, the reads, `INFO`: a transaction would hold up the server, and one bad command would fail all of it.
    Between,
    /// The request, `INFO`: the offset after a write covers the write.
    InfoAfter,
}

/// A reply, separated from what was added to the request.
#[derive(Debug)]
pub(super) struct UnpackedInfo {
    pub(super) reply: Reply,
    /// The evidence before the reply, or of the same moment. `None`: none was requested, or nothing was executed.
    pub(super) before: Option<InfoEvidence>,
    /// The evidence after the reply.
    pub(super) after: Option<InfoEvidence>,
    /// How many replicas acknowledged the write.
    pub(super) acknowledged: Option<Acknowledged>,
    /// The server refused the transaction around the read, and so the read.
    pub(super) is_transaction_refused: bool,
}

/// How many replicas acknowledged a write, or the error of a server that refused `WAIT`.
pub(crate) type Acknowledged = Result<u32, ServerError>;

impl InfoRequest {
    /// Adds `INFO` to a request, and `WAIT` for an acknowledgement.
    pub(super) fn new(request: &Request<'_>, form: Form, wait: Option<Acknowledgement>) -> Self {
        let mut bytes = Vec::with_capacity(request.bytes.len() + 2 * INFO.len() + MULTI.len() + EXEC.len() + 48);
        let (before, after): (&[&[u8]], &[&[u8]]) = match form {
            Form::WithoutInfo => (&[], &[]),
            Form::InTransaction => (&[MULTI, INFO], &[EXEC]),
            Form::Between => (&[INFO], &[INFO]),
            // Before WAIT: after it, the offset would cover what others wrote meanwhile.
            Form::InfoAfter => (&[], &[INFO]),
        };
        before.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.extend_from_slice(request.bytes);
        after.iter().for_each(|part| bytes.extend_from_slice(part));
        if let Some(acknowledgement) = wait {
            append_wait(&mut bytes, acknowledgement);
        }
        Self { bytes, form, wait }
    }

    /// Returns the same request without its transaction, if it has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>) -> Option<Self> {
        (self.form == Form::InTransaction).then(|| Self::new(request, Form::Between, None))
    }

    /// Returns whether it is a read with `INFO` before and after it, or in the same moment, and nothing else.
    pub(super) fn is_read_alone(&self) -> bool {
        matches!(self.form, Form::InTransaction | Form::Between) && self.wait.is_none()
    }

    /// Returns the request as it is sent.
    pub(super) fn packed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let added = match self.form {
            Form::WithoutInfo => 0,
            Form::InfoAfter => 1,
            Form::Between => 2,
            Form::InTransaction => 3,
        };
        let kept = request.reply_count() + added + usize::from(self.wait.is_some());
        let block = self.wait.map_or(Block::No, |wait| Block::bounded(wait.limit));
        request.within(&self.bytes, kept, block)
    }

    /// Separates the replies to what was added from those to the request.
    pub(super) fn unpack(&self, request: &Request<'_>, reply: Reply) -> UnpackedInfo {
        let mut values = match reply {
            Reply::One(value) => vec![value],
            Reply::Many { kept, .. } => kept,
        };
        let acknowledged = if self.wait.is_some() { values.pop().map(count_of) } else { None };
        let (mut before, mut after) = (None, None);
        match self.form {
            Form::WithoutInfo => {}
            Form::InfoAfter => after = values.pop().map(evidence_of),
            Form::Between => {
                after = values.pop().map(evidence_of);
                before = if values.is_empty() { None } else { Some(evidence_of(values.remove(0))) };
            }
            Form::InTransaction => {
                let is_transaction_refused = refuses_transaction(&values);
                let (value, before) = split_transaction(values);
                return UnpackedInfo { reply: Reply::One(value), before, after, acknowledged, is_transaction_refused };
            }
        }
        UnpackedInfo { reply: reply_of(request, values), before, after, acknowledged, is_transaction_refused: false }
    }
}

/// Appends `WAIT`: the server waits until that many replicas have what was written on this connection.
pub(super) fn append_wait(bytes: &mut Vec<u8>, acknowledgement: Acknowledgement) {
    let millis = match Block::bounded(acknowledgement.limit) {
        Block::For(limit) => (limit.as_micros().div_ceil(1000)).max(1),
        // 0 means for ever.
        Block::Forever | Block::No => 0,
    };
    redis::cmd("WAIT").arg(acknowledgement.replicas).arg(millis.to_string()).write_packed_command(bytes);
}

/// Returns the reply that the request would have got without an evidence request.
pub(super) fn reply_of(request: &Request<'_>, mut values: Vec<Value>) -> Reply {
    match request.replies {
        Replies::One => Reply::One(values.pop().unwrap_or(Value::Nil)),
        Replies::Many { skipped: 0, .. } => Reply::Many { kept: values, not_queued: Vec::new() },
        Replies::Many { skipped, .. } => {
            let kept = values.split_off(skipped.min(values.len()));
            let refused = |(position, value)| match value {
                Value::ServerError(error) => Some((position, error)),
                _ => None,
            };
            Reply::Many { kept, not_queued: values.into_iter().enumerate().filter_map(refused).collect() }
        }
    }
}

/// Returns whether a read was refused only because of the transaction around it: the user may not run `MULTI` or `EXEC`, a proxy
/// does not know them, or the server has no memory to queue the read.
pub(super) fn refuses_transaction(values: &[Value]) -> bool {
    let refusal = |value: Option<&Value>| match value {
        Some(Value::ServerError(error)) => Some(error.clone()),
        _ => None,
    };
    let read = values.len().checked_sub(2).and_then(|read| refusal(values.get(read)));
    let is = |value: Option<&Value>, what| refusal(value).is_some_and(|error| Refusal::of(&error) == Some(what));
    match refusal(values.first()) {
        // A server that refuses every command, such as one that loads, gives the same error to the read.
        Some(multi) => read != Some(multi),
        None => {
            is(values.last(), Refusal::NoRights) || values.iter().any(|value| is(Some(value), Refusal::OutOfMemory))
        }
    }
}

/// Separates the replies to `MULTI`, `INFO`, the read and `EXEC` into the value and the evidence. An error of the read itself is
/// its value, as it would be without a transaction.
fn split_transaction(values: Vec<Value>) -> (Value, Option<InfoEvidence>) {
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or(Value::Nil);
    let (multi, info, read, exec) = (next(), next(), next(), next());
    match (multi, info, read, exec) {
        // The server refuses every command, as one that loads does.
        (Value::ServerError(refusal), _, Value::ServerError(error), _) if refusal == error => {
            (Value::ServerError(error), None)
        }
        // MULTI was refused: the read was executed on its own, in another moment than INFO.
        (Value::ServerError(refusal), ..) => no_evidence_or_refusal(refusal),
        // The read could not be queued: the transaction was not executed.
        (_, _, Value::ServerError(error), _) => (Value::ServerError(error), None),
        (_, Value::ServerError(refusal), ..) => no_evidence_or_refusal(refusal),
        (_, _, _, Value::Array(mut both)) if both.len() == 2 => {
            let value = both.pop().unwrap_or(Value::Nil);
            (value, both.pop().map(evidence_of))
        }
        (_, _, _, Value::ServerError(refusal)) => no_evidence_or_refusal(refusal),
        _ => (Value::Nil, Some(Err(NoEvidence::default()))),
    }
}

/// Returns the refusal as the reply if the server refuses every command; else the refusal of the evidence.
fn no_evidence_or_refusal(refusal: ServerError) -> (Value, Option<InfoEvidence>) {
    if Refusal::of(&refusal).is_some_and(Refusal::is_general) {
        return (Value::ServerError(refusal), None);
    }
    (Value::Nil, Some(Err(NoEvidence { refusal: Some(refusal) })))
}

/// Reads how many replicas acknowledged, in the reply to `WAIT`.
pub(super) fn count_of(reply: Value) -> Acknowledged {
    match reply {
        Value::Int(count) => Ok(u32::try_from(count).unwrap_or(0)),
        Value::ServerError(refusal) => Err(refusal),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests;
