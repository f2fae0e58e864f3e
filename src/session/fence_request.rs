//! Evidence by a fence: how a request is sent together with its session's counter, and how their replies are separated.
//!
//! What the values prove is decided in [`state`](super::state). A server says in its reply to `HELLO` whether it is a master.

use redis::{Cmd, ServerError, Value};

use super::guarantees::Acknowledgement;
use super::info_request::{Acknowledged, EXEC, MULTI, append_wait, count_of, refuses_transaction, reply_of};
use super::state::{FENCE_TTL, Raise, Requirement};
use crate::call::Unpacked;
use crate::classification::{Block, Request};
use crate::pool::{replicates_without_order, role_in_hello};
use crate::replication::Role;
use crate::retry::{Refusal, Reply};

const HELLO: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";

/// A request with the commands that read or raise a fence, in one write.
#[derive(Debug)]
pub(super) struct FenceRequest {
    bytes: Vec<u8>,
    form: Form,
    /// The number of added replies before those of the request; for a transaction of the user's, inside it.
    before: usize,
    /// The number of added replies after those of the request.
    behind: usize,
    wait: Option<Acknowledgement>,
}

/// Where the counter is read or raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `HELLO`, `MULTI`, the counter, the read, `EXEC`.
    ReadInTransaction,
    /// `HELLO`, the counter, the reads, the counter: the second value shows a full resync in between.
    ReadBetween,
    /// `MULTI`, the write, the earlier fence, the raise, `EXEC`.
    WriteInTransaction(Raise),
    /// The writes, the earlier fence, the raise.
    WriteThenRaise(Raise),
    /// A transaction of the user's, with the raise before its `EXEC`.
    InUserTransaction(Raise),
}

/// What the replies say of the fence.
#[derive(Debug)]
pub(crate) enum FenceEvidence {
    /// Nothing was executed.
    None,
    /// The values of the counters before the read and, if not in the same moment, after it.
    Read { greeting: Greeting, counts: Counts, behind: Option<Counts> },
    /// The value of the counter after the raise, and that of the earlier fence.
    Raised { raise: Raise, count: u64, before: Option<u64> },
    /// The counter could not be read or raised. `executed`: the request was executed all the same.
    Refused { refusal: Option<ServerError>, executed: bool, greeting: Greeting },
}

/// The values of the counters that a read requires; `None`: the key does not exist, or was not read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(super) count: Option<u64>,
    pub(super) second: Option<u64>,
}

/// What a server says of itself in its reply to `HELLO`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Greeting {
    pub(super) is_master: bool,
    /// Its replicas do not apply writes in order: a fence on them proves nothing.
    pub(super) is_unordered: bool,
}

impl Greeting {
    fn of(hello: Option<&Value>) -> Self {
        Self {
            is_master: hello.and_then(role_in_hello) == Some(Role::Master),
            is_unordered: hello.is_some_and(replicates_without_order),
        }
    }
}

