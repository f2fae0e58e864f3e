//! How a request is sent so that a counter among the data proves what its reply contains, and how the reply is unwrapped.

use std::time::Duration;

use redis::{Cmd, ServerError, Value};

use super::info_request::{Confirmed, EXEC, MULTI, append_wait, count_of, fold, refuses_transaction};
use super::state::{FENCE_LIVES, Raise, Requirement};
use crate::classification::{Block, Request};
use crate::pool::{replicates_without_order, role_in_greeting};
use crate::replication::Role;
use crate::retry::{Refusal, Reply};

const HELLO: &[u8] = b"*1\r\n$5\r\nHELLO\r\n";

/// A request with a fence around it, in one piece.
#[derive(Debug)]
pub(super) struct FenceRequest {
    bytes: Vec<u8>,
    form: Form,
    /// How many replies come before and behind those of the request.
    before: usize,
    behind: usize,
    /// So many replicas are to confirm a write, within that time.
    wait: Option<(u32, Duration)>,
}

/// Where the counter is read or raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `HELLO`, `MULTI`, the counter, the read, `EXEC`.
    ReadWithin,
    /// `HELLO`, the counter, the reads, the counter: what a full resync brings in between is seen by the second one.
    ReadBetween,
    /// `MULTI`, the write, the fence before, the raise, `EXEC`.
    WriteWithin(Raise),
    /// The writes, the fence before, the raise.
    WriteBefore(Raise),
    /// A transaction of the user's: the raise stands before its `EXEC`.
    Inside(Raise),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct UnpackedFence {
    pub(super) reply: Reply,
    pub(super) evidence: FenceEvidence,
    /// How many replicas confirmed it.
    pub(super) confirmed: Option<Confirmed>,
    /// Nothing was executed, only because of what was put around the request.
    pub(super) is_refused_in_this_form: bool,
}

/// What the reply says of the fence.
#[derive(Debug)]
pub(crate) enum FenceEvidence {
    /// Nothing was executed.
    None,
    /// Where the counters stand before the read and, if that is another moment, behind it.
    Passed { greeted: Greeted, counts: Counts, behind: Option<Counts> },
    /// Where the counter stands now, and where the one before stands.
    Raised { raise: Raise, count: u64, before: Option<u64> },
    /// The counter could not be read or raised; `executed`: the request was executed all the same.
    Refused { refusal: Option<ServerError>, executed: bool, greeted: Greeted },
}

/// Where the counters stand that a read asks for; `None`: it is not there, or was not asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(super) count: Option<u64>,
    pub(super) open: Option<u64>,
}

/// What a server says of itself beside a read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Greeted {
    pub(super) is_master: bool,
    /// Its replicas do not apply what it writes in its order: a fence on them proves nothing.
    pub(super) is_unordered: bool,
}

impl Greeted {
    fn of(greeting: Option<&Value>) -> Self {
        Self {
            is_master: greeting.and_then(role_in_greeting) == Some(Role::Master),
            is_unordered: greeting.is_some_and(replicates_without_order),
        }
    }
}

