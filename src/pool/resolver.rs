//! The addresses of host names: looked up on other threads, and remembered for all callers.
//!
//! The system's resolver has no time limit: a look-up may take 10 s and more. So each look-up runs on a short-lived
//! thread of its own, at most one for a name at a time. A caller uses the addresses that are known. If none are known,
//! it waits for the look-up until its own end.

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
/// How long a failed look-up is the answer, if no address is known.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// A name is looked up at most once in this time.
const PAUSE: Duration = Duration::from_millis(100);
/// A name that no caller asked for in this time is forgotten.
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
        // Port 0: the addresses serve all ports.
        Self::with(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// Makes a resolver that asks `look_up`.
    pub(crate) fn with(look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        let known = Mutex::new(HashMap::new());
        Self(Arc::new(Names { look_up: Box::new(look_up), known, ended: Condvar::new() }))
    }

    /// Returns the addresses of a name, at least one. If none are known, this waits for a look-up until `end`, or for
    /// ever without an end. An IP literal is its own address, without any look-up.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if the look-up does not end in time, else the error of the look-up.
    pub(crate) fn addresses(&self, host: &str, port: u16, end: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = literal(host) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let mut known = self.0.known.lock();
        loop {
            let now = Instant::now();
            let name = entry(&mut known, host, now);
            if !name.addresses.is_empty() {
                let addresses = name.at(port);
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
                // If no thread could be started, the look-up has failed already.
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
    pub(crate) fn look_up_again(&self, host: &str) {
        self.look_up_after(PAUSE, host);
    }

    /// Looks a name up again, on another thread, if what is known of it is older than 5 s.
    pub(crate) fn keep_fresh(&self, host: &str) {
        self.look_up_after(FRESH, host);
    }

    fn look_up_after(&self, pause: Duration, host: &str) {
        if literal(host).is_none() {
            let now = Instant::now();
            let mut known = self.0.known.lock();
            let name = entry(&mut known, host, now);
            if !name.ended_within(pause, now) {
                self.begin(name, host, now);
            }
        }
    }

    /// Looks all these names up again, at the same time, and waits until all look-ups have ended, or until `end`.
    pub(crate) fn look_up_all<'a>(&self, hosts: impl Iterator<Item = &'a str> + Clone, end: Instant) {
        let mut known = self.0.known.lock();
        for host in hosts.clone().filter(|host| literal(host).is_none()) {
            let now = Instant::now();
            self.begin(entry(&mut known, host, now), host, now);
        }
        let is_under_way =
            |known: &HashMap<Box<str>, Name>, host| known.get(host).is_some_and(|name| name.is_under_way);
        while hosts.clone().any(|host| is_under_way(&known, host)) {
            if self.0.ended.wait_until(&mut known, end).timed_out() {
                return;
            }
        }
    }

    /// Returns the addresses of a name as far as they are known, never waiting.
    ///
    /// # Errors
    ///
    /// Why the last look-up failed; [`io::ErrorKind::WouldBlock`] if none has ended yet.
    pub(crate) fn known(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = literal(host) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let known = self.0.known.lock();
        match known.get(host) {
            Some(name) if !name.addresses.is_empty() => Ok(name.at(port)),
            Some(Name { failure: Some(failure), .. }) => Err(io::Error::new(failure.kind(), Arc::clone(failure))),
            _ => {
                let text = format!("the look-up of the host name {host} has not ended yet");
                Err(io::Error::new(io::ErrorKind::WouldBlock, text))
            }
        }
    }

    /// Returns whether addresses of the name are known; an IP literal always is.
    pub(crate) fn knows(&self, host: &str, port: u16) -> bool {
        self.known(host, port).is_ok()
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
    /// Records the result of a look-up, and wakes the callers that wait for it.
    fn end(&self, host: &str, found: io::Result<Vec<SocketAddr>>) {
        // The name may have been forgotten meanwhile.
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
            // The known addresses stay: an old one is better than none.
            Ok(_) => {
                let nothing = "the host name has no address";
                self.failure = Some(Arc::new(io::Error::new(io::ErrorKind::NotFound, nothing)));
            }
            Err(error) => self.failure = Some(Arc::new(error)),
        }
    }

    fn at(&self, port: u16) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.clone();
        addresses.iter_mut().for_each(|addr| addr.set_port(port));
        addresses
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

/// Returns what is known of the name. A new name replaces those that are no longer used.
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

fn late(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the look-up of the host name {host} did not end in time"))
}

#[cfg(test)]
mod tests;
