//! Host names and the addresses they stand for: looked up beside the callers, remembered for all of them.
//!
//! The system's resolver has no time limit: a look-up may take 10 s and more. So each look-up runs on a short-lived
//! thread of its own, at most one for a name at a time. Whoever needs an address uses those that are known, and waits
//! for a look-up only where there are none, until its own end.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Addresses older than this are used, and looked up again meanwhile.
const FRESH: Duration = Duration::from_secs(5);
/// For so long the failure of a look-up is the answer where no address is known.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// However often somebody asks for another look-up, there is at most one in this time.
const PAUSE: Duration = Duration::from_millis(100);
/// A name that nobody asked for in this time is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The resolver of the C library keeps buffers on the stack.
const STACK: usize = 512 * 1024;

/// Looks host names up and remembers their addresses. One for each client; clones share what is known.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(Arc<Names>);

type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Names {
    look_up: Box<LookUp>,
    known: Mutex<HashMap<Box<str>, Name>>,
    /// A look-up has ended.
    ended: Condvar,
}

/// What is known of one name. The addresses have no port.
struct Name {
    addresses: Vec<SocketAddr>,
    /// Why the last look-up failed, if it did.
    failure: Option<Arc<io::Error>>,
    /// When the last look-up ended.
    ended: Option<Instant>,
    is_under_way: bool,
    used: Instant,
}

