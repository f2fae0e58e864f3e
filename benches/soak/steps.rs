//! The calls of sessions, and those that need more than one step.

use std::time::Duration;

use rand::Rng;
use redis_replicated::{ReplicatedClient, redis};

use super::counter::Counter;
use super::failure::Failure;
use super::load::WORDS;
use super::player::{Player, ended};

/// What a session has seen, and has to see again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    is_strict: bool,
    /// Of its own counter.
    own: u64,
    /// Of one that others raise too: only a strict session promises that.
    shared: u64,
}

impl Seen {
    pub(super) fn nothing(is_strict: bool) -> Self {
        Self { is_strict, own: 0, shared: 0 }
    }
}

impl Player<'_> {
    /// Makes a call of a session.
    pub(super) fn follow(&mut self, session: &ReplicatedClient, seen: &mut Seen) {
        let limit = self.limit();
        let session = session.deadline(limit);
        let (own, shared) = (&self.load.own[self.thread], &self.load.shared[0]);
        let failed = match self.rng.random_range(0..10) {
            0..2 => {
                own.send();
                let what = if seen.is_strict { "INCR, strict" } else { "INCR, fence" };
                let raised = self.caller.call(what, limit, || session.incr(&own.key));
                own.ended(&raised);
                raised.map(|value| self.wrong(see(own, &mut seen.own, value.cast_unsigned(), true))).err()
            }
            2..8 => {
                let what = if seen.is_strict { "GET, strict" } else { "GET, fence" };
                let got = self.caller.call(what, limit, || session.get::<Option<u64>>(&own.key));
                // A raise in doubt may be applied late: then a session by counter may see it, and not again.
                got.map(|value| self.wrong(see(own, &mut seen.own, value.unwrap_or(0), seen.is_strict))).err()
            }
            _ => {
                let what = if seen.is_strict { "pipeline of GET, strict" } else { "pipeline of GET, fence" };
                let mut pipeline = redis::pipe();
                pipeline.get(&own.key).get(&shared.key);
                let read = || session.query_pipeline::<[Option<u64>; 2]>(&pipeline);
                let got = self.caller.call(what, limit, read).map(|values| values.map(Option::unwrap_or_default));
                let see_both = |[value, other]: [u64; 2]| {
                    self.wrong(see(own, &mut seen.own, value, seen.is_strict));
                    if seen.is_strict {
                        self.wrong(see(shared, &mut seen.shared, other, true));
                    }
                };
                got.map(see_both).err()
            }
        };
        if let Some(failure) = failed.filter(Failure::is_telling) {
            if seen.is_strict {
                self.wrong(Err(format!("a strict session is told of a loss: {}", failure.text())));
            }
            // The session goes on with what the master has.
            *seen = Seen::nothing(seen.is_strict);
        }
    }

    pub(super) fn transact(&mut self) {
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
        what: &'static str,
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
