//! The hand-over of roles under thousands of schedules. A schedule in which a caller waits for ever fails the check.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use redis::{RedisResult, Value};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread;

use super::super::lock::{GROUPS, Lock};
use super::{NoReply, Receiver, Roles, Sender, State, Times};
use crate::classification::{Classifier, Request};
use crate::replication::INFO;
use crate::retry::Reply;

mod ends;
mod panics;

/// Of the check in which most can happen. The others take fewer.
const SCHEDULES: usize = 10_000;
const NAME: usize = 4;

/// A lock of the checker's. Callers with an end may find at any time that it has come.
struct CheckedLock<T> {
    value: Mutex<T>,
    groups: Vec<Condvar>,
}

impl<T> Lock<T> for CheckedLock<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn new(value: T) -> Self {
        Self { value: Mutex::new(value), groups: (0..GROUPS).map(|_| Condvar::new()).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap()
    }

    fn wait<'a>(&'a self, guard: MutexGuard<'a, T>, group: usize, end: Option<Instant>) -> (MutexGuard<'a, T>, bool) {
        if end.is_some() && thread_rng().gen_bool(0.5) {
            drop(guard);
            (0..thread_rng().gen_range(0..6)).for_each(|_| thread::yield_now());
            return (self.lock(), true);
        }
        (self.groups[group].wait(guard).unwrap(), false)
    }

    fn wake_one(&self, group: usize) {
        self.groups[group].notify_one();
    }

    fn wake_all(&self, group: usize) {
        self.groups[group].notify_all();
    }

    fn give_way() {
        thread::yield_now();
    }
}

/// A server that answers each request with its key.
struct Server(Mutex<Line>);

#[derive(Default)]
struct Line {
    sent: Vec<u8>,
    replies: VecDeque<Value>,
    /// How many replies come before the connection fails.
    left: Option<usize>,
    is_shut: bool,
}

/// Returns whether something takes longer than it may.
fn is_late(end: Option<Instant>) -> bool {
    end.is_some() && thread_rng().gen_bool(0.3)
}

fn timed_out<T>() -> RedisResult<T> {
    Err(io::Error::from(io::ErrorKind::TimedOut).into())
}

impl Server {
    fn new(left: Option<usize>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Line { left, ..Line::default() })))
    }

    fn shut(&self) {
        self.0.lock().unwrap().is_shut = true;
    }
}

impl Line {
    /// Answers the whole requests that have come.
    fn answer(&mut self) {
        let get = request(0).len();
        loop {
            // The length of the command's name.
            let is_info = self.sent.get(5) == INFO.get(5);
            let length = if is_info { INFO.len() } else { get };
            if self.sent.len() < length {
                return;
            }
            let request: Vec<u8> = self.sent.drain(..length).collect();
            let key = request[length - NAME - 2..length - 2].to_vec();
            self.replies.push_back(if is_info { Value::Okay } else { Value::BulkString(key) });
        }
    }
}

struct FakeSender {
    server: Arc<Server>,
    bytes: Vec<u8>,
    sent: usize,
}

struct FakeReceiver {
    server: Arc<Server>,
    received: Vec<Value>,
}

impl Sender for FakeSender {
    fn room(&mut self) -> &mut Vec<u8> {
        self.sent = 0;
        &mut self.bytes
    }

    fn is_done(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn send(&mut self, end: Option<Instant>) -> RedisResult<()> {
        let all = self.bytes.len();
        let (until, is_late) =
            if is_late(end) { (thread_rng().gen_range(self.sent..=all), true) } else { (all, false) };
        let mut line = self.server.0.lock().unwrap();
        if line.is_shut {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        line.sent.extend_from_slice(&self.bytes[self.sent..until]);
        self.sent = until;
        line.answer();
        if is_late { timed_out() } else { Ok(()) }
    }

    fn shut(&mut self) {
        self.server.shut();
    }
}

impl Receiver for FakeReceiver {
    fn receive(&mut self, end: Option<Instant>) -> RedisResult<()> {
        if is_late(end) {
            thread::yield_now();
            return timed_out();
        }
        let mut line = self.server.0.lock().unwrap();
        while line.replies.is_empty() && !line.is_shut && line.left != Some(0) {
            drop(line);
            if is_late(end) {
                return timed_out();
            }
            thread::yield_now();
            line = self.server.0.lock().unwrap();
        }
        if line.is_shut || line.left == Some(0) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let most = line.left.unwrap_or(usize::MAX).min(line.replies.len());
        let count = thread_rng().gen_range(1..=most);
        line.left = line.left.map(|left| left - count);
        self.received.extend(line.replies.drain(..count));
        Ok(())
    }

    fn received(&mut self) -> &mut Vec<Value> {
        &mut self.received
    }

    fn shut(&mut self) {
        self.server.shut();
    }
}

type Checked = Roles<FakeSender, FakeReceiver, CheckedLock<State<FakeSender, FakeReceiver>>>;

fn request(name: usize) -> Vec<u8> {
    format!("*2\r\n$3\r\nGET\r\n${NAME}\r\n{name:0NAME$}\r\n").into_bytes()
}

fn roles(server: &Arc<Server>) -> Arc<Checked> {
    let sender = FakeSender { server: Arc::clone(server), bytes: Vec::new(), sent: 0 };
    Arc::new(Roles::new(
        sender,
        FakeReceiver { server: Arc::clone(server), received: Vec::new() },
        std::sync::Arc::default(),
    ))
}

/// Makes one call. Returns whether it was answered, with its own reply.
fn call(roles: &Checked, name: usize, is_impatient: bool) -> Result<(), NoReply> {
    let (bytes, classifier) = (request(name), Classifier::new());
    let request = Request::command(&bytes, &classifier).unwrap();
    let now = Instant::now();
    let between_infos = name.is_multiple_of(3);
    let times = Times { now, end: is_impatient.then_some(now), due: None };
    let answered = roles.exchange(&request, between_infos, times)?;
    let Reply::One(Value::BulkString(key)) = answered.reply else { panic!("not a key") };
    assert_eq!(key, format!("{name:0NAME$}").into_bytes(), "nobody gets another's reply");
    assert_eq!(answered.infos.is_some(), between_infos);
    Ok(())
}

/// Runs callers that make some calls each, and checks how every one ends.
fn check(schedules: usize, left: Option<usize>, is_impatient: fn(usize) -> bool) {
    let (callers, calls) = (4, 2);
    let schedule = move || {
        let roles = roles(&Server::new(left));
        let threads: Vec<_> = (0..callers)
            .map(|caller| {
                let roles = Arc::clone(&roles);
                thread::spawn(move || {
                    for turn in 0..calls {
                        let is_impatient = is_impatient(caller);
                        match call(&roles, caller * calls + turn, is_impatient) {
                            Ok(()) => {}
                            Err(NoReply::TimeOver { .. }) => assert!(is_impatient),
                            Err(NoReply::Failed { .. } | NoReply::NotTaken) => assert!(left.is_some()),
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    shuttle::check_random(schedule, schedules);
    shuttle::check_pct(schedule, schedules / 4, 3);
}

#[test]
fn every_caller_gets_its_reply() {
    check(SCHEDULES / 5, None, |_| false);
}

#[test]
fn callers_that_leave_hand_their_roles_over() {
    check(SCHEDULES, None, |caller| caller % 2 == 0);
}

#[test]
fn a_failing_connection_fails_every_caller_once() {
    check(SCHEDULES / 5, Some(3), |caller| caller == 0);
}