impl FenceRequest {
    /// Adds the required counters to a read. `is_pinned`: without a transaction, because `EXEC` would end a `WATCH`.
    pub(super) fn read(request: &Request<'_>, requirement: &Requirement, is_pinned: bool) -> Self {
        let in_transaction = request.is_single() && !request.blocks() && !is_pinned;
        // If nothing was written yet, the name does not matter.
        let mut counters =
            Cmd::get(key(requirement.watermark.fence().map_or(0, |fence| fence.name))).get_packed_command();
        if let Some(second) = requirement.second {
            Cmd::get(key(second.name)).write_packed_command(&mut counters);
        }
        let added = 1 + usize::from(requirement.second.is_some());
        let mut bytes = HELLO.to_vec();
        if in_transaction {
            bytes.extend_from_slice(MULTI);
        }
        bytes.extend_from_slice(&counters);
        bytes.extend_from_slice(request.bytes);
        if in_transaction {
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::ReadInTransaction, before: 2 + added, behind: 1, wait: None };
        }
        bytes.extend_from_slice(&counters);
        Self { bytes, form: Form::ReadBetween, before: 1 + added, behind: added, wait: None }
    }

    /// Returns the same request without what was added in a transaction, if there is one.
    pub(super) fn without_transaction(&self, request: &Request<'_>, requirement: &Requirement) -> Option<Self> {
        match self.form {
            Form::ReadInTransaction => Some(Self::read(request, requirement, true)),
            Form::WriteInTransaction(raise) | Form::InUserTransaction(raise) => {
                Some(Self::write(request, raise, true).acknowledged_by(self.wait))
            }
            Form::ReadBetween | Form::WriteThenRaise(_) => None,
        }
    }

    /// Adds the raise of a fence to a write. `is_pinned`: behind it, because a pinned transaction that fails for the raise could
    /// not be repeated.
    pub(super) fn write(request: &Request<'_>, raise: Raise, is_pinned: bool) -> Self {
        let mut bytes = Vec::with_capacity(request.bytes.len() + 256);
        let added = 2 + usize::from(raise.before.is_some());
        if let Some(rest) = request.bytes.strip_suffix(EXEC).filter(|_| request.is_transaction() && !is_pinned) {
            bytes.extend_from_slice(rest);
            append_raise(&mut bytes, raise);
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::InUserTransaction(raise), before: added, behind: 0, wait: None };
        }
        let in_transaction = request.is_single() && !request.blocks() && !is_pinned;
        if in_transaction {
            bytes.extend_from_slice(MULTI);
        }
        bytes.extend_from_slice(request.bytes);
        append_raise(&mut bytes, raise);
        if in_transaction {
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::WriteInTransaction(raise), before: 1, behind: added + 1, wait: None };
        }
        Self { bytes, form: Form::WriteThenRaise(raise), before: 0, behind: added, wait: None }
    }

    /// Adds the wait for the acknowledgement of a write.
    pub(super) fn acknowledged_by(mut self, wait: Option<Acknowledgement>) -> Self {
        wait.iter().for_each(|wait| append_wait(&mut self.bytes, *wait));
        self.wait = wait;
        self
    }

    /// Returns the request as it is sent.
    pub(super) fn packed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let replies = self.before + request.reply_count() + self.behind + usize::from(self.wait.is_some());
        request.within(&self.bytes, replies, self.wait.map_or(Block::No, |wait| Block::bounded(wait.limit)))
    }

    /// Separates the replies to what was added from those to the request.
    pub(super) fn unpack(
        &self,
        request: &Request<'_>,
        reply: Reply,
    ) -> Unpacked<(FenceEvidence, Option<Acknowledged>)> {
        let mut values = match reply {
            Reply::One(value) => vec![value],
            Reply::Many { kept, .. } => kept,
        };
        let acknowledged = if self.wait.is_some() { values.pop().map(count_of) } else { None };
        let is_transaction_refused = self.is_transaction_refused(request, &values);
        let (values, evidence) = match self.form {
            Form::ReadInTransaction => {
                let greeting = Greeting::of(values.drain(..1.min(values.len())).next().as_ref());
                let (value, rest) = split_transaction(values, self.before - 2, greeting);
                (vec![value], rest.map_or_else(|evidence| evidence, |rest| read_evidence(greeting, rest, None)))
            }
            Form::ReadBetween => {
                let behind = values.split_off(values.len().saturating_sub(self.behind));
                let rest = values.split_off(self.before.min(values.len()));
                let counters = values.split_off(1.min(values.len()));
                (rest, read_evidence(Greeting::of(values.first()), counters, Some(behind)))
            }
            Form::WriteInTransaction(raise) => {
                let (value, rest) = split_transaction(values, 0, Greeting::default());
                (vec![value], rest.map_or_else(|evidence| evidence, |rest| raise_evidence(raise, rest)))
            }
            Form::WriteThenRaise(raise) => {
                let added = values.split_off(values.len().saturating_sub(self.behind));
                (values, raise_evidence(raise, added))
            }
            Form::InUserTransaction(raise) => split_user_transaction(values, self.before, raise),
        };
        Unpacked { reply: reply_of(request, values), evidence: (evidence, acknowledged), is_transaction_refused }
    }

    /// Returns whether nothing was executed, only because of the transaction and what was added in it.
    fn is_transaction_refused(&self, request: &Request<'_>, values: &[Value]) -> bool {
        let error = |value: &Value| matches!(value, Value::ServerError(_));
        match self.form {
            Form::ReadInTransaction => {
                let Some(values @ [multi, counters @ .., read, _]) = values.get(1..) else { return false };
                // If MULTI was refused, the commands ran one by one, which proves as much.
                !error(multi) && (refuses_transaction(values) || (counters.iter().any(is_key_refused) && !error(read)))
            }
            Form::WriteInTransaction(_) => is_refused_for_raise(values, 1),
            Form::InUserTransaction(_) => is_refused_for_raise(values, request.reply_count().saturating_sub(2)),
            Form::ReadBetween | Form::WriteThenRaise(_) => false,
        }
    }

    /// Returns how the request raises the counter, if it does.
    pub(super) fn raise(&self) -> Option<Raise> {
        match self.form {
            Form::WriteInTransaction(raise) | Form::WriteThenRaise(raise) | Form::InUserTransaction(raise) => {
                Some(raise)
            }
            Form::ReadInTransaction | Form::ReadBetween => None,
        }
    }
}

