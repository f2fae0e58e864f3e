//! How a request is sent so that its reply proves something, and how the reply is unwrapped.

use std::time::Duration;

use redis::{ServerError, Value};

use crate::classification::{Block, Replies, Request};
use crate::replication::Evidence;
use crate::retry::{Refusal, Reply};

pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// A request with questions around it, in one piece: sent by one write, on one connection.
#[derive(Debug)]
pub(super) struct InfoRequest {
    bytes: Vec<u8>,
    form: Form,
    /// The longest wait for replicas to confirm a write.
    wait: Option<Duration>,
}

/// Where the server is asked how far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Not at all.
    Bare,
    /// `MULTI`, `INFO`, the read, `EXEC`: value and account are of the same moment.
    Within,
    /// `INFO`, the reads, `INFO`: in a transaction they would hold up the server, and one bad command would spoil all.
    Around,
    /// The request, `INFO`: a write is contained in what comes after it.
    Behind,
}

/// What a server says of itself beside its reply; an error, if it does not.
pub(crate) type InfoEvidence = Result<Evidence, NoEvidence>;

/// The server does not say how far it is.
#[derive(Debug, Default)]
pub(crate) struct NoEvidence {
    /// Its own words, if it refused.
    pub(super) refusal: Option<ServerError>,
}

/// A reply, unwrapped.
#[derive(Debug)]
pub(super) struct UnpackedInfo {
    pub(super) reply: Reply,
    /// The server's account before the reply, or of the same moment. `None`: it was not asked, or nothing was executed.
    pub(super) before: Option<InfoEvidence>,
    pub(super) after: Option<InfoEvidence>,
    /// How many replicas confirmed it.
    pub(super) confirmed: Option<Confirmed>,
    /// The transaction around the read was refused, and the read with it.
    pub(super) is_refused_in_this_form: bool,
}

/// How many replicas confirmed a write; an error, if the server refused to wait for them.
pub(crate) type Confirmed = Result<u32, ServerError>;

impl InfoRequest {
    /// `replicas`: so many are to confirm the write, within that time.
    pub(super) fn new(request: &Request<'_>, form: Form, replicas: Option<(u32, Duration)>) -> Self {
        let mut bytes = Vec::with_capacity(request.bytes.len() + 2 * INFO.len() + MULTI.len() + EXEC.len() + 48);
        let (before, after): (&[&[u8]], &[&[u8]]) = match form {
            Form::Bare => (&[], &[]),
            Form::Within => (&[MULTI, INFO], &[EXEC]),
            Form::Around => (&[INFO], &[INFO]),
            // Before any WAIT: after it, the offset would contain what others wrote meanwhile.
            Form::Behind => (&[], &[INFO]),
        };
        before.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.extend_from_slice(request.bytes);
        after.iter().for_each(|part| bytes.extend_from_slice(part));
        if let Some((count, limit)) = replicas {
            append_wait(&mut bytes, count, limit);
        }
        Self { bytes, form, wait: replicas.map(|(_, limit)| limit) }
    }

    /// Returns the form without a transaction, if this one has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>) -> Option<Self> {
        (self.form == Form::Within).then(|| Self::new(request, Form::Around, None))
    }

    /// The request as it is sent.
    pub(super) fn packed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let questions = match self.form {
            Form::Bare => 0,
            Form::Behind => 1,
            Form::Around => 2,
            Form::Within => 3,
        };
        let kept = request.reply_count() + questions + usize::from(self.wait.is_some());
        let block = self.wait.map_or(Block::No, Block::bounded);
        request.within(&self.bytes, kept, block)
    }

    /// Takes the replies to the questions out.
    pub(super) fn unpack(&self, request: &Request<'_>, reply: Reply) -> UnpackedInfo {
        let mut values = match reply {
            Reply::One(value) => vec![value],
            Reply::Many { kept, .. } => kept,
        };
        let confirmed = if self.wait.is_some() { values.pop().map(count_of) } else { None };
        let (mut before, mut after) = (None, None);
        match self.form {
            Form::Bare => {}
            Form::Behind => after = values.pop().map(account),
            Form::Around => {
                after = values.pop().map(account);
                before = if values.is_empty() { None } else { Some(account(values.remove(0))) };
            }
            Form::Within => {
                let is_refused_in_this_form = refuses_transaction(&values);
                let (value, before) = unfold(values);
                return UnpackedInfo { reply: Reply::One(value), before, after, confirmed, is_refused_in_this_form };
            }
        }
        UnpackedInfo { reply: fold(request, values), before, after, confirmed, is_refused_in_this_form: false }
    }
}