impl Resolver {
    /// Makes a resolver that asks the system and knows nothing yet.
    pub(crate) fn new() -> Self {
        // Port 0: what is looked up serves all ports.
        Self::with(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// Makes a resolver that asks `look_up`.
    pub(crate) fn with(look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        let known = Mutex::new(HashMap::new());
        Self(Arc::new(Names { look_up: Box::new(look_up), known, ended: Condvar::new() }))
    }

    /// Returns the addresses of a name, never none. If none are known, this waits for a look-up until `end`; for ever if
    /// there is none. An IP literal is its own address, without any look-up.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if the look-up does not end in time, else what it ended with.
    pub(crate) fn addresses(&self, host: &str, port: u16, end: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = literal(host) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let mut known = self.0.known.lock();
        loop {
            let now = Instant::now();
            let name = entry(&mut known, host, now);
            if !name.addresses.is_empty() {
                let addresses = name.addresses.iter().map(|addr| with_port(*addr, port)).collect();
                if !name.ended_within(FRESH, now) {
                    self.begin(name, host, now);
                }
                return Ok(addresses);
            }
            if !name.is_under_way
                && let Some(failure) = name.failure.as_ref().filter(|_| name.ended_within(FAILURE_KEPT, now))
            {
                return Err(io::Error::new(failure.kind(), Arc::clone(failure)));
            }
            if !name.is_under_way {
                self.begin(name, host, now);
                // A thread that could not be started has failed already.
                continue;
            }
            match end {
                None => self.0.ended.wait(&mut known),
                Some(end) if end <= now => return Err(late(host)),
                Some(end) => drop(self.0.ended.wait_until(&mut known, end)),
            }
        }
    }

    /// Looks a name up again, on another thread, unless a look-up of it is under way or has just ended.
    pub(crate) fn look_up_again(&self, host: &str, _port: u16) {
        if literal(host).is_none() {
            let now = Instant::now();
            let mut known = self.0.known.lock();
            let name = entry(&mut known, host, now);
            if !name.ended_within(PAUSE, now) {
                self.begin(name, host, now);
            }
        }
    }

    /// Returns whether addresses of the name are known; an IP literal always is.
    pub(crate) fn knows(&self, host: &str, _port: u16) -> bool {
        literal(host).is_some() || self.0.known.lock().get(host).is_some_and(|name| !name.addresses.is_empty())
    }

    /// Starts a look-up on a thread of its own, unless one is under way.
    fn begin(&self, name: &mut Name, host: &str, now: Instant) {
        if name.is_under_way {
            return;
        }
        name.is_under_way = true;
        let (names, host) = (Arc::clone(&self.0), Box::<str>::from(host));
        let look_up = move || {
            let found = (names.look_up)(&host);
            names.end(&host, found);
        };
        let thread = thread::Builder::new().name("redis-resolve".to_owned()).stack_size(STACK);
        if let Err(error) = thread.spawn(look_up) {
            name.end(Err(error), now);
        }
    }
}

impl Names {
    /// Records what a look-up came to, and wakes those who wait for it.
    fn end(&self, host: &str, found: io::Result<Vec<SocketAddr>>) {
        // It may have been forgotten meanwhile.
        if let Some(name) = self.known.lock().get_mut(host) {
            name.end(found, Instant::now());
        }
        self.ended.notify_all();
    }
}

impl Name {
    fn end(&mut self, found: io::Result<Vec<SocketAddr>>, now: Instant) {
        self.is_under_way = false;
        self.ended = Some(now);
        match found {
            Ok(found) if !found.is_empty() => {
                self.addresses = found;
                self.failure = None;
            }
            // What was known stays: rather an old address than none.
            Ok(_) => {
                let nothing = "the host name stands for no address";
                self.failure = Some(Arc::new(io::Error::new(io::ErrorKind::NotFound, nothing)));
            }
            Err(error) => self.failure = Some(Arc::new(error)),
        }
    }

    fn ended_within(&self, limit: Duration, now: Instant) -> bool {
        self.ended.is_some_and(|ended| now.saturating_duration_since(ended) < limit)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

/// What is known of the name. A new one takes the place of those that nobody uses any more.
fn entry<'a>(known: &'a mut HashMap<Box<str>, Name>, host: &str, now: Instant) -> &'a mut Name {
    if !known.contains_key(host) {
        known.retain(|_, name| name.is_under_way || now.saturating_duration_since(name.used) < FORGOTTEN);
    }
    let new = || Name { addresses: Vec::new(), failure: None, ended: None, is_under_way: false, used: now };
    let name = known.entry(host.into()).or_insert_with(new);
    name.used = now;
    name
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

fn with_port(mut addr: SocketAddr, port: u16) -> SocketAddr {
    addr.set_port(port);
    addr
}

fn late(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the look-up of the host name {host} did not end in time"))
}

#[cfg(test)]
mod tests {
    use super::Resolver;
    use std::collections::VecDeque;
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use parking_lot::{Condvar, Mutex};

    /// A resolver of the system that answers when it is told to.
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
        resolver.look_up_again("127.0.0.1", 1);
        assert_eq!(system.asked(), 0);
    }

    #[test]
    fn the_system_is_asked_as_well() {
        let addresses = Resolver::new().addresses("localhost", 7, None).unwrap();
        assert!(addresses.iter().all(|addr| addr.port() == 7 && addr.ip().is_loopback()), "{addresses:?}");
    }

    #[test]
    fn one_look_up_serves_all_who_wait_and_all_ports() {
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
    fn a_look_up_that_hangs_keeps_its_name_alone_waiting() {
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
            resolver.look_up_again("hanging", 1);
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
        assert_eq!(system.asked(), 1, "they are fresh");
        age(&resolver, "name", super::FRESH);
        for _ in 0..3 {
            assert_eq!(resolver.addresses("name", 1, soon()).unwrap(), [addr("127.0.0.1:1")], "the look-up hangs");
        }
        system.addresses(&["127.0.0.2"]);
        until(|| resolver.addresses("name", 1, soon()).unwrap() == [addr("127.0.0.2:1")]);
        assert_eq!(system.asked(), 2);
        age(&resolver, "name", super::PAUSE);
        resolver.look_up_again("name", 1);
        until(|| system.asked() == 3);
        system.addresses(&["127.0.0.3"]);
        until(|| resolver.addresses("name", 1, soon()).unwrap() == [addr("127.0.0.3:1")]);
    }

    #[test]
    fn a_failure_is_told_at_once_for_a_second_and_takes_no_address_away() {
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
    fn names_that_nobody_uses_are_forgotten() {
        let resolver = Resolver::with(|_| Ok(vec![addr("127.0.0.1:0")]));
        ["old", "used"].map(|name| resolver.addresses(name, 1, soon()).unwrap());
        age(&resolver, "old", super::FORGOTTEN);
        resolver.addresses("new", 1, soon()).unwrap();
        assert!(!resolver.knows("old", 1) && resolver.knows("used", 1) && resolver.knows("new", 1));
    }
}
