//! The requests of a shared connection, in the order in which they are sent: which of them are sent, and what has come back.
//!
//! Decides without I/O and without waiting; the lock and the two roles are in [`roles`](super::roles).

use std::collections::VecDeque;
use std::mem::{replace, take};
use std::sync::Arc;
use std::time::Instant;

use redis::Value;

use super::lock::GROUPS;
use super::transaction;
use crate::classification::Request;
use crate::replication::{INFO, InfoEvidence, NoEvidence, evidence_of};
use crate::retry::{Reply, ReplyParts};

/// Requests that may be in the queue, those of callers that left included. A server that is behind by so many does not read.
const MOST_REQUESTS: usize = 16 << 10;
/// Bytes that may wait for a writer.
const MOST_PENDING: usize = 8 << 20;
/// Room for requests that is kept from one batch to the next.
const ROOM_KEPT: usize = 64 << 10;

/// The requests of one shared connection.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Requests that no writer has taken yet: the open batch.
    pending: Vec<u8>,
    /// What the server still has to send, in order. The last `unsent` of it belong to the open batch.
    expected: VecDeque<Expected>,
    unsent: usize,
    /// How many requests are in the open batch.
    opened: usize,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// The number of the open batch. Callers of one batch wait in one group.
    batch: usize,
    /// The open batch begins with `INFO` and will end with it.
    asks_infos: bool,
    /// What the batch that is being answered said before its first read.
    before: Option<InfoEvidence>,
    /// Requests that are answered, but for the `INFO` after them.
    held: Vec<usize>,
}

/// What the server sends next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Reply(usize),
    InfoBefore,
    InfoAfter,
}

/// A request in the queue, known until its caller has taken the reply, or has left and the reply has come.
#[derive(Debug)]
struct Slot {
    group: usize,
    /// When the response limit is over.
    due: Option<Instant>,
    parts: ReplyParts,
    has_transaction: bool,
    is_between_infos: bool,
    /// The caller sleeps, rather than having a role or being about to look for one.
    is_asleep: bool,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Waiting,
    /// The caller does not wait any more. The reply is dropped when it comes.
    Left,
    /// Answered, but for the `INFO` after it.
    Held(Reply),
    Ended(Ended),
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Ended {
    Answered(Answered),
    /// The connection failed before the reply was complete.
    Failed {
        was_sent: bool,
    },
}

/// The reply to a request, and what the server said of itself before and after it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// Present if the request asked for it. The requests of a batch have it in common.
    pub(crate) infos: Option<Arc<Infos>>,
}

/// What the server said of itself before and after the requests of a batch.
#[derive(Debug)]
pub(crate) struct Infos {
    pub(crate) before: InfoEvidence,
    pub(crate) after: InfoEvidence,
}

/// What the queue has to know of a request beside its replies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The server says before and after it what it contains.
    pub(super) between_infos: bool,
    pub(super) has_transaction: bool,
}

/// A request in the queue, for its caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(usize);

/// The groups of callers that are to be woken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wakes {
    pub(super) all: u32,
    pub(super) one: Option<usize>,
}

/// The server did not keep to the protocol: nobody can know to whom its replies belong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Disorder {
    /// It sent more than it was asked for.
    TooMuch,
    /// It may still be in a transaction, so that it would only queue the requests of others.
    OpenTransaction,
}

