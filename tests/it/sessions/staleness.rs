//! Replicas that lag behind by changing delays: no session reads backward, and no bounded read is older than its bound.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use redis_replicated::testing::NetworkFault;
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient};

use crate::support::{Distant, wait_until};

const BOUND: Duration = Duration::from_millis(200);
const READERS: u64 = 2;

/// A counter that somebody increments, when each increment was acknowledged, and how often delays have changed.
#[derive(Debug, Default)]
struct Counter {
    stop: AtomicBool,
    acknowledged: RwLock<Vec<Instant>>,
    changes: AtomicU64,
}

/// Ends the threads, also when something panics: the scope would wait for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Counter {
    /// Increments `n`, and changes the delays of the replicas, while `act` runs on several
    /// threads.
    fn run(&self, set: &Distant, longest: u64, size: Size, act: impl Fn() + Sync) {
        let mut connection = set.servers.master().connection().unwrap();
        redis::Cmd::set("n", 0).exec(&mut connection).unwrap();
        thread::scope(|scope| {
            let _stop = Stop(&self.stop);
            scope.spawn(|| self.change_weather(set, longest));
            scope.spawn(move || {
                while !self.stop.load(Ordering::SeqCst) {
                    redis::Cmd::incr("n", 1).exec(&mut connection).unwrap();
                    self.acknowledged.write().unwrap().push(Instant::now());
                    size.pause();
                }
            });
            thread::scope(|scope| (0..READERS).for_each(|_| drop(scope.spawn(&act))));
        });
    }

    /// Gives every replica another delay, again and again: for shorter and for longer than the delays are.
    fn change_weather(&self, set: &Distant, longest: u64) {
        let mut rng = rand::rng();
        while !self.stop.load(Ordering::SeqCst) {
            for proxy in &set.proxies {
                // One in two lags less: there is something to choose from.
                let longest = if rng.random() { longest } else { longest / 8 };
                proxy.set(NetworkFault::Delay(Duration::from_millis(rng.random_range(0..=longest)))).unwrap();
            }
            self.changes.fetch_add(1, Ordering::SeqCst);
            let until = Instant::now() + Duration::from_millis(rng.random_range(0..=longest));
            while Instant::now() < until && !self.stop.load(Ordering::SeqCst) {
                // A delay lasts for a while, which the end of the test cuts short.
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Tells whether a thread that has read so often has not read enough.
    fn goes_on(&self, read: u64, size: Size) -> bool {
        size.pause();
        read < size.reads / READERS || self.changes.load(Ordering::SeqCst) < size.changes
    }

    /// Returns what the counter had been for longer than the bound at that moment, at least.
    fn at(&self, moment: Instant) -> u64 {
        let moment = moment.checked_sub(BOUND).unwrap();
        self.acknowledged.read().unwrap().partition_point(|acknowledged| *acknowledged < moment) as u64
    }
}

/// How much has to happen.
#[derive(Clone, Copy, Debug)]
struct Size {
    reads: u64,
    changes: u64,
    /// The pause of each thread after each call: other tests run beside a short run.
    pause: Duration,
}

const SHORT: Size = Size { reads: 2_000, changes: 5, pause: Duration::from_millis(1) };
const LONG: Size = Size { reads: 100_000, changes: 100, pause: Duration::ZERO };

impl Size {
    fn pause(self) {
        if !self.pause.is_zero() {
            // The pace of the readers.
            thread::sleep(self.pause);
        }
    }
}

/// What became of the reads that were checked, and of those without a guarantee beside them.
#[derive(Debug, Default)]
struct Counts {
    reads: AtomicU64,
    wrong: AtomicU64,
    wrong_beside: AtomicU64,
    /// Those that would be wrong by what was written when they had returned.
    late: AtomicU64,
}

fn count(counter: &AtomicU64, counts: bool) {
    counter.fetch_add(u64::from(counts), Ordering::SeqCst);
}

fn read(client: &ReplicatedClient, key: &str) -> u64 {
    client.get::<Option<u64>>(key).unwrap().unwrap_or(0)
}

/// Counts the reads that returned less than the one before.
fn count_backward_steps(size: Size) -> Counts {
    let (set, counts, counter) = (Distant::start(3), Counts::default(), Counter::default());
    let client = set.servers.client_builder().build().unwrap();
    counter.run(&set, 500, size, || {
        let (session, mut last, mut last_beside, mut reads) = (client.session(), 0, 0, 0);
        while counter.goes_on(reads, size) {
            let (value, beside) = (read(&session, "n"), read(&client, "n"));
            count(&counts.wrong, value < last);
            count(&counts.wrong_beside, beside < last_beside);
            count(&counts.reads, true);
            (last, last_beside, reads) = (value, beside, reads + 1);
        }
    });
    report(&set, &counts);
    counts
}

/// Counts the reads that are older than the bound.
fn count_stale_reads(size: Size) -> Counts {
    let (set, counts, counter) = (Distant::start(2), Counts::default(), Counter::default());
    let client = set.servers.client_builder().build().unwrap();
    let bounded = client.max_staleness(BOUND);
    counter.run(&set, 2_000, size, || {
        let mut reads = 0;
        while counter.goes_on(reads, size) {
            let began = Instant::now();
            let value = read(&bounded, "n");
            let returned = Instant::now();
            count(&counts.wrong, value < counter.at(began));
            count(&counts.late, value < counter.at(returned));
            let began = Instant::now();
            count(&counts.wrong_beside, read(&client, "n") < counter.at(began));
            count(&counts.reads, true);
            reads += 1;
        }
    });
    report(&set, &counts);
    counts
}

/// The plain reads beside are served by replicas: whatever the master served was checked, and the others were not.
fn report(set: &Distant, counts: &Counts) {
    let by_master = set.servers.master().calls("GET").unwrap();
    let by_replicas = counts.reads.load(Ordering::SeqCst) - by_master;
    println!("{counts:?}: {by_master} served by the master, {by_replicas} by replicas");
    assert!(by_replicas > 0, "the replicas served nothing");
}

fn check(counts: &Counts, size: Size) {
    let wrong = |count: &AtomicU64| count.load(Ordering::SeqCst);
    assert_eq!(wrong(&counts.wrong), 0, "of {counts:?}");
    let least = if size.reads == LONG.reads { counts.reads.load(Ordering::SeqCst) / 100 } else { 0 };
    assert!(wrong(&counts.wrong_beside) >= least, "the replicas lagged too little: {counts:?}");
}

#[test]
fn no_session_reads_backward_while_delays_change() {
    check(&count_backward_steps(SHORT), SHORT);
}

#[test]
#[ignore = "takes minutes: 100 000 reads, whose figures are printed"]
fn no_session_reads_backward_for_long() {
    check(&count_backward_steps(LONG), LONG);
}

#[test]
fn no_bounded_read_is_older_than_its_bound() {
    check(&count_stale_reads(SHORT), SHORT);
}

#[test]
#[ignore = "takes minutes: 100 000 reads, whose figures are printed"]
fn no_bounded_read_is_older_than_its_bound_for_long() {
    check(&count_stale_reads(LONG), LONG);
}

#[test]
fn below_the_shortest_bound_only_the_master_serves() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().build().unwrap();
    client.set("n", 1).unwrap();
    set.servers.wait_until_in_sync().unwrap();
    let bounded = client.max_staleness(Duration::from_millis(49));
    set.servers.master().reset_counts().unwrap();
    (0..100).for_each(|_| assert_eq!(bounded.get::<u64>("n").unwrap(), 1));
    // A replica's answer is not handed out, so that there is another one of the master.
    assert_eq!(set.servers.master().calls("GET").unwrap(), 100);
    let error = bounded.read_from(ReadFrom::Replica).deadline(BOUND).get::<u64>("n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn without_a_fresh_replica_there_is_none_to_read_from() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().build().unwrap();
    client.set("n", 1).unwrap();
    let bounded = client.max_staleness(BOUND).read_from(ReadFrom::Replica);
    wait_until("the replica is fresh", || bounded.get::<u64>("n").is_ok_and(|value| value == 1));
    set.freeze(0);
    client.set("n", 2).unwrap();
    let written = Instant::now();
    let impatient = bounded.deadline(BOUND);
    let mut error = None;
    wait_until("the replica is too old", || {
        let began = Instant::now();
        match impatient.get::<u64>("n") {
            Ok(value) => assert!(value == 1 && began < written + BOUND, "{value} is too old"),
            Err(found) => error = Some(found),
        }
        error.is_some()
    });
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(client.max_staleness(BOUND).get::<u64>("n").unwrap(), 2, "the master is fresh");
    set.proxies[0].set(NetworkFault::None).unwrap();
    wait_until("the replica is fresh again", || bounded.get::<u64>("n").is_ok_and(|value| value == 2));
}

/// How far the master had written is asked each 25 ms for the short bound. The long one goes by what was asked long ago.
#[test]
fn a_long_bound_beside_a_short_one_is_served_by_replicas() {
    let set = Distant::start(1);
    let client = set.servers.client_builder().lag_limit(None).build().unwrap();
    client.set("n", 0).unwrap();
    let (short, long) =
        (client.max_staleness(Duration::from_millis(50)), client.max_staleness(Duration::from_secs(20)));
    let long = long.read_from(ReadFrom::Replica);
    wait_until("the replica has it", || long.get::<u64>("n").is_ok());
    set.freeze(0);
    let frozen = Instant::now();
    // Twice as long as all samples together would cover at that pace.
    while frozen.elapsed() < Duration::from_millis(6400) {
        client.incr("n").unwrap();
        short.get::<u64>("n").unwrap();
        // The pace of the calls: that they go on for so long is what is tested.
        thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..20 {
        assert_eq!(long.get::<u64>("n").unwrap(), 0, "what the replica has is young enough");
    }
}
