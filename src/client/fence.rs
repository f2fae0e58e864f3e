//! How a request is sent so that a counter among the data proves what its reply contains, and how the reply is unwrapped.

use std::time::Duration;

use redis::{Cmd, ServerError, Value};

use super::envelope::{Confirmed, EXEC, MULTI, append_wait, count_of, fold, refuses_transaction};
use crate::classification::{Block, Request, TransactionStep};
use crate::consistency::{FENCE_LIVES, Fence, Passed, Raise};
use crate::node::Role;
use crate::pool::role_in_greeting;
use crate::routing::{Refusal, Reply};

const HELLO: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";

/// A request with a fence around it, in one piece.
#[derive(Debug)]
pub(super) struct Fenced {
    bytes: Vec<u8>,
    form: Form,
    /// How many replies come before and behind those of the request.
    before: usize,
    behind: usize,
    /// The longest wait for replicas to confirm a write.
    wait: Option<Duration>,
}

/// Where the counter is read or raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `HELLO`, `MULTI`, the counter, the read, `EXEC`.
    ReadWithin,
    /// `HELLO`, the counter, the reads: they may see more than it says, never less.
    ReadBehind,
    /// `MULTI`, the fence before, the write, the raise, `EXEC`.
    WriteWithin(Raise),
    /// The fence before, the writes, the raise.
    WriteBefore(Raise),
    /// A transaction of the user's: the raise stands before its `EXEC`.
    Inside(Raise),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct OpenedFence {
    pub(super) reply: Reply,
    pub(super) word: Word,
    /// How many replicas confirmed it.
    pub(super) confirmed: Option<Confirmed>,
    /// The transaction around the read was refused, and the read with it.
    pub(super) is_spoiled: bool,
}

/// What the reply says of the fence.
#[derive(Debug)]
pub(super) enum Word {
    /// Nothing was executed.
    None,
    Passed(Passed),
    /// Where the counter stands now, and where the one before stands.
    Raised {
        raise: Raise,
        count: u64,
        before: Option<u64>,
    },
    /// The counter could not be read or raised; `executed`: the request was executed all the same.
    Refused {
        refusal: Option<ServerError>,
        executed: bool,
    },
}

impl Fenced {
    /// Puts a read behind a fence. `is_pinned`: an `EXEC` would end what is watched.
    pub(super) fn read(request: &Request<'_>, fence: Option<Fence>, is_pinned: bool) -> Self {
        let within = request.is_single() && request.block == Block::No && !is_pinned;
        let mut bytes = HELLO.to_vec();
        if within {
            bytes.extend_from_slice(MULTI);
        }
        // Where nothing was written yet, any number will do.
        Cmd::get(key(fence.map_or(0, |fence| fence.name))).write_packed_command(&mut bytes);
        bytes.extend_from_slice(request.bytes);
        if within {
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::ReadWithin, before: 3, behind: 1, wait: None };
        }
        Self { bytes, form: Form::ReadBehind, before: 2, behind: 0, wait: None }
    }

    /// Returns the form without a transaction, if this one has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>, fence: Option<Fence>) -> Option<Self> {
        (self.form == Form::ReadWithin).then(|| Self::read(request, fence, true))
    }

    /// Has a write raise a fence.
    pub(super) fn write(request: &Request<'_>, raise: Raise, is_pinned: bool) -> Self {
        let within = request.is_single() && request.block == Block::No && !is_pinned;
        let exec = request.bytes.strip_suffix(EXEC);
        let is_exec = request.is_transaction() || request.step() == Some(TransactionStep::Exec);
        let mut bytes = Vec::with_capacity(request.bytes.len() + 256);
        let mut before = 0;
        if within && !is_exec {
            bytes.extend_from_slice(MULTI);
            before += 1;
        }
        let looks_back = raise.before.filter(|_| !is_exec);
        if let Some(fence) = looks_back {
            Cmd::get(key(fence.name)).write_packed_command(&mut bytes);
            before += 1;
        }
        match exec.filter(|_| is_exec) {
            Some(rest) => {
                bytes.extend_from_slice(rest);
                let mut count = 2;
                if let Some(fence) = raise.before {
                    Cmd::get(key(fence.name)).write_packed_command(&mut bytes);
                    count += 1;
                }
                raise_in(&mut bytes, raise.name);
                bytes.extend_from_slice(EXEC);
                Self { bytes, form: Form::Inside(raise), before: count, behind: 0, wait: None }
            }
            None => {
                bytes.extend_from_slice(request.bytes);
                raise_in(&mut bytes, raise.name);
                if within {
                    bytes.extend_from_slice(EXEC);
                    return Self { bytes, form: Form::WriteWithin(raise), before, behind: 3, wait: None };
                }
                Self { bytes, form: Form::WriteBefore(raise), before, behind: 2, wait: None }
            }
        }
    }

    /// Waits until so many replicas have confirmed the write, for so long.
    pub(super) fn confirmed_by(mut self, replicas: u32, limit: Duration) -> Self {
        append_wait(&mut self.bytes, replicas, limit);
        self.wait = Some(limit);
        self
    }

    /// The request as it is sent.
    pub(super) fn sealed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let replies = self.before + request.reply_count() + self.behind + usize::from(self.wait.is_some());
        request.within(&self.bytes, replies, self.wait.map_or(Block::No, Block::bounded))
    }

    /// Takes the replies that belong to the fence out.
    pub(super) fn open(&self, request: &Request<'_>, reply: Reply) -> OpenedFence {
        let mut values = match reply {
            Reply::One(value) => vec![value],
            Reply::Many { kept, .. } => kept,
        };
        let confirmed = if self.wait.is_some() { values.pop().map(count_of) } else { None };
        // Without MULTI, they ran one by one, which proves as much.
        let has_begun = |values: &[Value]| !matches!(values.get(1), Some(Value::ServerError(_)));
        let is_spoiled =
            self.form == Form::ReadWithin && has_begun(&values) && values.get(1..).is_some_and(refuses_transaction);
        let (values, word) = match self.form {
            Form::ReadWithin => {
                let role = values.drain(..1).next();
                let (value, rest) = unfold(values, 1);
                (vec![value], rest.map_or_else(|word| word, |mut rest| passed(role, rest.pop())))
            }
            Form::ReadBehind => {
                let rest = values.split_off(2.min(values.len()));
                let count = values.pop();
                (rest, passed(values.pop(), count))
            }
            Form::WriteWithin(raise) => {
                let looks = usize::from(raise.before.is_some());
                let (value, rest) = unfold(values, looks);
                (vec![value], rest.map_or_else(|word| word, |rest| raised(raise, rest)))
            }
            Form::WriteBefore(raise) => {
                let mut told: Vec<Value> = values.drain(..self.before.min(values.len())).collect();
                told.extend(values.drain(values.len().saturating_sub(self.behind)..));
                (values, raised(raise, told))
            }
            Form::Inside(raise) => inside(values, self.before, raise),
        };
        OpenedFence { reply: fold(request, values), word, confirmed, is_spoiled }
    }
}

