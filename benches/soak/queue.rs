//! A list that one thread pushes to, while another one waits for what comes (`BLPOP`).

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use redis_replicated::{ReplicatedClient, redis};

use super::gauge::Caller;

const LIST: &str = "list";
/// Pushing stops while there is so much in the list.
const LONGEST: u64 = 1000;
/// So many pushes in doubt are remembered.
const REMEMBERED: usize = 10_000;

/// What was pushed and popped.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sent: u64,
    acknowledged: u64,
    pushes_in_doubt: u64,
    popped: u64,
    pops_in_doubt: u64,
    last: u64,
    /// Pushes that may be applied late, behind younger ones.
    late: BTreeSet<u64>,
}

impl Queue {
    /// Pushes until the other thread is done.
    pub(super) fn push(&self, client: &ReplicatedClient, caller: &mut Caller<'_>, is_done: &AtomicBool) {
        let limit = Duration::from_secs(1);
        let client = client.deadline(limit);
        let mut length = 0;
        while !is_done.load(Ordering::SeqCst) {
            let number = self.send();
            let pushed = caller.call("RPUSH", limit, || client.rpush(LIST, number));
            let mut state = self.state.lock().unwrap();
            match pushed {
                Ok(now) => {
                    state.acknowledged += 1;
                    length = now as u64;
                }
                Err(failure) if failure.in_doubt => {
                    state.pushes_in_doubt += 1;
                    state.late.insert(number);
                    if state.late.len() > REMEMBERED {
                        state.late.pop_first();
                    }
                }
                Err(_) => {}
            }
            drop(state);
            // The pace of the pushes.
            thread::sleep(Duration::from_millis(if length > LONGEST { 200 } else { 2 }));
        }
    }

    fn send(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.sent += 1;
        state.sent
    }

    /// Waits for what is pushed until it is told to stop; then says that it is done.
    pub(super) fn pop(
        &self,
        client: &ReplicatedClient,
        caller: &mut Caller<'_>,
        rng: &mut StdRng,
        (stop, is_done): (&AtomicBool, &AtomicBool),
    ) {
        while !stop.load(Ordering::SeqCst) {
            let deadline = Duration::from_millis([300, 3000][rng.random_range(0..2)]);
            let block = Duration::from_millis([0, 50, 500, 1000][rng.random_range(0..4)]);
            let client = client.deadline(deadline);
            // 0: until something comes.
            let limit = (!block.is_zero()).then(|| deadline + block);
            let mut pop = redis::cmd("BLPOP");
            pop.arg(LIST).arg(block.as_secs_f64());
            let what = if limit.is_some() { "BLPOP" } else { "BLPOP 0" };
            let popped = caller.call(what, limit, || client.query::<Option<(String, u64)>>(&pop));
            match popped {
                Ok(Some((list, number))) => {
                    let checked = if list == LIST { self.popped(number) } else { Err(format!("BLPOP from {list}")) };
                    checked.unwrap_or_else(|what| caller.gauge.wrong(what));
                }
                Err(failure) if failure.in_doubt => self.state.lock().unwrap().pops_in_doubt += 1,
                Ok(None) | Err(_) => {}
            }
        }
        is_done.store(true, Ordering::SeqCst);
    }

    fn popped(&self, number: u64) -> Result<(), String> {
        let mut state = self.state.lock().unwrap();
        state.popped += 1;
        if number > state.sent {
            return Err(format!("BLPOP returned {number}, and {} was pushed last", state.sent));
        }
        // Also where it comes in its turn: it must not come again.
        let was_late = state.late.remove(&number);
        if number <= state.last && !was_late {
            return Err(format!("BLPOP returned {number} behind {}", state.last));
        }
        state.last = state.last.max(number);
        Ok(())
    }

    /// Checks the length of the list while nobody pushes or pops.
    pub(super) fn check_at_rest(&self, master: &mut redis::Connection) -> Result<(), String> {
        let left: u64 = redis::cmd("LLEN").arg(LIST).query(master).map_err(|error| error.to_string())?;
        let state = self.state.lock().unwrap();
        let there = state.popped + left;
        let is_right =
            there <= state.acknowledged + state.pushes_in_doubt && state.acknowledged <= there + state.pops_in_doubt;
        if is_right { Ok(()) } else { Err(format!("{left} are left in the list: {state:?}")) }
    }

    /// Returns how much was pushed and popped.
    pub(super) fn summary(&self) -> String {
        let State { acknowledged, pushes_in_doubt, popped, pops_in_doubt, .. } = &*self.state.lock().unwrap();
        format!("{acknowledged} pushed (+ {pushes_in_doubt} in doubt), {popped} popped (+ {pops_in_doubt} in doubt)")
    }
}
