//! The control: reading from replicas by offsets alone, past the client. It must be caught.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::redis::{self, Connection, FromRedisValue, RedisResult, Value};

use super::player::Progress;

const PATIENCE: Duration = Duration::from_secs(2);

/// What the naive rule accepted, and how much of that was wrong.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub accepted: AtomicU64,
    pub wrong: AtomicU64,
}

/// A thread that takes for its token the master's offset after a write, and accepts what a replica says that is connected
/// and has reached that offset.
pub struct Naive<'a> {
    pub urls: &'a [String],
    pub key: String,
    pub verdicts: &'a Verdicts,
    pub progress: &'a Progress,
}

/// What a server says of itself by `ROLE`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Master { offset: u64 },
    Connected { offset: u64 },
    Other,
}

struct State {
    connections: Vec<Option<Connection>>,
    master: usize,
    next: u64,
    /// The last value that was written, or read.
    floor: u64,
    token: u64,
}

impl Naive<'_> {
    pub fn play(self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let connections = self.urls.iter().map(|_| None).collect();
        let mut state = State { connections, master: 0, next: 0, floor: 0, token: 0 };
        while self.progress.goes_on() {
            if rng.random_ratio(1, 6) {
                self.write(&mut state);
            } else {
                let replica = (state.master + rng.random_range(1..self.urls.len())) % self.urls.len();
                self.read(&mut state, replica);
            }
        }
    }

    fn write(&self, state: &mut State) {
        state.next += 1;
        let value = state.next;
        let mut pipeline = redis::pipe();
        pipeline.set(&self.key, value).ignore().cmd("ROLE");
        match self.ask::<(Value,)>(state, state.master, &pipeline) {
            Ok((role,)) => {
                if let Role::Master { offset } = Role::of(role) {
                    (state.floor, state.token) = (value, offset);
                }
            }
            // The next one may be the master: it is found by trying.
            Err(_) => state.master = (state.master + 1) % self.urls.len(),
        }
    }

    fn read(&self, state: &mut State, replica: usize) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ROLE").get(&self.key);
        let Ok((role, value)) = self.ask::<(Value, Option<u64>)>(state, replica, &pipeline) else { return };
        let Role::Connected { offset } = Role::of(role) else { return };
        if offset < state.token {
            return;
        }
        let value = value.unwrap_or(0);
        self.verdicts.accepted.fetch_add(1, Ordering::SeqCst);
        if value < state.floor {
            self.verdicts.wrong.fetch_add(1, Ordering::SeqCst);
        } else {
            (state.floor, state.token) = (value, offset);
        }
    }

    fn ask<T: FromRedisValue>(&self, state: &mut State, server: usize, pipeline: &redis::Pipeline) -> RedisResult<T> {
        let place = &mut state.connections[server];
        if place.is_none() {
            let connection = redis::Client::open(self.urls[server].as_str())?.get_connection_with_timeout(PATIENCE)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            *place = Some(connection);
        }
        let Some(connection) = place else { unreachable!("it was made just now") };
        pipeline.query(connection).inspect_err(|_| *place = None)
    }
}

impl Role {
    fn of(reply: Value) -> Self {
        let Value::Array(parts) = reply else { return Self::Other };
        let text = |index: usize| parts.get(index).and_then(|part| String::from_redis_value_ref(part).ok());
        let number = |index: usize| parts.get(index).and_then(|part| u64::from_redis_value_ref(part).ok());
        match (text(0).as_deref(), text(3).as_deref()) {
            (Some("master"), _) => number(1).map_or(Self::Other, |offset| Self::Master { offset }),
            (Some("slave"), Some("connected")) => number(4).map_or(Self::Other, |offset| Self::Connected { offset }),
            _ => Self::Other,
        }
    }
}