/// A write that does nothing but raise the fence.
pub(super) fn touch(fence: Fence) -> Cmd {
    Cmd::pexpire(key(fence.name), i64::try_from(FENCE_LIVES.as_millis()).unwrap_or(i64::MAX))
}

fn key(name: u64) -> String {
    format!("redis-replicated:fence:{name:016x}")
}

fn raise_in(bytes: &mut Vec<u8>, name: u64) {
    Cmd::incr(key(name), 1).write_packed_command(bytes);
    touch(Fence { name, count: 0 }).write_packed_command(bytes);
}

/// Takes the value out of the replies to `MULTI`, so many questions before it, the request, those behind it, and `EXEC`.
/// Returns the replies to the questions, in order.
fn unfold(mut values: Vec<Value>, before: usize) -> (Value, Result<Vec<Value>, Word>) {
    let exec = values.pop().unwrap_or(Value::Nil);
    if matches!(values.first(), Some(Value::ServerError(_))) {
        // No MULTI: they ran one by one, in this order, which proves as much.
        let own = if values.len() > before + 1 { values.remove(before + 1) } else { Value::Nil };
        values.remove(0);
        return (own, Ok(values));
    }
    let refused = |refusal| (Value::Nil, Err(Word::Refused { refusal: Some(refusal), executed: false }));
    for (place, value) in values.into_iter().enumerate() {
        let Value::ServerError(error) = value else { continue };
        // The request's own error is its reply, as if there had been no transaction around it.
        let is_own = place == before + 1 || Refusal::of(&error).is_some_and(Refusal::is_general);
        return if is_own { (Value::ServerError(error), Err(Word::None)) } else { refused(error) };
    }
    match exec {
        Value::Array(mut all) if all.len() > before => {
            let value = all.remove(before);
            (value, Ok(all))
        }
        // Demoted meanwhile: nothing was executed.
        Value::ServerError(error) => (Value::ServerError(error), Err(Word::None)),
        _ => (Value::Nil, Err(Word::Refused { refusal: None, executed: true })),
    }
}

/// Takes the raise out of a transaction of the user's.
fn inside(mut values: Vec<Value>, questions: usize, raise: Raise) -> (Vec<Value>, Word) {
    let exec = values.pop().unwrap_or(Value::Nil);
    let told = values.split_off(values.len().saturating_sub(questions));
    if told.iter().any(|value| matches!(value, Value::Int(_))) {
        // No MULTI: all of it ran one by one.
        values.push(exec);
        return (values, raised(raise, told));
    }
    let refusal =
        told.into_iter().find_map(|value| if let Value::ServerError(error) = value { Some(error) } else { None });
    let (exec, word) = match (exec, refusal) {
        (Value::Array(mut all), _) if all.len() >= questions => {
            let told = all.split_off(all.len() - questions);
            (Value::Array(all), raised(raise, told))
        }
        // The user's own commands were queued: the fence alone spoilt it.
        (Value::ServerError(_), Some(refusal))
            if !values.iter().any(|value| matches!(value, Value::ServerError(_))) =>
        {
            (Value::Nil, Word::Refused { refusal: Some(refusal), executed: false })
        }
        // What was watched has changed, or it was not queued whole: nothing was executed.
        (exec, _) => (exec, Word::None),
    };
    values.push(exec);
    (values, word)
}

/// Reads the replies to the raise; before it, those to the question for the fence before.
fn raised(raise: Raise, mut told: Vec<Value>) -> Word {
    let _ttl = told.pop();
    let count = told.pop();
    let before = told.pop();
    match count {
        Some(Value::Int(count)) => {
            Word::Raised { raise, count: u64::try_from(count).unwrap_or(0), before: before.and_then(number) }
        }
        Some(Value::ServerError(refusal)) => Word::Refused { refusal: Some(refusal), executed: true },
        _ => Word::Refused { refusal: None, executed: true },
    }
}

fn passed(role: Option<Value>, count: Option<Value>) -> Word {
    let is_master = role.as_ref().and_then(role_in_greeting) == Some(Role::Master);
    match count {
        Some(Value::ServerError(refusal)) => Word::Refused { refusal: Some(refusal), executed: true },
        count => Word::Passed(Passed { is_master, count: count.and_then(number) }),
    }
}

fn number(value: Value) -> Option<u64> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(&bytes).ok()?.parse().ok(),
        Value::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
