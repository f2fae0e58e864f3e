//! The two roles on a shared connection, and how its callers hand them over.
//!
//! Whoever finds no writer writes the open batch, and whoever finds no reader reads, for itself and for all others. To have a
//! role is to own that half of the connection; it is handed over by putting the half back and waking a caller that waits. So
//! there is no thread beside the callers, and no lock is held across I/O.
//!
//! One rule keeps every caller from waiting for ever: a caller that goes, for whatever reason, wakes another one if a half
//! lies idle that has work ([`State::idle_role`]).

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, Value};

use super::batches::Batches;
use super::lock::Lock;
use super::queue::{Answered, Disorder, Ended, Form, Queue, Ticket, Wakes};
use crate::classification::Request;

/// A caller that has waited in its role for this long looks whether the other role has work and nobody.
const LOOKS_AROUND: Duration = Duration::from_millis(50);

/// The half that sends.
pub(super) trait Sender {
    /// Returns the room for the next batch. Everything before must be sent.
    fn room(&mut self) -> &mut Vec<u8>;

    /// Returns whether all that was put into the room is sent.
    fn is_done(&self) -> bool;

    /// Sends what is left, by `end`. When the time is over, a later call continues.
    fn send(&mut self, end: Option<Instant>) -> RedisResult<()>;

    /// Sends nothing more. What the server has sent can still be received.
    fn shut(&mut self);
}

/// The half that receives.
pub(super) trait Receiver {
    /// Waits for the next reply, by `end`, and takes those that came with it. When the time is over, a later call continues.
    fn receive(&mut self, end: Option<Instant>) -> RedisResult<()>;

    /// Returns what was received.
    fn received(&mut self) -> &mut Vec<Value>;

    /// Ends the connection, for the other half too.
    fn shut(&mut self);
}

/// A connection that many callers share.
pub(super) struct Roles<S: Sender, R: Receiver, L: Lock<State<S, R>>> {
    state: L,
    made: Instant,
    /// When the last reply came, in nanoseconds since `made`; 0 before the first one.
    answered: AtomicU64,
    batches: Arc<Batches>,
    halves: PhantomData<fn() -> (S, R)>,
}

/// What the lock protects.
pub(super) struct State<S, R> {
    queue: Queue,
    /// When the first request of the open batch came.
    opened_at: Option<Instant>,
    /// `None`: a caller has it.
    sender: Option<S>,
    /// `None`: a caller has it.
    receiver: Option<R>,
    failure: Option<RedisError>,
}

/// The times of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: Instant,
    /// When the caller leaves.
    pub(super) end: Option<Instant>,
    /// When the response limit is over. The connection takes nothing new from then on.
    pub(super) due: Option<Instant>,
}

/// Why a request has no reply.
#[derive(Debug)]
pub(super) enum NoReply {
    /// The connection takes no requests any more, or its queue is full: nothing was sent.
    NotTaken,
    /// The connection failed.
    Failed { was_sent: bool, cause: RedisError },
    /// The caller's time is over. `is_overdue`: so is the response limit.
    TimeOver { is_overdue: bool },
}

/// The half that a caller has. Should the caller's code panic, the connection fails: nobody would ever get the half again.
struct Held<'a, S: Sender, R: Receiver, L: Lock<State<S, R>>> {
    roles: &'a Roles<S, R, L>,
    sender: Option<S>,
    receiver: Option<R>,
}

impl<S: Sender, R: Receiver, L: Lock<State<S, R>>> Roles<S, R, L> {
    pub(super) fn new(sender: S, receiver: R, batches: Arc<Batches>) -> Self {
        let (queue, sender, receiver) = (Queue::default(), Some(sender), Some(receiver));
        let state = State { queue, opened_at: None, sender, receiver, failure: None };
        let (answered, made) = (AtomicU64::new(0), Instant::now());
        Self { state: L::new(state), made, answered, batches, halves: PhantomData }
    }

    /// Returns whether callers wait for replies.
    pub(super) fn is_in_use(&self) -> bool {
        self.state.lock().queue.has_callers()
    }

    /// Returns when the last reply came, if any has.
    #[inline]
    pub(super) fn answered(&self) -> Option<Instant> {
        let nanos = self.answered.load(Ordering::Relaxed);
        (nanos > 0).then(|| self.made + Duration::from_nanos(nanos))
    }

