//! One thread of the load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use redis_replicated::{ReadFrom, ReplicatedClient, Token, redis};

use super::counter::Counter;
use super::failure::Failure;
use super::gauge::Caller;
use super::load::{LARGE, Load, WORDS};
use super::word::Word;

/// How long a write may wait for replicas.
const ACKNOWLEDGED: Duration = Duration::from_millis(100);

/// What a thread does in one phase.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Writer,
    Reader,
    /// A session that proves what it reads by replication offsets.
    Strict,
    /// A session that proves it by a counter.
    Fence,
    Transactions,
}

/// One thread, which is the only one that writes its keys.
pub(super) struct Player<'a> {
    load: &'a Load<'a>,
    thread: usize,
    caller: Caller<'a>,
    rng: StdRng,
    pause: Duration,
    value: Vec<u8>,
}

impl Role {
    pub(super) fn of(number: usize) -> Self {
        let turns = [
            Self::Writer,
            Self::Reader,
            Self::Strict,
            Self::Reader,
            Self::Transactions,
            Self::Reader,
            Self::Fence,
            Self::Reader,
        ];
        turns[number % turns.len()]
    }
}

impl<'a> Player<'a> {
    pub(super) fn new(load: &'a Load<'a>, thread: usize, rng: StdRng, pause: Duration) -> Self {
        Self { load, thread, caller: load.gauge.caller(thread), rng, pause, value: Vec::new() }
    }

    /// Calls until it is told to stop.
    pub(super) fn play(mut self, role: Role, fence: Token, stop: &AtomicBool) {
        let client = &self.load.client;
        let mut session = match role {
            Role::Fence => client.resume(&fence),
            _ => client.session(),
        };
        let mut seen = Seen { is_strict: matches!(role, Role::Strict), own: 0, shared: 0 };
        while !stop.load(Ordering::SeqCst) {
            match role {
                Role::Writer => self.write(),
                Role::Reader => self.read(),
                Role::Transactions => self.transact(),
                Role::Strict | Role::Fence => {
                    if self.rng.random_ratio(1, 500) {
                        // To another process and back.
                        let text = session.token().unwrap().to_string();
                        session = client.resume(&text.parse().unwrap());
                    }
                    self.follow(&session, &mut seen);
                }
            }
            if !self.pause.is_zero() {
                thread::sleep(self.pause.mul_f64(self.rng.random()));
            }
        }
    }

