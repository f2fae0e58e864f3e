use super::Resolver;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The system's resolver, which answers when the test lets it.
#[derive(Clone, Default)]
struct System(Arc<State>);

#[derive(Default)]
struct State {
    asked: AtomicUsize,
    answers: Mutex<VecDeque<io::Result<Vec<SocketAddr>>>>,
    changed: Condvar,
}

impl System {
    fn resolver(&self) -> Resolver {
        let state = Arc::clone(&self.0);
        Resolver::with(move |_| {
            state.asked.fetch_add(1, Ordering::SeqCst);
            let mut answers = state.answers.lock();
            loop {
                match answers.pop_front() {
                    Some(answer) => return answer,
                    None => state.changed.wait(&mut answers),
                }
            }
        })
    }

    fn answer(&self, answer: io::Result<Vec<SocketAddr>>) {
        self.0.answers.lock().push_back(answer);
        self.0.changed.notify_one();
    }

    fn addresses(&self, texts: &[&str]) {
        self.answer(Ok(texts.iter().map(|text| addr(&format!("{text}:0"))).collect()));
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

/// Lets time pass for a name.
fn age(resolver: &Resolver, host: &str, by: Duration) {
    let mut known = resolver.0.known.lock();
    let name = known.get_mut(host).unwrap();
    name.ended = name.ended.and_then(|ended| ended.checked_sub(by));
    name.used = name.used.checked_sub(by).unwrap();
}

fn until(what: impl Fn() -> bool) {
    let end = soon();
    while !what() {
        assert!(Some(Instant::now()) < end, "this never happened");
        std::thread::yield_now();
    }
}

#[test]
fn a_literal_is_its_own_address() {
    let system = System::default();
    let resolver = system.resolver();
    assert_eq!(resolver.addresses("127.0.0.2", 7, None).unwrap(), [addr("127.0.0.2:7")]);
    assert_eq!(resolver.addresses("[::1]", 7, None).unwrap(), [addr("[::1]:7")]);
    assert!(resolver.knows("::1", 1));
    resolver.look_up_again("127.0.0.1");
    assert_eq!(system.asked(), 0);
}

#[test]
fn the_system_is_asked_as_well() {
    let addresses = Resolver::new().addresses("localhost", 7, None).unwrap();
    assert!(addresses.iter().all(|addr| addr.port() == 7 && addr.ip().is_loopback()), "{addresses:?}");
}

#[test]
fn one_look_up_serves_all_waiting_callers_and_all_ports() {
    let system = System::default();
    let resolver = system.resolver();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (1..9)
            .map(|port| {
                (
                    port,
                    scope.spawn({
                        let resolver = resolver.clone();
                        move || resolver.addresses("name", port, None)
                    }),
                )
            })
            .collect();
        until(|| system.asked() == 1);
        system.addresses(&["127.0.0.1", "127.0.0.2"]);
        for (port, waiting) in waiting {
            let expected = ["127.0.0.1", "127.0.0.2"].map(|ip| addr(&format!("{ip}:{port}")));
            assert_eq!(waiting.join().unwrap().unwrap(), expected);
        }
    });
    assert_eq!(system.asked(), 1);
}

#[test]
fn a_look_up_that_hangs_delays_no_other_name() {
    let system = System::default();
    let hanging = system.clone();
    let resolver = Resolver::with(move |host| match host {
        "hanging" => (hanging.resolver().0.look_up)(host),
        _ => Ok(vec![addr("127.0.0.9:0")]),
    });
    assert!(!resolver.knows("hanging", 1));
    for _ in 0..3 {
        let end = Instant::now() + Duration::from_millis(20);
        let error = resolver.addresses("hanging", 1, Some(end)).unwrap_err();
        assert!(error.kind() == io::ErrorKind::TimedOut && error.to_string().contains("hanging"));
        resolver.look_up_again("hanging");
        assert_eq!(resolver.addresses("other", 1, soon()).unwrap(), [addr("127.0.0.9:1")]);
    }
    until(|| system.asked() == 1);
    system.addresses(&["127.0.0.3"]);
    assert_eq!(resolver.addresses("hanging", 1, soon()).unwrap(), [addr("127.0.0.3:1")]);
    assert!(resolver.knows("hanging", 1));
    assert_eq!(system.asked(), 1);
}