impl Queue {
    /// Adds a request to the open batch. `due`: when its response limit is over. Returns `None` if the queue is full.
    #[inline]
    pub(super) fn append(
        &mut self,
        request: &Request<'_>,
        Form { between_infos, has_transaction }: Form,
        due: Option<Instant>,
    ) -> Option<Ticket> {
        if self.expected.len() >= MOST_REQUESTS || self.pending.len() + request.bytes.len() > MOST_PENDING {
            return None;
        }
        if between_infos && !replace(&mut self.asks_infos, true) {
            self.pending.extend_from_slice(INFO);
            self.push_expected(Expected::InfoBefore);
        }
        self.pending.extend_from_slice(request.bytes);
        let slot = Slot {
            group: self.batch % GROUPS,
            due,
            parts: ReplyParts::new(request.replies),
            has_transaction,
            is_between_infos: between_infos,
            is_asleep: false,
            progress: Progress::Waiting,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.push_expected(Expected::Reply(index));
        self.opened += 1;
        Some(Ticket(index))
    }

    fn push_expected(&mut self, expected: Expected) {
        self.expected.push_back(expected);
        self.unsent += 1;
    }

    /// Gives the open batch to a writer, whose own room is empty, and opens the next one. Returns the number of requests in it.
    pub(super) fn give_batch(&mut self, room: &mut Vec<u8>) -> usize {
        if take(&mut self.asks_infos) {
            self.pending.extend_from_slice(INFO);
            self.push_expected(Expected::InfoAfter);
        }
        room.clear();
        room.shrink_to(ROOM_KEPT);
        std::mem::swap(&mut self.pending, room);
        self.unsent = 0;
        self.batch = self.batch.wrapping_add(1);
        take(&mut self.opened)
    }

    /// Returns whether a batch waits for a writer.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    /// Returns whether the server owes a reply.
    #[inline]
    pub(super) fn has_unanswered(&self) -> bool {
        self.expected.len() > self.unsent
    }

    /// Returns whether there are requests beside this one.
    pub(super) fn is_shared(&self) -> bool {
        self.requests() > 1
    }

    /// Returns whether a caller waits for a reply.
    pub(super) fn has_callers(&self) -> bool {
        self.requests() > 0 && self.slots.iter().any(|slot| !matches!(slot.progress, Progress::Left))
    }

    fn requests(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns whether the oldest request has waited for longer than its response limit.
    #[inline]
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let held = self.held.first().and_then(|index| self.slots.get(*index));
        let oldest = held.or_else(|| self.expected.iter().find_map(|expected| self.slot_of(*expected)));
        oldest.is_some_and(|slot| slot.due.is_some_and(|due| due <= now))
    }

    /// Takes replies in, each for the request that it belongs to.
    pub(super) fn deliver(&mut self, values: impl Iterator<Item = Value>, wakes: &mut Wakes) -> Result<(), Disorder> {
        for value in values {
            if !self.has_unanswered() {
                return Err(Disorder::TooMuch);
            }
            match self.expected.front().copied() {
                Some(Expected::Reply(index)) => self.deliver_to(index, value, wakes)?,
                Some(Expected::InfoBefore) => {
                    self.expected.pop_front();
                    self.before = Some(evidence_of(value));
                }
                Some(Expected::InfoAfter) => {
                    self.expected.pop_front();
                    self.release_held(evidence_of(value), wakes);
                }
                None => return Err(Disorder::TooMuch),
            }
        }
        Ok(())
    }

    fn deliver_to(&mut self, index: usize, value: Value, wakes: &mut Wakes) -> Result<(), Disorder> {
        let Some(slot) = self.slots.get_mut(index) else { return Err(Disorder::TooMuch) };
        let Some(reply) = slot.parts.add(value) else { return Ok(()) };
        let stays_open = slot.has_transaction && transaction::may_be_open(&reply);
        let is_between_infos = slot.is_between_infos;
        self.expected.pop_front();
        if is_between_infos {
            self.advance(index, Progress::Held(reply));
            self.held.push(index);
        } else {
            self.advance(index, Progress::Ended(Ended::Answered(Answered { reply, infos: None })));
            self.report(index, wakes);
        }
        if stays_open { Err(Disorder::OpenTransaction) } else { Ok(()) }
    }

    /// Ends the requests that only lacked the `INFO` after them.
    fn release_held(&mut self, after: InfoEvidence, wakes: &mut Wakes) {
        let before = self.before.take().unwrap_or_else(|| Err(NoEvidence::default()));
        let infos = Arc::new(Infos { before, after });
        let mut held = take(&mut self.held);
        for index in held.drain(..) {
            if let Some(slot) = self.slots.get_mut(index)
                && let Progress::Held(reply) = &mut slot.progress
            {
                let infos = Some(Arc::clone(&infos));
                slot.progress = Progress::Ended(Ended::Answered(Answered { reply: take(reply), infos }));
            }
            self.report(index, wakes);
        }
        // Keeps its room.
        self.held = held;
    }

    /// Sets the progress of a request, unless its caller has left.
    fn advance(&mut self, index: usize, progress: Progress) {
        if let Some(slot) = self.slots.get_mut(index)
            && !matches!(slot.progress, Progress::Left)
        {
            slot.progress = progress;
        }
    }

    /// Wakes the caller of a request that has ended, or forgets the request if the caller has left.
    fn report(&mut self, index: usize, wakes: &mut Wakes) {
        let Some(slot) = self.slots.get(index) else { return };
        match slot.progress {
            Progress::Left => self.free.push(index),
            _ => wakes.all |= 1 << slot.group,
        }
    }

    /// Ends the requests that are not sent, because no more can be sent.
    pub(super) fn fail_unsent(&mut self, wakes: &mut Wakes) {
        let unsent = self.expected.split_off(self.expected.len() - self.unsent);
        for expected in unsent {
            if let Expected::Reply(index) = expected {
                self.advance(index, Progress::Ended(Ended::Failed { was_sent: false }));
                self.report(index, wakes);
            }
        }
        (self.unsent, self.opened, self.asks_infos) = (0, 0, false);
        self.pending = Vec::new();
    }

    /// Ends all requests, because the connection failed.
    pub(super) fn fail(&mut self, wakes: &mut Wakes) {
        self.fail_unsent(wakes);
        let sent = take(&mut self.expected).into_iter().filter_map(|expected| match expected {
            Expected::Reply(index) => Some(index),
            Expected::InfoBefore | Expected::InfoAfter => None,
        });
        for index in take(&mut self.held).into_iter().chain(sent) {
            self.advance(index, Progress::Ended(Ended::Failed { was_sent: true }));
            self.report(index, wakes);
        }
    }

    /// Returns whether the request has ended and its caller may take what became of it.
    #[inline]
    pub(super) fn is_over(&self, ticket: Ticket) -> bool {
        self.slots.get(ticket.0).is_some_and(|slot| matches!(slot.progress, Progress::Ended(_)))
    }

    /// Takes what became of a request.
    #[inline]
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Ended> {
        if !self.is_over(ticket) {
            return None;
        }
        let slot = self.slots.get_mut(ticket.0)?;
        let Progress::Ended(ended) = replace(&mut slot.progress, Progress::Left) else { return None };
        self.free.push(ticket.0);
        Some(ended)
    }

    /// Records that the caller of a request does not wait any more. Returns whether its response limit is over.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(slot) = self.slots.get_mut(ticket.0) else { return false };
        slot.progress = Progress::Left;
        slot.due.is_some_and(|due| due <= now)
    }

    /// Records that the caller of a request begins to sleep. Returns the group in which it does.
    pub(super) fn fall_asleep(&mut self, ticket: Ticket) -> usize {
        self.slots.get_mut(ticket.0).map_or(0, |slot| {
            slot.is_asleep = true;
            slot.group
        })
    }

    /// Records that the caller of a request does not sleep any more.
    pub(super) fn wake_up(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(ticket.0) {
            slot.is_asleep = false;
        }
    }

    /// Returns the group of the oldest request whose caller sleeps. All others will look for a role by themselves.
    pub(super) fn first_asleep(&self) -> Option<usize> {
        let held = self.held.iter().filter_map(|index| self.slots.get(*index));
        let expected = self.expected.iter().filter_map(|expected| self.slot_of(*expected));
        let mut waiting = held.chain(expected).filter(|slot| !matches!(slot.progress, Progress::Left));
        waiting.find(|slot| slot.is_asleep).map(|slot| slot.group)
    }

    fn slot_of(&self, expected: Expected) -> Option<&Slot> {
        match expected {
            Expected::Reply(index) => self.slots.get(index),
            Expected::InfoBefore | Expected::InfoAfter => None,
        }
    }
}

#[cfg(test)]
mod tests;