/// Returns whether a transaction was not executed only because of the raise in it: the user may not write its key, or the server
/// has no memory to queue it. `own`: how many replies after that to `MULTI` are to commands of the request.
fn is_refused_for_raise(values: &[Value], own: usize) -> bool {
    let refusal = |value: &Value| match value {
        Value::ServerError(error) => Some(Refusal::of(error)),
        _ => None,
    };
    let Some((Value::ServerError(exec), queued)) = values.split_last() else { return false };
    let Some((multi, queued)) = queued.split_first() else { return false };
    let is_own_queued = queued.iter().take(own).filter_map(refusal).all(|why| why == Some(Refusal::OutOfMemory));
    let is_about_fence = match Refusal::of(exec) {
        None => exec.code() == "EXECABORT",
        Some(why) => matches!(why, Refusal::OutOfMemory | Refusal::NoRights),
    };
    refusal(multi).is_none() && is_own_queued && is_about_fence
}

/// Returns whether the user may not read the counter.
fn is_key_refused(counter: &Value) -> bool {
    matches!(counter, Value::ServerError(error) if Refusal::of(error) == Some(Refusal::NoRights))
}

/// Returns the command of a renewal: it only extends the life of this fence, and raises the session's.
pub(super) fn renewal(name: u64) -> Cmd {
    Cmd::pexpire(key(name), i64::try_from(FENCE_TTL.as_millis()).unwrap_or(i64::MAX))
}

const PREFIX: &str = "redis-replicated:fence:";

/// Returns the key of a fence.
fn key(name: u64) -> String {
    format!("{PREFIX}{name:016x}")
}

/// Returns whether a key is that of a fence.
pub(super) fn is_fence_key(key: &[u8]) -> bool {
    key.starts_with(PREFIX.as_bytes())
}

/// Appends the commands that read the earlier fence and raise the counter.
fn append_raise(bytes: &mut Vec<u8>, raise: Raise) {
    if let Some(fence) = raise.before {
        Cmd::get(key(fence.name)).write_packed_command(bytes);
    }
    Cmd::incr(key(raise.name), raise.amount).write_packed_command(bytes);
    renewal(raise.name).write_packed_command(bytes);
}

