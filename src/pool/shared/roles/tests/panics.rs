//! A panic of the caller that reads, with real threads: the checker cannot go on after one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis::{RedisResult, Value};

use super::super::super::lock::SystemLock;
use super::super::{NoReply, Receiver, Roles, Sender, State, Times};
use super::request;
use crate::classification::{Classifier, Request};

struct Sink(Vec<u8>);

/// Panics once all callers have sent.
struct Panicking(Vec<Value>);

static SHUT: Mutex<u32> = Mutex::new(0);

impl Sender for Sink {
    fn room(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    fn send(&mut self, _: Option<Instant>) -> RedisResult<()> {
        self.0.clear();
        Ok(())
    }

    fn shut(&mut self) {}
}

impl Receiver for Panicking {
    fn receive(&mut self, _: Option<Instant>) -> RedisResult<()> {
        thread::sleep(Duration::from_millis(20));
        panic!("on purpose");
    }

    fn received(&mut self) -> &mut Vec<Value> {
        &mut self.0
    }

    fn shut(&mut self) {
        *SHUT.lock().unwrap() += 1;
    }
}

#[test]
fn a_panic_of_the_reader_fails_all_callers_at_once() {
    type System = Roles<Sink, Panicking, SystemLock<State<Sink, Panicking>>>;
    let roles: System = Roles::new(Sink(Vec::new()), Panicking(Vec::new()), std::sync::Arc::default());
    let call = || {
        let (bytes, classifier) = (request(1), Classifier::new());
        let request = Request::command(&bytes, &classifier).unwrap();
        roles.exchange(&request, false, Times { now: Instant::now(), end: None, due: None })
    };
    let together = Barrier::new(8);
    let ends = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    catch_unwind(AssertUnwindSafe(call))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1, "one of them read");
    let others = ends.iter().flatten();
    assert!(others.clone().all(|end| matches!(end, Err(NoReply::Failed { .. } | NoReply::NotTaken))), "{ends:?}");
    assert_eq!(*SHUT.lock().unwrap(), 1, "the connection is closed");
    assert!(matches!(call(), Err(NoReply::NotTaken)), "and takes nothing new");
}
