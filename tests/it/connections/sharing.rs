//! Shared connections: what callers see of them, and what they must not see.
//!
//! Calls share a connection while many are in flight. Every caller reads a key of its own, whose value names that key: the reply
//! to another caller's request would show.

mod apart;
mod deadlines;
mod kills;
mod large_replies;
mod openings;
mod peers;
mod rest;
mod role_changes;
mod sessions;
mod stress;
mod transactions;
mod use_of_connections;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{Error, NodeAddr, ReplicatedClient, Result};

use crate::support::{Sleepers, wait_until};

/// So many threads share.
pub const MANY: usize = 16;
/// No call fails because the machine is slow.
pub const LONG: Duration = Duration::from_secs(20);

/// Returns the key of a caller.
pub fn own(caller: usize) -> String {
    format!("own:{caller}")
}

/// Starts a set in which so many callers find their own keys. The value of a key is its name.
pub fn set_with_own_keys(replicas: usize, callers: usize) -> ReplicaSet {
    let servers = ReplicaSet::start(replicas).unwrap();
    fill(&servers, callers);
    servers
}

pub fn fill(servers: &ReplicaSet, callers: usize) {
    let mut pipeline = redis::pipe();
    (0..callers).for_each(|caller| _ = pipeline.set(own(caller), own(caller)).ignore());
    pipeline.query::<()>(&mut servers.master().connection().unwrap()).unwrap();
    servers.wait_until_in_sync().unwrap();
}

/// Reads the caller's own key, and fails the test if that is another one's.
pub fn read_own(client: &ReplicatedClient, caller: usize) -> Result<()> {
    let value: String = client.get(own(caller))?;
    assert_eq!(value, own(caller), "the reply to another caller");
    Ok(())
}

/// Callers that repeat their call, and what became of it.
#[derive(Default)]
pub struct Crowd {
    stop: AtomicBool,
    /// How many calls of each caller have ended.
    calls: Vec<AtomicUsize>,
    failed: Mutex<Vec<Error>>,
    latest: Mutex<Duration>,
}

impl Crowd {
    /// Repeats `call` on so many threads, which get their numbers, while `act` runs. Returns what `act` returns.
    pub fn run<T>(
        callers: usize,
        call: impl Fn(usize) -> Result<()> + Sync,
        act: impl FnOnce(&Self) -> T,
    ) -> (T, Vec<Error>, Duration) {
        /// Also when `act` panics: the scope would wait for ever.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let crowd = Self { calls: (0..callers).map(|_| AtomicUsize::new(0)).collect(), ..Self::default() };
        let done = thread::scope(|scope| {
            let _stop = Stop(&crowd.stop);
            let (crowd, call) = (&crowd, &call);
            (0..callers).for_each(|caller| _ = scope.spawn(move || crowd.repeat(caller, call)));
            act(crowd)
        });
        (done, crowd.failed.into_inner().unwrap(), crowd.latest.into_inner().unwrap())
    }

    fn repeat(&self, caller: usize, call: &impl Fn(usize) -> Result<()>) {
        let mut latest = Duration::ZERO;
        while !self.stop.load(Ordering::SeqCst) {
            let start = Instant::now();
            if let Err(error) = call(caller) {
                self.failed.lock().unwrap().push(error);
            }
            latest = latest.max(start.elapsed());
            self.calls[caller].fetch_add(1, Ordering::SeqCst);
        }
        let mut all = self.latest.lock().unwrap();
        *all = latest.max(*all);
    }

    /// Waits until each caller has made a few more calls.
    pub fn flow(&self) {
        let before: Vec<usize> = self.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).collect();
        let has_flowed = |(calls, before): (&AtomicUsize, &usize)| calls.load(Ordering::SeqCst) > before + 3;
        wait_until("calls flow", || self.calls.iter().zip(&before).all(has_flowed));
    }

    /// Waits until the calls at this node share connections.
    pub fn share(&self, client: &ReplicatedClient, addr: &NodeAddr) {
        wait_until("calls share", || shared(client, addr) > 0);
        self.flow();
    }
}

/// Has many callers share a connection to a node. The next hundred calls share it as well, however few there are at a time.
pub fn begin_to_share(client: &ReplicatedClient, addr: &NodeAddr) {
    let call = |caller| client.get::<Option<String>>(own(caller)).map(drop);
    let ((), failed, _) = Crowd::run(MANY, call, |crowd| crowd.share(client, addr));
    assert_none_failed(&failed);
}

/// How late calls were after their deadlines.
pub struct Lateness {
    late: Mutex<Vec<Duration>>,
    sleepers: Sleepers,
}