/// Separates the replies to `MULTI`, `before` added commands, the request, further added commands, and `EXEC`. Returns that to
/// the request and those to the added commands, in order.
fn split_transaction(
    mut values: Vec<Value>,
    before: usize,
    greeting: Greeting,
) -> (Value, Result<Vec<Value>, FenceEvidence>) {
    let exec = values.pop().unwrap_or(Value::Nil);
    if matches!(values.first(), Some(Value::ServerError(_))) {
        // MULTI was refused: the commands ran one by one, in this order, which proves as much.
        let own = if values.len() > before + 1 { values.remove(before + 1) } else { Value::Nil };
        values.remove(0);
        return (own, Ok(values));
    }
    let refused =
        |refusal| (Value::Nil, Err(FenceEvidence::Refused { refusal: Some(refusal), executed: false, greeting }));
    for (place, value) in values.into_iter().enumerate() {
        let Value::ServerError(error) = value else { continue };
        // The request's own error is its reply, as if there had been no transaction around it.
        let is_own = place == before + 1 || Refusal::of(&error).is_some_and(Refusal::is_general);
        return if is_own { (Value::ServerError(error), Err(FenceEvidence::None)) } else { refused(error) };
    }
    match exec {
        Value::Array(mut all) if all.len() > before => {
            let value = all.remove(before);
            (value, Ok(all))
        }
        // The server was demoted meanwhile: nothing was executed.
        Value::ServerError(error) => (Value::ServerError(error), Err(FenceEvidence::None)),
        _ => (Value::Nil, Err(FenceEvidence::Refused { refusal: None, executed: true, greeting })),
    }
}

/// Separates the replies to `added` commands from those to a transaction of the user's.
fn split_user_transaction(mut values: Vec<Value>, added: usize, raise: Raise) -> (Vec<Value>, FenceEvidence) {
    let exec = values.pop().unwrap_or(Value::Nil);
    let queued = values.split_off(values.len().saturating_sub(added));
    if queued.iter().any(|value| matches!(value, Value::Int(_))) {
        // MULTI was refused: the commands ran one by one.
        values.push(exec);
        return (values, raise_evidence(raise, queued));
    }
    let (exec, evidence) = match exec {
        Value::Array(mut all) if all.len() >= added => {
            let replies = all.split_off(all.len() - added);
            (Value::Array(all), raise_evidence(raise, replies))
        }
        // A command could not be queued: nothing was executed.
        exec => (exec, FenceEvidence::None),
    };
    values.push(exec);
    (values, evidence)
}

/// Reads the replies to `GET` of the earlier fence, if there is one, the raise and `PEXPIRE`.
fn raise_evidence(raise: Raise, mut replies: Vec<Value>) -> FenceEvidence {
    let refused = |refusal| FenceEvidence::Refused { refusal, executed: true, greeting: Greeting::default() };
    let _ttl = replies.pop();
    match replies.pop() {
        Some(Value::Int(count)) => {
            let before = replies.pop().and_then(number);
            FenceEvidence::Raised { raise, count: u64::try_from(count).unwrap_or(0), before }
        }
        Some(Value::ServerError(refusal)) => refused(Some(refusal)),
        _ => refused(None),
    }
}

/// Reads the replies to `GET` of the required counters, before and after the read.
fn read_evidence(greeting: Greeting, counters: Vec<Value>, behind: Option<Vec<Value>>) -> FenceEvidence {
    let read = || Ok((counts(counters)?, behind.map(counts).transpose()?));
    match read() {
        Ok((counts, behind)) => FenceEvidence::Read { greeting, counts, behind },
        Err(refusal) => FenceEvidence::Refused { refusal: Some(refusal), executed: true, greeting },
    }
}

/// Reads the values of the required counters.
fn counts(counters: Vec<Value>) -> Result<Counts, ServerError> {
    let mut counts = counters.into_iter().map(|value| match value {
        Value::ServerError(refusal) => Err(refusal),
        value => Ok(number(value)),
    });
    let mut next = || counts.next().transpose().map(Option::flatten);
    Ok(Counts { count: next()?, second: next()? })
}

/// Reads a number; `None`: the key does not exist, or is none.
fn number(value: Value) -> Option<u64> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(&bytes).ok()?.parse().ok(),
        Value::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
