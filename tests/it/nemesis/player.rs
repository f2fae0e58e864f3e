//! The threads that write and read with a session.

use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::{Error, ReplicatedClient, Result, redis};

use super::history::{FIRST_OWN, KEYS, REIGN};
use super::model::Model;
use super::progress::Progress;

/// A thread that writes a key of its own and reads all, with a session.
pub struct Player<'a> {
    pub name: &'static str,
    /// Which of the own keys is its own.
    pub own: usize,
    /// Without a session.
    pub client: ReplicatedClient,
    pub session: ReplicatedClient,
    pub model: &'a Model,
    pub progress: &'a Progress,
    /// The session is nobody else's: now and then it goes on as a token.
    pub travels: bool,
}

impl Player<'_> {
    pub fn play(mut self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut next = 0;
        while self.progress.goes_on() {
            if self.travels && rng.random_ratio(1, 300) {
                let text = self.session.token().unwrap().to_string();
                self.session = self.client.resume(&text.parse().unwrap());
            }
            if self.progress.may_write() && rng.random_ratio(1, 6) {
                next += 1;
                self.write(next, rng.random_range(0..3));
            } else if self.progress.outages.is_on() && rng.random_ratio(1, 3) {
                self.read_plainly();
            } else {
                self.read(rng.random_range(0..8));
            }
        }
    }

    fn write(&self, value: u64, way: u32) {
        let (key, mut pipeline) = (FIRST_OWN + self.own, redis::pipe());
        pipeline.set(KEYS[key], value).ignore().get(KEYS[REIGN]);
        let before = self.model.begin();
        let written: Result<(Option<u64>,)> = match way {
            0 => self.session.query_pipeline(&pipeline),
            1 => self.session.query_pipeline(pipeline.atomic()),
            _ => pipeline.atomic().query(&mut self.session.connection()).map_err(ours),
        };
        match written {
            Ok((reign,)) => {
                // None at all: on a master that came back empty.
                self.model.wrote(&before, key, value, reign.unwrap_or(0));
                self.progress.written.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => self.model.failed(&before, &error),
        }
    }

    fn read(&self, way: u32) {
        let before = self.model.begin();
        let all = redis::cmd("MGET").arg(&KEYS).to_owned();
        let began = self.progress.outages.moment();
        let read: Result<Vec<Option<u64>>> = match way {
            0 => {
                let mut pipeline = redis::pipe();
                for key in KEYS {
                    pipeline.get(key);
                }
                // A replica may pass into the next reign on its way through.
                pipeline.get(KEYS[REIGN]);
                self.session.query_pipeline(&pipeline)
            }
            1 => all.query(&mut self.session.connection()).map_err(ours),
            _ => self.session.query(&all),
        };
        let outages = &self.progress.outages;
        outages.count(&outages.by_sessions, began, read.is_ok(), way > 1);
        match read {
            // What it writes is of one reign or the other.
            Ok(values) if self.model.is_of_own() && values.last() != values.get(REIGN) && way == 0 => {
                self.model.forget(&before);
            }
            Ok(values) => {
                let values = std::array::from_fn(|key| values[key].unwrap_or(0));
                self.model.read(self.name, before, values);
                self.progress.accepted.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => self.model.failed(&before, &error),
        }
    }

    /// Without the session, to compare with.
    fn read_plainly(&self) {
        let all = redis::cmd("MGET").arg(&KEYS).to_owned();
        let outages = &self.progress.outages;
        let began = outages.moment();
        let read: Result<Vec<Option<u64>>> = self.client.query(&all);
        outages.count(&outages.plain, began, read.is_ok(), true);
    }
}

/// The error of this crate inside one of the redis crate: nothing else is expected here.
fn ours(error: redis::RedisError) -> Error {
    Error::of(&error).unwrap_or_else(|| panic!("an answer of a server: {error}")).clone()
}