impl FenceRequest {
    /// Puts a read behind what it has to contain. `is_pinned`: an `EXEC` would end what is watched.
    pub(super) fn read(request: &Request<'_>, requirement: &Requirement, is_pinned: bool) -> Self {
        let within = request.is_single() && !request.blocks() && !is_pinned;
        // Where nothing was written yet, any number will do.
        let mut counters = Cmd::get(key(requirement.seen.fence().map_or(0, |fence| fence.name))).get_packed_command();
        if let Some(open) = requirement.open {
            Cmd::get(key(open.name)).write_packed_command(&mut counters);
        }
        let asked = 1 + usize::from(requirement.open.is_some());
        let mut bytes = HELLO.to_vec();
        if within {
            bytes.extend_from_slice(MULTI);
        }
        bytes.extend_from_slice(&counters);
        bytes.extend_from_slice(request.bytes);
        if within {
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::ReadWithin, before: 2 + asked, behind: 1, wait: None };
        }
        bytes.extend_from_slice(&counters);
        Self { bytes, form: Form::ReadBetween, before: 1 + asked, behind: asked, wait: None }
    }

    /// Returns the form without a transaction of its own, if this one has one.
    pub(super) fn without_transaction(&self, request: &Request<'_>, requirement: &Requirement) -> Option<Self> {
        match self.form {
            Form::ReadWithin => Some(Self::read(request, requirement, true)),
            Form::WriteWithin(raise) | Form::Inside(raise) => {
                let plain = Self::write(request, raise, true);
                Some(match self.wait {
                    Some((replicas, limit)) => plain.confirmed_by(replicas, limit),
                    None => plain,
                })
            }
            Form::ReadBetween | Form::WriteBefore(_) => None,
        }
    }

    /// Has a write raise a fence. `is_pinned`: a transaction that fails because of it could not be had again.
    pub(super) fn write(request: &Request<'_>, raise: Raise, is_pinned: bool) -> Self {
        let mut bytes = Vec::with_capacity(request.bytes.len() + 256);
        let questions = 2 + usize::from(raise.before.is_some());
        if let Some(rest) = request.bytes.strip_suffix(EXEC).filter(|_| request.is_transaction() && !is_pinned) {
            bytes.extend_from_slice(rest);
            raise_in(&mut bytes, raise);
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::Inside(raise), before: questions, behind: 0, wait: None };
        }
        let within = request.is_single() && !request.blocks() && !is_pinned;
        if within {
            bytes.extend_from_slice(MULTI);
        }
        bytes.extend_from_slice(request.bytes);
        raise_in(&mut bytes, raise);
        if within {
            bytes.extend_from_slice(EXEC);
            return Self { bytes, form: Form::WriteWithin(raise), before: 1, behind: questions + 1, wait: None };
        }
        Self { bytes, form: Form::WriteBefore(raise), before: 0, behind: questions, wait: None }
    }

    /// Waits until so many replicas have confirmed the write, for so long.
    pub(super) fn confirmed_by(mut self, replicas: u32, limit: Duration) -> Self {
        append_wait(&mut self.bytes, replicas, limit);
        self.wait = Some((replicas, limit));
        self
    }

    /// The request as it is sent.
    pub(super) fn packed<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let replies = self.before + request.reply_count() + self.behind + usize::from(self.wait.is_some());
        request.within(&self.bytes, replies, self.wait.map_or(Block::No, |(_, limit)| Block::bounded(limit)))
    }

    /// Takes the replies that belong to the fence out.
    pub(super) fn unpack(&self, request: &Request<'_>, reply: Reply) -> UnpackedFence {
        let mut values = match reply {
            Reply::One(value) => vec![value],
            Reply::Many { kept, .. } => kept,
        };
        let confirmed = if self.wait.is_some() { values.pop().map(count_of) } else { None };
        let is_refused_in_this_form = self.is_refused_in_this_form(request, &values);
        let (values, evidence) = match self.form {
            Form::ReadWithin => {
                let greeted = Greeted::of(values.drain(..1.min(values.len())).next().as_ref());
                let (value, rest) = unfold(values, self.before - 2, greeted);
                (vec![value], rest.map_or_else(|evidence| evidence, |rest| passed(greeted, rest, None)))
            }
            Form::ReadBetween => {
                let behind = values.split_off(values.len().saturating_sub(self.behind));
                let rest = values.split_off(self.before.min(values.len()));
                let counters = values.split_off(1.min(values.len()));
                (rest, passed(Greeted::of(values.first()), counters, Some(behind)))
            }
            Form::WriteWithin(raise) => {
                let (value, rest) = unfold(values, 0, Greeted::default());
                (vec![value], rest.map_or_else(|evidence| evidence, |rest| raised(raise, rest)))
            }
            Form::WriteBefore(raise) => {
                let told = values.split_off(values.len().saturating_sub(self.behind));
                (values, raised(raise, told))
            }
            Form::Inside(raise) => inside(values, self.before, raise),
        };
        UnpackedFence { reply: fold(request, values), evidence, confirmed, is_refused_in_this_form }
    }

    /// Returns whether nothing was executed, only because of what was put around the request.
    fn is_refused_in_this_form(&self, request: &Request<'_>, values: &[Value]) -> bool {
        let error = |value: &Value| matches!(value, Value::ServerError(_));
        match self.form {
            Form::ReadWithin => {
                let Some(values @ [multi, counters @ .., read, _]) = values.get(1..) else { return false };
                // Without MULTI, they ran one by one, which proves as much.
                !error(multi) && (refuses_transaction(values) || (counters.iter().any(refuses_key) && !error(read)))
            }
            Form::WriteWithin(_) => spoils_write(values, 1),
            Form::Inside(_) => spoils_write(values, request.reply_count().saturating_sub(2)),
            Form::ReadBetween | Form::WriteBefore(_) => false,
        }
    }

    /// How the counter is raised, if it is.
    pub(super) fn raise(&self) -> Option<Raise> {
        match self.form {
            Form::WriteWithin(raise) | Form::WriteBefore(raise) | Form::Inside(raise) => Some(raise),
            Form::ReadWithin | Form::ReadBetween => None,
        }
    }
}

/// Returns whether a transaction with a raise was not executed, though the request itself, of which `own` replies are
/// acknowledgements, could be queued: the user may not touch the key, or there is no memory left, without which a server queues
/// nothing.
fn spoils_write(values: &[Value], own: usize) -> bool {
    let refusal = |value: &Value| match value {
        Value::ServerError(error) => Some(Refusal::of(error)),
        _ => None,
    };
    let Some((Value::ServerError(exec), queued)) = values.split_last() else { return false };
    let Some((multi, queued)) = queued.split_first() else { return false };
    let may_own_pass = queued.iter().take(own).filter_map(refusal).all(|why| why == Some(Refusal::OutOfMemory));
    let is_about_fence = match Refusal::of(exec) {
        None => exec.code() == "EXECABORT",
        Some(why) => matches!(why, Refusal::OutOfMemory | Refusal::NoRights),
    };
    refusal(multi).is_none() && may_own_pass && is_about_fence
}

