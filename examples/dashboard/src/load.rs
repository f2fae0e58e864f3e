//! The application: threads that read and write at a steady pace.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use redis_replicated::{ReplicatedClient, Result};

use crate::tally::{Promises, Tally, is_loss};

const KEYS: u64 = 1000;
const READERS: u64 = 10;
const WRITERS: u64 = 2;
const READS_OF_ONE: u32 = 170;
const WRITES_OF_ONE: u32 = 75;
/// Pairs of a write and a read in a session.
const PAIRS: u32 = 40;

/// The application, as it sees itself.
pub struct Load {
    pub reads: Tally,
    pub writes: Tally,
    pub promises: Promises,
    turn: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    pub fn new() -> Self {
        let (reads, writes, promises) = (Tally::new(), Tally::new(), Promises::default());
        Self { reads, writes, promises, turn: AtomicU64::new(0), is_over: AtomicBool::new(false) }
    }

    /// Writes all keys.
    pub fn prepare(client: &ReplicatedClient) -> Result<()> {
        (0..KEYS).try_for_each(|key| client.set(format!("item:{key}"), 0).map(drop))
    }

    pub fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, client: &'scope ReplicatedClient) {
        for _ in 0..READERS {
            scope.spawn(|| {
                self.pace(READS_OF_ONE, || {
                    let key = self.next_key();
                    let _ = self.reads.count(|| client.get::<Option<u64>>(key));
                });
            });
        }
        for _ in 0..WRITERS {
            scope.spawn(|| {
                self.pace(WRITES_OF_ONE, || {
                    let (key, value) = (self.next_key(), self.turn.load(Ordering::Relaxed));
                    let _ = self.writes.count(|| client.set(key, value));
                });
            });
        }
        scope.spawn(|| self.read_own_writes(client));
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Writes with a session, and reads the same key with it from a replica.
    fn read_own_writes(&self, client: &ReplicatedClient) {
        let mut session = client.session();
        let mut number = 0_u64;
        self.pace(PAIRS, || {
            number += 1;
            let written = self.writes.count(|| session.set("visitor", number));
            match written.and_then(|_| self.reads.count(|| session.get::<Option<u64>>("visitor"))) {
                Ok(seen) => {
                    let kept = seen.is_some_and(|seen| seen >= number);
                    let counter = if kept { &self.promises.kept } else { &self.promises.broken };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if is_loss(&error) => {
                    self.promises.lost.fetch_add(1, Ordering::Relaxed);
                    session = client.session();
                }
                Err(_) => {}
            }
        });
    }

    fn next_key(&self) -> String {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        format!("item:{}", turn.wrapping_mul(7919) % KEYS)
    }

    /// Acts so often in a second. What a slow call misses is not made up for.
    fn pace(&self, per_second: u32, mut act: impl FnMut()) {
        let interval = Duration::from_secs(1) / per_second;
        let mut next = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            act();
            let now = Instant::now();
            next = (next + interval).max(now);
            thread::sleep(next - now);
        }
    }
}
