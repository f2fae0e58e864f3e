//! The load: it changes every few seconds.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::testing::Server;
use redis_replicated::{Builder, ReplicatedClient, SessionMode, Token, redis};

use super::counter::Counter;
use super::gauge::{Caller, Gauge};
use super::player::{Player, Role};
use super::queue::Queue;
use super::word::Word;

/// The most threads that call by turns of roles.
const MOST: usize = 128;
const THREADS: [usize; 5] = [1, 4, 16, 64, MOST];
/// Beside them: the one that pushes, the one that pops, and the one that changes the load.
pub(super) const SLOTS: usize = MOST + 3;
const PUSHER: usize = MOST;
const POPPER: usize = MOST + 1;
const CONDUCTOR: usize = MOST + 2;
/// Keys that each thread sets.
pub(super) const WORDS: usize = 4;
/// Keys with large values.
pub(super) const LARGE: usize = 4;
const SHARED: usize = 8;

/// All that the threads call with, and what they know of the data.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) client: ReplicatedClient,
    pub(super) gauge: &'a Gauge,
    /// By thread.
    pub(super) words: Vec<Word>,
    pub(super) large: Vec<Word>,
    /// Raised by all threads.
    pub(super) shared: Vec<Counter>,
    /// Raised by one thread each: by its session, and two at a time.
    pub(super) own: Vec<Counter>,
    pub(super) pairs: Vec<[Counter; 2]>,
    /// Raised by whoever finds it unchanged behind `WATCH`.
    pub(super) watched: Counter,
    queue: Queue,
    /// A session of the other mode, of which others are made.
    fences: ReplicatedClient,
    phase: Mutex<Option<Phase>>,
}

/// A few seconds of the same load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    number: usize,
    threads: usize,
    /// The longest pause of each thread after a call.
    pause: Duration,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}{}", self.threads, if self.pause.is_zero() { "" } else { " paced" })
    }
}

impl<'a> Load<'a> {
    /// `nodes` names the nodes to another client, which only makes the first session of the other mode.
    pub(super) fn new(client: ReplicatedClient, nodes: Builder, gauge: &'a Gauge) -> Self {
        let other = nodes.session_mode(SessionMode::Fence).build().unwrap().session();
        other.set("fences", 0).unwrap();
        let counters = |name: &str, count| (0..count).map(|number| Counter::new(format!("{name}{number}"))).collect();
        Self {
            fences: client.resume(&other.token().unwrap()),
            client,
            gauge,
            words: (0..MOST * WORDS)
                .map(|number| Word::new(format!("{}.{}", number / WORDS, number % WORDS)))
                .collect(),
            large: (0..LARGE).map(|number| Word::new(format!("large{number}"))).collect(),
            shared: counters("shared", SHARED),
            own: counters("own", MOST),
            pairs: (0..MOST).map(|thread| ["a", "b"].map(|name| Counter::new(format!("pair{thread}{name}")))).collect(),
            watched: Counter::new("watched".to_owned()),
            queue: Queue::default(),
            phase: Mutex::default(),
        }
    }

    /// Returns the present phase.
    pub(super) fn phase(&self) -> Option<Phase> {
        *self.phase.lock().unwrap()
    }

    /// Calls until `end`.
    pub(super) fn run(&self, mut rng: StdRng, end: Instant) {
        let mut caller = self.gauge.caller(CONDUCTOR);
        while let left = end.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            let number = rng.random_range(0..1 << 16);
            let pause = Duration::from_millis([0, 0, 2, 10][rng.random_range(0..4)]);
            let phase = Phase { number, threads: THREADS[rng.random_range(0..THREADS.len())], pause };
            *self.phase.lock().unwrap() = Some(phase);
            let fence = self.fence(&mut caller, number);
            let length = Duration::from_millis(rng.random_range(3000..6000));
            self.play(phase, fence, &mut rng, left.min(length));
        }
        *self.phase.lock().unwrap() = None;
    }

    /// Returns a token of the other mode, which has just been used.
    fn fence(&self, caller: &mut Caller<'_>, number: usize) -> Token {
        let limit = Duration::from_secs(3);
        // Where that fails, the last one is young enough.
        let _ = caller.call("SET for a fence", limit, || self.fences.deadline(limit).set("fences", number));
        self.fences.token().unwrap()
    }

    fn play(&self, phase: Phase, fence: Token, rng: &mut StdRng, time: Duration) {
        let (stop, is_done) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let mut random = || StdRng::seed_from_u64(rng.random());
        thread::scope(|scope| {
            for thread in 0..phase.threads {
                let (role, rng) = (Role::of(phase.number + thread), random());
                scope.spawn(move || Player::new(self, thread, rng, phase.pause).play(role, fence, stop));
            }
            let mut rng = random();
            scope.spawn(move || {
                self.queue.pop(&self.client, &mut self.gauge.caller(POPPER), &mut rng, (stop, is_done));
            });
            scope.spawn(|| self.queue.push(&self.client, &mut self.gauge.caller(PUSHER), is_done));
            thread::sleep(time);
            stop.store(true, Ordering::SeqCst);
        });
    }

    /// Calls on one thread, and uses all nodes, until it is told to stop.
    pub(super) fn rest(&self, stop: &AtomicBool) {
        Player::new(self, 0, StdRng::seed_from_u64(0), Duration::ZERO).rest(stop);
    }

    /// Checks the data on the master while nobody calls.
    pub(super) fn check_at_rest(&self, master: &Server) {
        let mut master = master.connection().unwrap();
        let counters = self.shared.iter().chain(&self.own).chain(self.pairs.iter().flatten()).chain([&self.watched]);
        for counter in counters {
            let value: Option<u64> = redis::Cmd::get(&counter.key).query(&mut master).unwrap();
            counter.check_at_rest(value.unwrap_or(0)).unwrap_or_else(|what| self.gauge.wrong(what));
        }
        for pair in &self.pairs {
            let keys = pair.each_ref().map(|counter| counter.key.as_str());
            let values: [Option<u64>; 2] = redis::Cmd::mget(&keys).query(&mut master).unwrap();
            if values[0] != values[1] {
                self.gauge.wrong(format!("transactions raised {keys:?} to {values:?}"));
            }
        }
        for word in self.words.iter().chain(&self.large) {
            let value: Option<Vec<u8>> = redis::Cmd::get(&word.key).query(&mut master).unwrap();
            word.check_present(value.as_deref()).unwrap_or_else(|what| self.gauge.wrong(what));
        }
        self.queue.check_at_rest(&mut master).unwrap_or_else(|what| self.gauge.wrong(what));
    }

    /// Prints how much was written.
    pub(super) fn print(&self) {
        let own = self.own.iter().chain(self.pairs.iter().flatten());
        let raises = self.shared.iter().chain(own).chain([&self.watched]).map(Counter::raises);
        let (acknowledged, in_doubt) = raises.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        println!("  counters: {acknowledged} raises acknowledged, {in_doubt} in doubt");
        println!("  list: {}", self.queue.summary());
    }
}