    /// Calls at an even pace; every node is used.
    pub(super) fn rest(mut self, stop: &AtomicBool) {
        let limit = Duration::from_secs(3);
        let [replica, master] = [ReadFrom::Replica, ReadFrom::Master];
        while !stop.load(Ordering::SeqCst) {
            self.set(0, 1000, limit);
            let word = &self.load.words[0];
            self.get(word, master, limit);
            (0..8).for_each(|_| _ = self.get(word, replica, limit));
            self.raise(&self.load.shared[0], limit);
            // The pace of the rest.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns a client with a time limit, short or long.
    fn client(&mut self) -> (ReplicatedClient, Duration) {
        let limit = self.limit();
        (self.load.client.deadline(limit), limit)
    }

    fn limit(&mut self) -> Duration {
        Duration::from_millis(match self.rng.random_range(0..100) {
            0..4 => 5,
            4..20 => 20,
            20..40 => 100,
            40..70 => 500,
            _ => 3000,
        })
    }

    /// Returns a length up to 64 KiB, more often a small one.
    fn length(&mut self) -> usize {
        let part: f64 = self.rng.random();
        (10.0 * 6553.6_f64.powf(part * part)) as usize
    }

    fn wrong(&self, checked: Result<(), String>) {
        checked.unwrap_or_else(|what| self.load.gauge.wrong(what));
    }

    fn write(&mut self) {
        let limit = self.limit();
        let word = self.rng.random_range(0..WORDS);
        match self.rng.random_range(0..100) {
            0 if self.thread < LARGE => self.set_large(),
            0..70 => {
                let length = self.length();
                self.set(word, length, limit);
            }
            70..85 => {
                let counter = self.rng.random_range(0..self.load.shared.len());
                self.raise(&self.load.shared[counter], limit);
            }
            _ => self.read_own(word, limit),
        }
    }

    fn set(&mut self, word: usize, length: usize, limit: Duration) {
        let word = &self.load.words[self.thread * WORDS + word];
        let number = word.next(length, &mut self.value);
        let client = self.load.client.deadline(limit);
        let set = if self.rng.random_ratio(1, 20) {
            let client = client.acknowledged_by(1, ACKNOWLEDGED);
            self.caller.call("SET, WAIT", limit + ACKNOWLEDGED, || client.set(&word.key, &self.value[..]))
        } else {
            self.caller.call("SET", limit, || client.set(&word.key, &self.value[..]))
        };
        ended(word, number, &set);
    }

    fn set_large(&mut self) {
        let (word, limit) = (&self.load.large[self.thread], Duration::from_secs(3));
        let number = word.next(2 << 20, &mut self.value);
        let client = self.load.client.deadline(limit);
        let set = self.caller.call("SET 2 MiB", limit, || client.set(&word.key, &self.value[..]));
        ended(word, number, &set);
        self.value = Vec::new();
    }

    fn raise(&mut self, counter: &Counter, limit: Duration) {
        let client = self.load.client.deadline(limit);
        counter.send();
        let raised = self.caller.call("INCR", limit, || client.incr(&counter.key));
        counter.ended(&raised);
        if let Ok(value) = raised {
            self.wrong(counter.check(value.cast_unsigned()));
        }
    }

    /// Reads what it wrote itself, on the master.
    fn read_own(&mut self, word: usize, limit: Duration) {
        let word = &self.load.words[self.thread * WORDS + word];
        let client = self.load.client.deadline(limit).read_from(ReadFrom::Master);
        let got = self.caller.call("GET on the master", limit, || client.get::<Option<Vec<u8>>>(&word.key));
        if let Ok(value) = got {
            self.wrong(word.check_present(value.as_deref()));
        }
    }

    fn word(&mut self) -> &'a Word {
        &self.load.words[self.rng.random_range(0..self.load.words.len())]
    }

    fn read(&mut self) {
        let (client, limit) = self.client();
        match self.rng.random_range(0..3000) {
            0 => {
                let word = &self.load.large[self.rng.random_range(0..LARGE)];
                self.get(word, ReadFrom::ReplicaPreferred, Duration::from_secs(3));
            }
            1..600 => {
                let words: [&Word; 4] = std::array::from_fn(|_| self.word());
                let keys = words.map(|word| word.key.as_str());
                let values = self.caller.call("MGET", limit, || client.mget::<Vec<Option<Vec<u8>>>>(&keys));
                self.check_all(words, values);
            }
            600..1000 => {
                let words: [&Word; 4] = std::array::from_fn(|_| self.word());
                let mut pipeline = redis::pipe();
                words.iter().for_each(|word| _ = pipeline.get(&word.key));
                let values = self.caller.call("pipeline of GET", limit, || client.query_pipeline(&pipeline));
                self.check_all(words, values);
            }
            1000..1200 => {
                let counter = &self.load.shared[self.rng.random_range(0..self.load.shared.len())];
                let got = self.caller.call("GET", limit, || client.get::<Option<u64>>(&counter.key));
                if let Ok(value) = got {
                    self.wrong(counter.check(value.unwrap_or(0)));
                }
            }
            1200..1500 => {
                let word = self.word();
                self.get(word, ReadFrom::Any, limit);
            }
            _ => {
                let word = self.word();
                self.get(word, ReadFrom::ReplicaPreferred, limit);
            }
        }
    }

    fn get(&mut self, word: &Word, read_from: ReadFrom, limit: Duration) {
        let client = self.load.client.deadline(limit).read_from(read_from);
        let got = self.caller.call("GET", limit, || client.get::<Option<Vec<u8>>>(&word.key));
        if let Ok(value) = got {
            self.wrong(word.check(value.as_deref()).map(drop));
        }
    }

    fn check_all(&self, words: [&Word; 4], values: Result<Vec<Option<Vec<u8>>>, Failure>) {
        let Ok(values) = values else { return };
        if values.len() != words.len() {
            return self.wrong(Err(format!("{} values for {} keys", values.len(), words.len())));
        }
        words.iter().zip(&values).for_each(|(word, value)| self.wrong(word.check(value.as_deref()).map(drop)));
    }
}

/// Records what became of a write.
fn ended<T>(word: &Word, number: u64, set: &Result<T, Failure>) {
    match set {
        Ok(_) => word.applied(number),
        Err(failure) if failure.in_doubt => word.in_doubt(number),
        Err(_) => {}
    }
}

/// What a session has seen, and has to see again.
struct Seen {
    is_strict: bool,
    /// Of its own counter.
    own: u64,
    /// Of one that others raise too: only a strict session promises that.
    shared: u64,
}

/// Calls that need more than one step, and those of sessions.
impl Player<'_> {
    fn follow(&mut self, session: &ReplicatedClient, seen: &mut Seen) {
        let limit = self.limit();
        let session = session.deadline(limit);
        let (own, shared) = (&self.load.own[self.thread], &self.load.shared[0]);
        match self.rng.random_range(0..10) {
            0..2 => {
                own.send();
                let raised = self.caller.call("INCR of a session", limit, || session.incr(&own.key));
                own.ended(&raised);
                if let Ok(value) = raised {
                    self.wrong(see(own, &mut seen.own, value.cast_unsigned(), true));
                }
            }
            2..8 => {
                let got = self.caller.call("GET of a session", limit, || session.get::<Option<u64>>(&own.key));
                if let Ok(value) = got {
                    // A raise in doubt may be applied late: then a session by counter may see it, and not again.
                    self.wrong(see(own, &mut seen.own, value.unwrap_or(0), seen.is_strict));
                }
            }
            _ => {
                let mut pipeline = redis::pipe();
                pipeline.get(&own.key).get(&shared.key);
                let read = || session.query_pipeline::<[Option<u64>; 2]>(&pipeline);
                let got = self.caller.call("pipeline of a session", limit, read);
                if let Ok([value, other]) = got.map(|values| values.map(Option::unwrap_or_default)) {
                    self.wrong(see(own, &mut seen.own, value, seen.is_strict));
                    if seen.is_strict {
                        self.wrong(see(shared, &mut seen.shared, other, true));
                    }
                }
            }
        }
    }

