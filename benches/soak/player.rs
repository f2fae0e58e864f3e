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
use super::steps::Seen;
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
    pub(super) load: &'a Load<'a>,
    pub(super) thread: usize,
    pub(super) caller: Caller<'a>,
    pub(super) rng: StdRng,
    pause: Duration,
    pub(super) value: Vec<u8>,
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
        let mut seen = Seen::nothing(matches!(role, Role::Strict));
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
            (0..8).for_each(|_| self.get(word, replica, limit));
            self.raise(&self.load.shared[0], limit);
            // The pace of the rest.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns a client with a time limit, short or long.
    pub(super) fn client(&mut self) -> (ReplicatedClient, Duration) {
        let limit = self.limit();
        (self.load.client.deadline(limit), limit)
    }

    pub(super) fn limit(&mut self) -> Duration {
        Duration::from_millis(match self.rng.random_range(0..100) {
            0..4 => 5,
            4..20 => 20,
            20..40 => 100,
            40..70 => 500,
            _ => 3000,
        })
    }

    /// Returns a length up to 64 KiB, more often a small one.
    pub(super) fn length(&mut self) -> usize {
        let part: f64 = self.rng.random();
        (10.0 * 6553.6_f64.powf(part * part)) as usize
    }

    pub(super) fn wrong(&self, checked: Result<(), String>) {
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
pub(super) fn ended<T>(word: &Word, number: u64, set: &Result<T, Failure>) {
    match set {
        Ok(_) => word.applied(number),
        Err(failure) if failure.in_doubt => word.in_doubt(number),
        Err(_) => {}
    }
}