    /// Returns when the connection was opened, or the last reply came.
    pub(super) fn last_used(&self) -> Instant {
        self.answered().unwrap_or(self.made)
    }

    /// Sends a request among those of other callers and waits for its reply.
    pub(super) fn exchange(
        &self,
        request: &Request<'_>,
        between_infos: bool,
        times: Times,
    ) -> Result<Answered, NoReply> {
        let Times { now, end, due } = times;
        let form = Form { between_infos, has_transaction: request.has_multi() };
        let mut state = self.state.lock();
        if state.failure.is_some() || state.queue.is_overdue(now) {
            return Err(NoReply::NotTaken);
        }
        let Some(ticket) = state.queue.append(request, form, due) else { return Err(NoReply::NotTaken) };
        state.opened_at.get_or_insert(now);
        let mut wakes = Wakes::default();
        let mut is_over = false;
        loop {
            if let Some(ended) = state.queue.take(ticket) {
                let result = match ended {
                    Ended::Answered(answered) => Ok(answered),
                    Ended::Failed { was_sent } => Err(NoReply::Failed { was_sent, cause: state.cause() }),
                };
                self.go(state, wakes);
                return result;
            }
            if is_over {
                let is_overdue = state.queue.leave(ticket, Instant::now());
                self.go(state, wakes);
                return Err(NoReply::TimeOver { is_overdue });
            }
            let work = state.idle_role();
            (state, is_over) = match work {
                Some(Role::Writer) => self.write(state, ticket, end, &mut wakes),
                Some(Role::Reader) => self.read(state, end, &mut wakes),
                None if wakes.is_empty() => {
                    let group = state.queue.fall_asleep(ticket);
                    let (mut state, is_over) = self.state.wait(state, group, end);
                    state.queue.wake_up(ticket);
                    (state, is_over)
                }
                None => {
                    drop(state);
                    self.wake(&mut wakes);
                    (self.state.lock(), false)
                }
            };
        }
    }

    /// Unlocks, and wakes those whose requests have ended, and one caller for a role that lies idle.
    fn go(&self, state: L::Guard<'_>, mut wakes: Wakes) {
        wakes.one = state.heir();
        drop(state);
        self.wake(&mut wakes);
    }

    fn wake(&self, wakes: &mut Wakes) {
        let Wakes { mut all, one } = std::mem::take(wakes);
        if let Some(one) = one.filter(|one| all & (1 << one) == 0) {
            self.state.wake_one(one);
        }
        while all != 0 {
            self.state.wake_all(all.trailing_zeros() as usize);
            all &= all - 1;
        }
    }

    /// Writes until nothing is left, or this caller's own request has ended.
    fn write<'a>(
        &'a self,
        mut state: L::Guard<'a>,
        ticket: Ticket,
        end: Option<Instant>,
        wakes: &mut Wakes,
    ) -> (L::Guard<'a>, bool) {
        let mut held = Held { roles: self, sender: state.sender.take(), receiver: None };
        let gives_way = state.queue.is_shared();
        drop(state);
        self.wake(wakes);
        if gives_way {
            // Callers that are ready to run add their requests to the batch.
            L::give_way();
        }
        loop {
            let mut state = self.state.lock();
            let Some(sender) = &mut held.sender else { return (state, false) };
            let has_work = !sender.is_done() || state.queue.has_unsent();
            let goes = state.queue.is_over(ticket) || has_passed(end);
            if goes || !has_work || state.failure.is_some() {
                // What is left is for the next writer.
                state.sender = held.sender.take();
                return (state, has_passed(end));
            }
            let batch = sender.is_done().then(|| (state.queue.give_batch(sender.room()), state.opened_at.take()));
            drop(state);
            if let Some((requests, opened_at)) = batch {
                self.batches.record(requests, opened_at.map_or(Duration::ZERO, |at| at.elapsed()));
            }
            self.wake(wakes);
            match sender.send(soon(end)) {
                Ok(()) => {}
                Err(error) if error.is_timeout() && !has_passed(end) => {
                    wakes.one = self.state.lock().reader_to_wake();
                }
                Err(error) if error.is_timeout() => {}
                Err(error) => {
                    sender.shut();
                    // Never put back: no caller writes any more. Those whose requests were sent read on.
                    drop(held.sender.take());
                    let mut state = self.state.lock();
                    state.queue.fail_unsent(wakes);
                    state.failure.get_or_insert(error);
                    return (state, false);
                }
            }
        }
    }

    /// Waits for the next replies and delivers them.
    fn read<'a>(&'a self, mut state: L::Guard<'a>, end: Option<Instant>, wakes: &mut Wakes) -> (L::Guard<'a>, bool) {
        let mut held = Held { roles: self, sender: None, receiver: state.receiver.take() };
        drop(state);
        self.wake(wakes);
        let Some(receiver) = &mut held.receiver else { return (self.state.lock(), false) };
        let received = receiver.receive(soon(end));
        let is_late = received.as_ref().is_err_and(RedisError::is_timeout);
        let failure = received.err().filter(|_| !is_late);
        let mut state = self.state.lock();
        // Replies that came before a failure count.
        if !receiver.received().is_empty() {
            let nanos = self.made.elapsed().as_nanos();
            self.answered.store(u64::try_from(nanos).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        }
        let delivered = state.queue.deliver(receiver.received().drain(..), wakes);
        let disorder = delivered.err().map(Disorder::error);
        if let Some(error) = disorder.or(failure) {
            state.fail(error, wakes);
            drop(state);
            receiver.shut();
            state = self.state.lock();
        }
        state.receiver = held.receiver.take();
        (state, has_passed(end))
    }
}

