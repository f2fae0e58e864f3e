//! How calls fare while nodes fail, against real servers: deadlines, the time until calls flow again, the master's cap.
//!
//! `cargo bench --bench survival` takes about half a minute and prints three tables.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{Builder, ErrorKind, ReplicatedClient, redis};

const THREADS: usize = 8;
const DEADLINE: Duration = Duration::from_millis(300);

/// A master with three replicas; the master and the first replica behind proxies.
struct Set {
    servers: ReplicaSet,
    master: FaultProxy,
    replica: FaultProxy,
}

/// How a node fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Kill,
    Stop,
    Network(NetworkFault),
}

const FAILURES: [Failure; 6] = [
    Failure::Kill,
    Failure::Stop,
    Failure::Network(NetworkFault::Refuse),
    Failure::Network(NetworkFault::Reset),
    Failure::Network(NetworkFault::BlackHole),
    Failure::Network(NetworkFault::HalfClose),
];

impl Set {
    fn start() -> Self {
        let servers = ReplicaSet::start(3).unwrap();
        redis::cmd("SET").arg("k").arg("v").exec(&mut servers.master().connection().unwrap()).unwrap();
        servers.wait_until_in_sync().unwrap();
        let master = FaultProxy::start(&servers.master().addr()).unwrap();
        let replica = FaultProxy::start(&servers.replica(0).addr()).unwrap();
        Self { servers, master, replica }
    }

    fn builder(&self) -> Builder {
        let others = self.servers.replicas()[1..].iter().map(Server::url);
        ReplicatedClient::builder().master(self.master.url()).replica(self.replica.url()).replicas(others)
    }

    fn break_node(&mut self, is_master: bool, failure: Failure) {
        let Self { servers, master, replica } = self;
        let server = if is_master { servers.master_mut() } else { servers.replica_mut(0) };
        match failure {
            Failure::Kill => server.stop(),
            Failure::Stop => server.pause().unwrap(),
            Failure::Network(fault) => (if is_master { master } else { replica }).set(fault).unwrap(),
        }
    }
}

