//! The control: reading from replicas by rules that are not good enough, past the client. They must be caught.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis_replicated::redis::{self, Connection, FromRedisValue, RedisResult};

use super::history::{FIRST_NAIVE, KEYS};
use super::progress::{Progress, count};

const PATIENCE: Duration = Duration::from_millis(500);

/// By what a naive reader accepts what a replica says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// Its link is up, and it has come to the offset that the master had after the write.
    Offsets,
    /// Its link is down.
    AnyUnlinked,
    /// Its link is down, and by its id or its second one it has come so far.
    SecondId,
}

/// What the rules accepted, and how much of that was wrong.
#[derive(Debug, Default)]
pub struct Verdicts([(AtomicU64, AtomicU64); 3]);

impl Rule {
    pub const ALL: [Self; 3] = [Self::Offsets, Self::AnyUnlinked, Self::SecondId];

    /// Returns whether it goes by replicas without a link: such a reader only asks traps.
    fn asks_traps(self) -> bool {
        self != Self::Offsets
    }

    fn accepts(self, said: &Said, token: &Token) -> bool {
        let is_unlinked = said.role == "slave" && !said.is_linked && !said.syncs;
        let has = |id: &str| id == token.id && said.offset >= token.offset;
        match self {
            Self::Offsets => said.role == "slave" && said.is_linked && said.offset >= token.offset,
            Self::AnyUnlinked => is_unlinked,
            Self::SecondId => {
                let is_shared = said.second.as_ref().is_some_and(|(id, parted)| has(id) && token.offset < *parted);
                is_unlinked && said.offset >= 2 && (has(&said.id) || is_shared)
            }
        }
    }
}

impl Verdicts {
    pub fn accepted(&self, rule: Rule) -> u64 {
        count(&self.0[rule as usize].0)
    }

    pub fn wrong(&self, rule: Rule) -> u64 {
        count(&self.0[rule as usize].1)
    }

    fn add(&self, rule: Rule, is_wrong: bool) {
        let (accepted, wrong) = &self.0[rule as usize];
        accepted.fetch_add(1, Ordering::SeqCst);
        wrong.fetch_add(u64::from(is_wrong), Ordering::SeqCst);
    }
}

/// A thread that takes for its token what the master says of itself after a write.
pub struct Naive<'a> {
    pub rule: Rule,
    pub urls: &'a [String],
    pub verdicts: &'a Verdicts,
    pub progress: &'a Progress,
}

/// What a server says of itself by `INFO replication`.
#[derive(Debug, Default)]
struct Said {
    role: String,
    is_linked: bool,
    syncs: bool,
    id: String,
    offset: u64,
    second: Option<(String, u64)>,
}

#[derive(Debug, Default)]
struct Token {
    id: String,
    offset: u64,
}

#[derive(Default)]
struct State {
    connections: Vec<Option<Connection>>,
    master: usize,
    next: u64,
    /// The last value that was written, or read.
    floor: u64,
    token: Token,
}

impl Naive<'_> {
    pub fn play(self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let connections = self.urls.iter().map(|_| None).collect();
        let mut state = State { connections, ..State::default() };
        while self.progress.goes_on() {
            if self.rule.asks_traps() {
                // The pace of the control: it must not keep the trap from others.
                thread::sleep(Duration::from_millis(1));
            }
            match self.progress.trap().filter(|_| self.rule.asks_traps()) {
                Some(trap) => {
                    self.read(&mut state, trap);
                    self.progress.naive_asked.fetch_add(1, Ordering::SeqCst);
                }
                None if !self.progress.may_write() => self.ask_replica(&mut state, &mut rng),
                None if self.rule.asks_traps() || rng.random_ratio(1, 6) => self.write(&mut state),
                None => self.ask_replica(&mut state, &mut rng),
            }
        }
    }

    fn key(&self) -> &'static str {
        KEYS[FIRST_NAIVE + self.rule as usize]
    }

    fn write(&self, state: &mut State) {
        state.next += 1;
        let value = state.next;
        let mut pipeline = redis::pipe();
        pipeline.set(self.key(), value).ignore().cmd("INFO").arg("replication");
        match self.ask::<(String,)>(state, state.master, &pipeline) {
            Ok((said,)) => {
                let said = Said::of(&said);
                if said.role == "master" {
                    (state.floor, state.token) = (value, Token { id: said.id, offset: said.offset });
                    self.progress.naive_written.fetch_add(u64::from(self.rule.asks_traps()), Ordering::SeqCst);
                }
            }
            // The next one may be the master: it is found by trying.
            Err(_) => state.master = (state.master + 1) % self.urls.len(),
        }
    }

    fn ask_replica(&self, state: &mut State, rng: &mut StdRng) {
        if !self.rule.asks_traps() {
            let replica = (state.master + rng.random_range(1..self.urls.len())) % self.urls.len();
            self.read(state, replica);
        }
    }

    fn read(&self, state: &mut State, replica: usize) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO").arg("replication").get(self.key());
        let Ok((said, value)) = self.ask::<(String, Option<u64>)>(state, replica, &pipeline) else { return };
        let said = Said::of(&said);
        if !self.rule.accepts(&said, &state.token) {
            return;
        }
        let value = value.unwrap_or(0);
        self.verdicts.add(self.rule, value < state.floor);
        if value >= state.floor && !self.rule.asks_traps() {
            (state.floor, state.token.offset) = (value, said.offset);
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

impl Said {
    fn of(info: &str) -> Self {
        let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let text = |name: &str| (*fields.get(name).unwrap_or(&"")).to_owned();
        let number = |name: &str| text(name).parse::<u64>().ok();
        let is_master = text("role") == "master";
        Self {
            role: text("role"),
            is_linked: text("master_link_status") == "up",
            syncs: text("master_sync_in_progress") == "1",
            id: text("master_replid"),
            offset: number(if is_master { "master_repl_offset" } else { "slave_repl_offset" }).unwrap_or(0),
            second: number("second_repl_offset").map(|parted| (text("master_replid2"), parted)),
        }
    }
}