    fn transact(&mut self) {
        let (client, limit) = self.client();
        let pair = &self.load.pairs[self.thread];
        let mut pipeline = redis::pipe();
        match self.rng.random_range(0..10) {
            0..4 => {
                pipeline.atomic();
                let values = self.raise_both("transaction", [&pair[0], &pair[1]], pipeline, client, limit);
                if let Some([a, b]) = values.filter(|[a, b]| a != b) {
                    self.wrong(Err(format!("one transaction raises a pair to {a} and {b}")));
                }
            }
            4..6 => {
                let shared = &self.load.shared;
                self.raise_both("pipeline", [&shared[1], &shared[2]], pipeline, client, limit);
            }
            6..8 => {
                let word = &self.load.words[self.thread * WORDS];
                let length = self.length();
                let number = word.next(length, &mut self.value);
                pipeline.atomic().set(&word.key, &self.value[..]).ignore().get(&word.key);
                let run = || client.query_pipeline::<(Vec<u8>,)>(&pipeline);
                let set = self.caller.call("transaction of SET and GET", limit, run);
                ended(word, number, &set);
                if let Ok((value,)) = set
                    && value != self.value
                {
                    self.wrong(Err(format!("{} is not what the same transaction set it to", word.key)));
                }
            }
            _ => self.raise_watched(&client, limit),
        }
    }

    fn raise_both(
        &mut self,
        what: &str,
        counters: [&Counter; 2],
        mut pipeline: redis::Pipeline,
        client: ReplicatedClient,
        limit: Duration,
    ) -> Option<[u64; 2]> {
        for counter in counters {
            counter.send();
            pipeline.incr(&counter.key, 1);
        }
        let raised = self.caller.call(what, limit, || client.query_pipeline::<[u64; 2]>(&pipeline));
        counters.iter().for_each(|counter| counter.ended(&raised));
        let values = raised.ok()?;
        counters.iter().zip(values).for_each(|(counter, value)| self.wrong(counter.check(value)));
        Some(values)
    }

    /// Reads a counter, and sets it to one more if nobody else has meanwhile.
    fn raise_watched(&mut self, client: &ReplicatedClient, limit: Duration) {
        let counter = &self.load.watched;
        let mut connection = client.connection();
        let watched = self.caller.call("WATCH", limit, || redis::cmd("WATCH").arg(&counter.key).exec(&mut connection));
        if watched.is_err() {
            return;
        }
        let get = || redis::Cmd::get(&counter.key).query::<Option<u64>>(&mut connection);
        let Ok(value) = self.caller.call("GET behind WATCH", limit, get) else { return };
        let value = value.unwrap_or(0);
        self.wrong(counter.check(value));
        let mut pipeline = redis::pipe();
        pipeline.atomic().set(&counter.key, value + 1);
        counter.send();
        let set = || pipeline.query::<Option<(String,)>>(&mut connection);
        let set = self.caller.call("EXEC behind WATCH", limit, set);
        // Nothing: somebody else was faster.
        if !matches!(set, Ok(None)) {
            counter.ended(&set);
        }
    }
}

/// Checks a number that a session read, and records it if the session has to see it again.
fn see(counter: &Counter, seen: &mut u64, value: u64, is_seen: bool) -> Result<(), String> {
    let floor = *seen;
    if is_seen {
        *seen = value.max(floor);
    }
    if value < floor {
        return Err(format!("a session reads {} = {value} after {floor}", counter.key));
    }
    counter.check(value)
}