impl Lateness {
    pub fn start() -> Self {
        Self { late: Mutex::default(), sleepers: Sleepers::start() }
    }

    /// Records a call that began at `start` and is back now.
    pub fn record(&self, start: Instant, deadline: Duration) {
        let late = start.elapsed().saturating_sub(deadline);
        self.late.lock().unwrap().push(late);
    }

    /// Fails if more than `part` in a thousand were later than `most`, or one by seconds, beside threads that only sleep.
    ///
    /// On a machine that is busy, a thread that was just about to go on may wait for a processor for most of a second, and with
    /// it those that wait for what it holds.
    pub fn assert_at_most(self, most: Duration, part: usize) {
        let asleep = self.sleepers.finish();
        let mut late = self.late.into_inner().unwrap();
        late.sort_unstable();
        let (Some(latest), count) = (late.last().copied(), late.len()) else { panic!("there were no calls") };
        let [in_part, in_thousand] = [part, 1].map(|part| late[count - 1 - count * part / 1000]);
        let said = format!(
            "of {count} calls all but {part} in 1000 were at most {in_part:?} late, all but 1 in 1000 {in_thousand:?}, the latest \
             {latest:?}; a thread that slept {asleep:?}"
        );
        println!("{said}");
        assert!(in_part <= most + 4 * asleep && latest <= Duration::from_secs(3) + 4 * asleep, "{said}");
    }
}

/// Returns how many shared connections to a node are open.
pub fn shared(client: &ReplicatedClient, addr: &NodeAddr) -> u32 {
    let snapshot = client.snapshot();
    snapshot.nodes.iter().find(|node| node.addr == *addr).map_or(0, |node| node.shared_connections)
}

/// What a server says of its clients, by their ids, but for the one that asks.
pub fn clients(server: &Server) -> HashMap<u64, HashMap<String, String>> {
    let mut connection = server.connection().unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("normal").query(&mut connection).unwrap();
    let fields = |line: &str| -> HashMap<String, String> {
        line.split(' ')
            .filter_map(|field| field.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    };
    let all = list.lines().map(fields).filter(|fields| fields["cmd"] != "client|list");
    all.map(|fields| (fields["id"].parse().unwrap(), fields)).collect()
}

/// Returns the ids of the connections that were used within the last second, and last for one of these commands.
pub fn in_use(server: &Server, commands: &[&str]) -> Vec<u64> {
    let is_used =
        |fields: &HashMap<String, String>| fields["idle"] == "0" && commands.contains(&fields["cmd"].as_str());
    clients(server).into_iter().filter(|(_, fields)| is_used(fields)).map(|(id, _)| id).collect()
}

/// Closes connections, as an administrator does. One that has gone is no error.
pub fn kill(server: &Server, ids: &[u64]) {
    let Ok(mut connection) = server.connection() else { return };
    for id in ids {
        let _ = redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id).exec(&mut connection);
    }
}

/// What a server executes, as it reports it: the address of the client, and the words of the command.
pub struct Monitor(redis::Connection);

impl Monitor {
    pub fn start(server: &Server) -> Self {
        let mut connection = server.connection().unwrap();
        redis::cmd("MONITOR").exec(&mut connection).unwrap();
        Self(connection)
    }

    /// Returns the commands up to the one that contains `last`.
    pub fn until(mut self, last: &str) -> Vec<(String, Vec<String>)> {
        let mut seen = Vec::new();
        loop {
            let line: String = redis::from_redis_value(self.0.recv_response().unwrap()).unwrap();
            let (head, words) = line.split_once("] ").unwrap();
            let addr = head.rsplit(' ').next().unwrap().to_owned();
            let words: Vec<String> = words.split("\" \"").map(|word| word.trim_matches('"').to_owned()).collect();
            let is_last = words.iter().any(|word| word == last);
            seen.push((addr, words));
            if is_last {
                return seen;
            }
        }
    }
}

/// Returns who sent most of these commands: where many callers share, that is their connection.
pub fn busiest(seen: &[(String, Vec<String>)], command: &str) -> String {
    let mut counts: HashMap<&String, usize> = HashMap::new();
    seen.iter().filter(|(_, words)| words[0] == command).for_each(|(addr, _)| *counts.entry(addr).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(addr, _)| addr.clone()).unwrap()
}

/// Fails if one of the calls did.
pub fn assert_none_failed(failed: &[Error]) {
    assert!(failed.is_empty(), "{} failed, the first with: {}", failed.len(), failed[0]);
}