/// Calls on several threads; returns how long each call took, and whether it succeeded.
fn calls(threads: usize, each: usize, call: impl Fn(usize) -> bool + Sync) -> Vec<(Duration, bool)> {
    let run = || {
        let timed = |index: usize| {
            let start = Instant::now();
            let succeeded = call(index);
            (start.elapsed(), succeeded)
        };
        (0..each).map(timed).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// One write in so many calls, the others reads.
fn mixed(client: &ReplicatedClient, one_in: usize) -> impl Fn(usize) -> bool + Sync {
    move |index| {
        if index % one_in == 0 { client.set("other", index).is_ok() } else { client.get::<String>("k").is_ok() }
    }
}

fn deadlines() {
    println!("{THREADS} threads, deadline {DEADLINE:?}, reads and writes");
    let set = Set::start();
    let client = set.builder().deadline(DEADLINE).build().unwrap();
    calls(THREADS, 100, mixed(&client, 2));
    let mut all = Vec::new();
    set.replica.set(NetworkFault::BlackHole).unwrap();
    all.push(("replica", calls(THREADS, 1000, mixed(&client, 2))));
    set.replica.set(NetworkFault::None).unwrap();
    set.master.set(NetworkFault::BlackHole).unwrap();
    all.push(("master", calls(THREADS, 250, mixed(&client, 8))));
    let mut late = 0;
    for (node, calls) in &all {
        let overshoot = |took: &Duration| took.saturating_sub(DEADLINE);
        let worst = calls.iter().map(|(took, _)| overshoot(took)).max().unwrap();
        let too_late = calls.iter().filter(|(took, _)| overshoot(took) > Duration::from_millis(20)).count();
        let failed = calls.iter().filter(|(_, succeeded)| !succeeded).count();
        println!(
            "  {node} black-holed: {} calls, {failed} failed, {too_late} over the deadline by more than 20 ms, at most by {worst:?}",
            calls.len()
        );
        late += too_late;
    }
    let count: usize = all.iter().map(|(_, calls)| calls.len()).sum();
    println!("  in time: {:.2} % of {count} calls", 100.0 * (count - late) as f64 / count as f64);
}

/// The longest that a read takes when a replica fails, with reads before and after; and how many fail.
fn longest_read(failure: Failure) -> (Duration, usize) {
    let mut set = Set::start();
    let client = set.builder().build().unwrap();
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let run = || {
            let (mut longest, mut failed) = (Duration::ZERO, 0);
            while !stop.load(Ordering::SeqCst) {
                let start = Instant::now();
                failed += usize::from(client.get::<String>("k").is_err());
                longest = longest.max(start.elapsed());
                reads.fetch_add(1, Ordering::SeqCst);
            }
            (longest, failed)
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        while reads.load(Ordering::SeqCst) < 2000 {
            thread::sleep(Duration::from_millis(1));
        }
        set.break_node(false, failure);
        thread::sleep(Duration::from_millis(1500));
        stop.store(true, Ordering::SeqCst);
        let seen = workers.into_iter().map(|worker| worker.join().unwrap());
        seen.fold((Duration::ZERO, 0), |all, one| (all.0.max(one.0), all.1 + one.1))
    })
}

/// The time from the failure of the master, and from the promotion of a replica right after it, to the first write.
fn first_write(failure: Failure) -> Duration {
    let mut set = Set::start();
    let client = set.builder().deadline(Duration::from_secs(20)).build().unwrap();
    client.set("other", 0).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    set.break_node(true, failure);
    let next = set.servers.replica(0);
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut next.connection().unwrap()).unwrap();
    let promoted = Instant::now();
    for other in &set.servers.replicas()[1..] {
        let port = next.addr().port();
        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec(&mut other.connection().unwrap()).unwrap();
    }
    // The first ones may be in doubt.
    while client.set("other", 1).is_err() {}
    promoted.elapsed()
}

fn recoveries() {
    println!("after a failure, with the default limits");
    for failure in FAILURES {
        let ((longest, failed), written) = (longest_read(failure), first_write(failure));
        println!(
            "  {failure:?}: of a replica, the longest read took {longest:.1?}, {failed} failed; of the master, written {written:.1?} after the promotion"
        );
    }
}

fn cap() {
    println!("all replicas killed, 32 threads reading, pool size 10");
    let mut servers = ReplicaSet::start(2).unwrap();
    let client = servers.client_builder().build().unwrap();
    client.set("k", "v").unwrap();
    (0..2).for_each(|index| servers.replica_mut(index).stop());
    while client.snapshot().nodes[1..].iter().any(|node| !node.ejected) {
        let _ = client.get::<String>("k");
    }
    let (other_kind, in_use) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read = |index: usize| {
        let read = client.get::<String>("k");
        if index.is_multiple_of(64) {
            in_use.fetch_max(client.snapshot().nodes[0].connections_in_use as usize, Ordering::SeqCst);
        }
        let other = read.as_ref().is_err_and(|error| error.kind() != ErrorKind::Unavailable);
        other_kind.fetch_add(usize::from(other), Ordering::SeqCst);
        read.is_ok()
    };
    let all = calls(32, 5000, read);
    let mut refused: Vec<Duration> = all.iter().filter(|(_, succeeded)| !succeeded).map(|(took, _)| *took).collect();
    refused.sort();
    let at = |part: f64| refused.get((refused.len() as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "  {:.1} % of {} calls failed, in {:?} (median), {:?} (99 %); {} with another kind; {} connections in use at most",
        100.0 * refused.len() as f64 / all.len() as f64,
        all.len(),
        at(0.5),
        at(0.99),
        other_kind.into_inner(),
        in_use.into_inner()
    );
}

fn main() {
    deadlines();
    recoveries();
    cap();
}