/// Returns whether the user may not read the counter.
fn refuses_key(counter: &Value) -> bool {
    matches!(counter, Value::ServerError(error) if Refusal::of(error) == Some(Refusal::NoRights))
}

/// A write that does nothing but raise the session's fence: it lets the one of this name live on.
pub(super) fn touch(name: u64) -> Cmd {
    Cmd::pexpire(key(name), i64::try_from(FENCE_LIVES.as_millis()).unwrap_or(i64::MAX))
}

const PREFIX: &str = "redis-replicated:fence:";

fn key(name: u64) -> String {
    format!("{PREFIX}{name:016x}")
}

/// Returns whether a key is that of a fence.
pub(super) fn is_fence(key: &[u8]) -> bool {
    key.starts_with(PREFIX.as_bytes())
}

fn raise_in(bytes: &mut Vec<u8>, raise: Raise) {
    if let Some(fence) = raise.before {
        Cmd::get(key(fence.name)).write_packed_command(bytes);
    }
    Cmd::incr(key(raise.name), raise.amount).write_packed_command(bytes);
    touch(raise.name).write_packed_command(bytes);
}

/// Takes the value out of the replies to `MULTI`, so many questions before it, the request, those behind it, and `EXEC`.
/// Returns the replies to the questions, in order.
fn unfold(mut values: Vec<Value>, before: usize, greeted: Greeted) -> (Value, Result<Vec<Value>, FenceEvidence>) {
    let exec = values.pop().unwrap_or(Value::Nil);
    if matches!(values.first(), Some(Value::ServerError(_))) {
        // No MULTI: they ran one by one, in this order, which proves as much.
        let own = if values.len() > before + 1 { values.remove(before + 1) } else { Value::Nil };
        values.remove(0);
        return (own, Ok(values));
    }
    let refused =
        |refusal| (Value::Nil, Err(FenceEvidence::Refused { refusal: Some(refusal), executed: false, greeted }));
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
        // Demoted meanwhile: nothing was executed.
        Value::ServerError(error) => (Value::ServerError(error), Err(FenceEvidence::None)),
        _ => (Value::Nil, Err(FenceEvidence::Refused { refusal: None, executed: true, greeted })),
    }
}

/// Takes the raise out of a transaction of the user's.
fn inside(mut values: Vec<Value>, questions: usize, raise: Raise) -> (Vec<Value>, FenceEvidence) {
    let exec = values.pop().unwrap_or(Value::Nil);
    let told = values.split_off(values.len().saturating_sub(questions));
    if told.iter().any(|value| matches!(value, Value::Int(_))) {
        // No MULTI: all of it ran one by one.
        values.push(exec);
        return (values, raised(raise, told));
    }
    let (exec, word) = match exec {
        Value::Array(mut all) if all.len() >= questions => {
            let told = all.split_off(all.len() - questions);
            (Value::Array(all), raised(raise, told))
        }
        // It was not queued whole: nothing was executed.
        exec => (exec, FenceEvidence::None),
    };
    values.push(exec);
    (values, word)
}

/// Reads the replies to the raise; before it, that to the question for the fence before.
fn raised(raise: Raise, mut told: Vec<Value>) -> FenceEvidence {
    let refused = |refusal| FenceEvidence::Refused { refusal, executed: true, greeted: Greeted::default() };
    let _ttl = told.pop();
    match told.pop() {
        Some(Value::Int(count)) => {
            let before = told.pop().and_then(number);
            FenceEvidence::Raised { raise, count: u64::try_from(count).unwrap_or(0), before }
        }
        Some(Value::ServerError(refusal)) => refused(Some(refusal)),
        _ => refused(None),
    }
}

fn passed(greeted: Greeted, counters: Vec<Value>, behind: Option<Vec<Value>>) -> FenceEvidence {
    let read = || Ok((counts(counters)?, behind.map(counts).transpose()?));
    match read() {
        Ok((counts, behind)) => FenceEvidence::Passed { greeted, counts, behind },
        Err(refusal) => FenceEvidence::Refused { refusal: Some(refusal), executed: true, greeted },
    }
}

fn counts(counters: Vec<Value>) -> Result<Counts, ServerError> {
    let mut counts = counters.into_iter().map(|value| match value {
        Value::ServerError(refusal) => Err(refusal),
        value => Ok(number(value)),
    });
    let mut next = || counts.next().transpose().map(Option::flatten);
    Ok(Counts { count: next()?, open: next()? })
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