/// A role that lies idle although there is work for it.
enum Role {
    Writer,
    Reader,
}

impl<S: Sender, R> State<S, R> {
    /// Returns a role that nobody has and that has work.
    fn idle_role(&self) -> Option<Role> {
        let has_work = |sender: &S| self.queue.has_unsent() || !sender.is_done();
        if self.failure.is_none() && self.sender.as_ref().is_some_and(has_work) {
            return Some(Role::Writer);
        }
        (self.receiver.is_some() && self.queue.has_unanswered()).then_some(Role::Reader)
    }

    /// Returns the group of a caller that can take over a role which lies idle.
    fn heir(&self) -> Option<usize> {
        self.idle_role().and_then(|_| self.queue.first_asleep())
    }

    /// Returns the group of a caller that can read, if nobody does.
    fn reader_to_wake(&self) -> Option<usize> {
        self.receiver.as_ref().and_then(|_| self.queue.first_asleep())
    }

    /// Ends all requests.
    fn fail(&mut self, cause: RedisError, wakes: &mut Wakes) {
        self.queue.fail(wakes);
        self.failure.get_or_insert(cause);
    }

    fn cause(&self) -> RedisError {
        self.failure.clone().unwrap_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe).into())
    }
}

impl Disorder {
    fn error(self) -> RedisError {
        let text = match self {
            Self::TooMuch => "the server sent more replies than it was asked for",
            Self::OpenTransaction => "the server refused EXEC: it may queue what others send on this connection",
        };
        io::Error::new(io::ErrorKind::InvalidData, text).into()
    }
}

/// Returns when a caller looks around, or leaves.
fn soon(end: Option<Instant>) -> Option<Instant> {
    let soon = Instant::now() + LOOKS_AROUND;
    Some(end.map_or(soon, |end| end.min(soon)))
}

fn has_passed(end: Option<Instant>) -> bool {
    end.is_some_and(|end| end <= Instant::now())
}

impl Wakes {
    fn is_empty(&self) -> bool {
        self.all == 0 && self.one.is_none()
    }
}

impl<S: Sender, R: Receiver, L: Lock<State<S, R>>> Drop for Held<'_, S, R, L> {
    fn drop(&mut self) {
        if self.sender.is_none() && self.receiver.is_none() {
            return;
        }
        // The server closes a connection on which nothing more is sent.
        self.sender.iter_mut().for_each(Sender::shut);
        self.receiver.iter_mut().for_each(Receiver::shut);
        let mut wakes = Wakes::default();
        let mut state = self.roles.state.lock();
        let text = "a panic ended the work of the caller that had the connection";
        state.fail(io::Error::new(io::ErrorKind::ConnectionAborted, text).into(), &mut wakes);
        drop(state);
        self.roles.wake(&mut wakes);
    }
}

#[cfg(test)]
mod tests;