#[test]
fn old_addresses_are_used_while_they_are_looked_up_again() {
    let system = System::default();
    let resolver = system.resolver();
    system.addresses(&["127.0.0.1"]);
    resolver.addresses("name", 1, soon()).unwrap();
    resolver.addresses("name", 1, soon()).unwrap();
    resolver.keep_fresh("name");
    assert_eq!(system.asked(), 1, "they are fresh");
    age(&resolver, "name", super::FRESH);
    for _ in 0..3 {
        assert_eq!(resolver.addresses("name", 1, soon()).unwrap(), [addr("127.0.0.1:1")], "the look-up hangs");
    }
    system.addresses(&["127.0.0.2"]);
    until(|| resolver.addresses("name", 1, soon()).unwrap() == [addr("127.0.0.2:1")]);
    assert_eq!(system.asked(), 2);
    age(&resolver, "name", super::PAUSE);
    resolver.look_up_again("name");
    until(|| system.asked() == 3);
    system.addresses(&["127.0.0.3"]);
    until(|| resolver.addresses("name", 1, soon()).unwrap() == [addr("127.0.0.3:1")]);
}

#[test]
fn a_failure_is_returned_at_once_for_a_second_and_removes_no_address() {
    let system = System::default();
    let resolver = system.resolver();
    system.answer(Err(io::Error::other("no such name")));
    for _ in 0..3 {
        assert_eq!(resolver.addresses("name", 1, soon()).unwrap_err().to_string(), "no such name");
    }
    assert_eq!(system.asked(), 1);
    age(&resolver, "name", super::FAILURE_KEPT);
    system.answer(Ok(vec![]));
    assert_eq!(resolver.addresses("name", 1, soon()).unwrap_err().kind(), io::ErrorKind::NotFound);
    age(&resolver, "name", super::FAILURE_KEPT);
    system.addresses(&["127.0.0.1"]);
    resolver.addresses("name", 1, soon()).unwrap();
    for answer in [Err(io::Error::other("no such name")), Ok(vec![])] {
        age(&resolver, "name", super::FRESH);
        let asked = system.asked();
        resolver.addresses("name", 1, soon()).unwrap();
        system.answer(answer);
        until(|| system.asked() > asked && !resolver.0.known.lock()["name"].is_under_way);
        assert_eq!(resolver.addresses("name", 1, soon()).unwrap(), [addr("127.0.0.1:1")]);
    }
}

#[test]
fn names_that_are_no_longer_used_are_forgotten() {
    let resolver = Resolver::with(|_| Ok(vec![addr("127.0.0.1:0")]));
    ["old", "used"].into_iter().for_each(|name| drop(resolver.addresses(name, 1, soon()).unwrap()));
    age(&resolver, "old", super::FORGOTTEN);
    resolver.addresses("new", 1, soon()).unwrap();
    assert!(!resolver.knows("old", 1) && resolver.knows("used", 1) && resolver.knows("new", 1));
}

#[test]
fn all_names_are_looked_up_again_at_the_same_time_until_the_end() {
    let system = System::default();
    let hanging = system.clone();
    let resolver = Resolver::with(move |host| match host {
        "hanging" => (hanging.resolver().0.look_up)(host),
        "unknown" => Err(io::Error::other("no such name")),
        _ => Ok(vec![addr("127.0.0.9:0")]),
    });
    assert_eq!(resolver.known("other", 1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let hosts = ["hanging", "127.0.0.1", "other", "unknown"];
    resolver.look_up_all(["127.0.0.1", "other"].into_iter(), soon().unwrap());
    resolver.look_up_all(hosts.into_iter(), Instant::now() + Duration::from_millis(50));
    assert_eq!(resolver.known("hanging", 1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(resolver.known("other", 1).unwrap(), [addr("127.0.0.9:1")]);
    until(|| resolver.known("unknown", 1).is_err_and(|error| error.to_string() == "no such name"));
    until(|| system.asked() == 1);
    // Twice: if the look-up that hung has ended before the next line, that line starts another one.
    (0..2).for_each(|_| system.addresses(&["127.0.0.3", "127.0.0.4"]));
    resolver.look_up_all(hosts.into_iter(), soon().unwrap());
    assert_eq!(resolver.known("hanging", 1).unwrap(), [addr("127.0.0.3:1"), addr("127.0.0.4:1")]);
}
