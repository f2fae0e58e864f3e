//! Callers with a role go when their reply has come, or when their time is over, whatever the others need.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{RedisResult, Value};

use super::super::super::lock::SystemLock;
use super::super::{NoReply, Receiver, Roles, Sender, State, Times};
use super::request;
use crate::classification::{Classifier, Request};

const LONG: Duration = Duration::from_secs(60);

/// Takes so many batches, and then none any more.
struct Line {
    bytes: Vec<u8>,
    takes: usize,
}

/// Gives so many replies at once, and then, once it is told to, one after the other without an end.
struct Replies {
    received: Vec<Value>,
    at_once: usize,
    drips: &'static AtomicBool,
}

fn wait_until(end: Option<Instant>) -> RedisResult<()> {
    thread::sleep(end.unwrap().saturating_duration_since(Instant::now()).min(Duration::from_millis(5)));
    Err(io::Error::from(io::ErrorKind::TimedOut).into())
}

impl Sender for Line {
    fn room(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn is_done(&self) -> bool {
        self.bytes.is_empty()
    }

    fn send(&mut self, end: Option<Instant>) -> RedisResult<()> {
        if self.takes == 0 {
            return wait_until(end);
        }
        self.takes -= 1;
        // Others add their requests meanwhile.
        thread::sleep(Duration::from_millis(30));
        self.bytes.clear();
        Ok(())
    }

    fn shut(&mut self) {}
}

impl Receiver for Replies {
    fn receive(&mut self, end: Option<Instant>) -> RedisResult<()> {
        if self.at_once > 0 {
            self.at_once -= 1;
        } else if self.drips.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_micros(500));
        } else {
            return wait_until(end);
        }
        self.received.push(Value::Okay);
        Ok(())
    }

    fn received(&mut self) -> &mut Vec<Value> {
        &mut self.received
    }

    fn shut(&mut self) {}
}

type System = Roles<Line, Replies, SystemLock<State<Line, Replies>>>;

fn roles(takes: usize, at_once: usize, drips: &'static AtomicBool) -> System {
    Roles::new(
        Line { bytes: Vec::new(), takes },
        Replies { received: Vec::new(), at_once, drips },
        std::sync::Arc::default(),
    )
}

fn call(roles: &System, limit: Duration) -> Result<(), NoReply> {
    let (bytes, classifier) = (request(1), Classifier::new());
    let request = Request::command(&bytes, &classifier).unwrap();
    let now = Instant::now();
    roles.exchange(&request, false, Times { now, end: Some(now + limit), due: None }).map(drop)
}

#[test]
fn a_writer_that_has_its_reply_goes_although_others_are_not_sent() {
    static DRIPS: AtomicBool = AtomicBool::new(false);
    let roles = roles(1, 1, &DRIPS);
    let went = AtomicUsize::new(0);
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            call(&roles, LONG).unwrap();
            went.fetch_add(1, Ordering::SeqCst)
        });
        // One that comes while the first one writes, and that will not be sent.
        thread::sleep(Duration::from_millis(10));
        let second = scope.spawn(|| (call(&roles, 4 * LONG / 60).is_err(), went.fetch_add(1, Ordering::SeqCst)));
        first.join().unwrap();
        assert_eq!(second.join().unwrap().1, 1, "the first one went first");
    });
}

#[test]
fn a_reader_goes_at_its_end_although_replies_for_others_keep_coming() {
    static DRIPS: AtomicBool = AtomicBool::new(false);
    let roles = roles(usize::MAX, 0, &DRIPS);
    let short = Duration::from_millis(40);
    thread::scope(|scope| {
        // They leave before their replies come.
        (0..50).for_each(|_| _ = scope.spawn(|| assert!(call(&roles, short).is_err())));
    });
    (0..3).for_each(|_| assert!(call(&roles, short).is_err()));
    DRIPS.store(true, Ordering::SeqCst);
    let ends: Vec<bool> = (0..2).map(|_| call(&roles, Duration::from_millis(1)).is_err()).collect();
    assert!(ends.into_iter().all(|is_over| is_over), "replies of others came for longer than it had");
}