/// Has the server wait until so many replicas have what was written on this connection.
pub(super) fn append_wait(bytes: &mut Vec<u8>, replicas: u32, limit: Duration) {
    let millis = match Block::bounded(limit) {
        Block::For(limit) => (limit.as_micros().div_ceil(1000)).max(1),
        // That is how a server says it.
        Block::Forever | Block::No => 0,
    };
    redis::cmd("WAIT").arg(replicas).arg(millis.to_string()).write_packed_command(bytes);
}

/// Makes of the replies to a request what it would have got without an info_request.
pub(super) fn fold(request: &Request<'_>, mut values: Vec<Value>) -> Reply {
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

/// Returns whether a read was refused only because a transaction was put around it: the user, or a proxy, knows no `MULTI`
/// or `EXEC`, or there is no memory left, without which a server queues nothing.
pub(super) fn refuses_transaction(values: &[Value]) -> bool {
    let refusal = |value: Option<&Value>| match value {
        Some(Value::ServerError(error)) => Some(error.clone()),
        _ => None,
    };
    let read = values.len().checked_sub(2).and_then(|read| refusal(values.get(read)));
    let is = |value: Option<&Value>, what| refusal(value).is_some_and(|error| Refusal::of(&error) == Some(what));
    match refusal(values.first()) {
        // Unless whatever is asked is refused, as by one that loads.
        Some(multi) => read != Some(multi),
        // The transaction stays open.
        None => {
            is(values.last(), Refusal::NoRights) || values.iter().any(|value| is(Some(value), Refusal::OutOfMemory))
        }
    }
}

/// Takes value and account out of the replies to `MULTI`, `INFO`, the read and `EXEC`. The read's own error is its reply, as
/// if there had been no transaction around it.
fn unfold(values: Vec<Value>) -> (Value, Option<InfoEvidence>) {
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or(Value::Nil);
    let (multi, info, read, exec) = (next(), next(), next(), next());
    match (multi, info, read, exec) {
        // It refuses whatever it is asked, as one that loads does.
        (Value::ServerError(refusal), _, Value::ServerError(error), _) if refusal == error => {
            (Value::ServerError(error), None)
        }
        // No transaction: the read was executed on its own, at another moment than INFO.
        (Value::ServerError(refusal), ..) => silent_or_out(refusal),
        // Not queued: the transaction was not executed.
        (_, _, Value::ServerError(error), _) => (Value::ServerError(error), None),
        (_, Value::ServerError(refusal), ..) => silent_or_out(refusal),
        (_, _, _, Value::Array(mut both)) if both.len() == 2 => {
            let value = both.pop().unwrap_or(Value::Nil);
            (value, both.pop().map(account))
        }
        (_, _, _, Value::ServerError(refusal)) => silent_or_out(refusal),
        _ => (Value::Nil, Some(Err(NoEvidence::default()))),
    }
}

/// A node that is not ready refuses the questions as well; one that only refuses the questions is silent.
fn silent_or_out(refusal: ServerError) -> (Value, Option<InfoEvidence>) {
    if Refusal::of(&refusal).is_some_and(Refusal::is_general) {
        return (Value::ServerError(refusal), None);
    }
    (Value::Nil, Some(Err(NoEvidence { refusal: Some(refusal) })))
}

fn account(reply: Value) -> InfoEvidence {
    let told = match &reply {
        Value::BulkString(bytes) => Evidence::of_info(bytes),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Evidence::of_info(text.as_bytes()),
        _ => None,
    };
    told.ok_or_else(|| NoEvidence { refusal: if let Value::ServerError(error) = reply { Some(error) } else { None } })
}

/// Reads how many replicas confirmed.
pub(super) fn count_of(reply: Value) -> Confirmed {
    match reply {
        Value::Int(count) => Ok(u32::try_from(count).unwrap_or(0)),
        Value::ServerError(refusal) => Err(refusal),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests;
