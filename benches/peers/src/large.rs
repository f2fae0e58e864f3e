//! Readers of small values beside one that reads large values and one that blocks.

use std::thread;
use std::time::Instant;

use redis_replicated::ReplicatedClient;

use crate::arm::Arm;
use crate::caller::{Caller, Outcome, text};
use crate::cpu::Watched;
use crate::field::{Field, runtime};
use crate::plain::{BlockOn, Own, Pools};
use crate::turn::{Plan, SMALL, Tally, Turn, Value, Window, read};
use crate::{ours, tasks};

/// What the one reader reads.
pub const LARGE: Value = Value { key: "large", size: 30_000_000 };

/// The arms that have synchronous callers, and so can take part.
pub const ARMS: [Arm; 6] =
    [Arm::Leases, Arm::Shared, Arm::ConnectionPerThread, Arm::R2d2Stock, Arm::R2d2Unchecked, Arm::MultiplexedThreads];

/// What each kind of caller has seen.
#[derive(Clone, Debug)]
pub struct Mixed {
    pub small: Turn,
    pub large: Turn,
    pub blocking: Turn,
}

/// Lets one arm read with so many readers of small values.
pub fn turn(field: &Field, arm: Arm, plan: &Plan, readers: usize) -> Outcome<Mixed> {
    let urls = field.nodes.replicas();
    let watched = field.nodes.watched()?;
    let master = redis::Client::open(field.nodes.master()).map_err(text)?;
    let mut master = master.get_connection().map_err(text)?;
    // In other arms than ours, a connection of its own.
    let block = move || blpop().query(&mut master).map_err(text).and_then(timed_out);
    // One more than small readers: the last reads the large value.
    let callers = readers + 1;
    match arm {
        Arm::Leases | Arm::Shared => {
            let client = ours::client(&field.nodes, field.pool, u32::from(arm == Arm::Shared))?;
            let blocking: ReplicatedClient = client.clone();
            let block = move || blocking.query(&blpop()).map_err(text).and_then(timed_out);
            run(plan, &watched, vec![client; callers], block)
        }
        Arm::ConnectionPerThread => run(plan, &watched, Own::callers(&urls, callers)?, block),
        Arm::R2d2Stock | Arm::R2d2Unchecked => {
            let is_checked = arm == Arm::R2d2Stock;
            run(plan, &watched, Pools::callers(&urls, field.pool, is_checked, callers)?, block)
        }
        Arm::MultiplexedThreads => {
            let runtime = runtime()?;
            let connections = runtime.block_on(tasks::multiplexed(urls))?;
            run(plan, &watched, BlockOn::callers(&connections, runtime.handle(), callers), block)
        }
        _ => Err("has no part in this".to_owned()),
    }
}

fn run<C: Caller>(
    plan: &Plan,
    watched: &Watched,
    callers: Vec<C>,
    block: impl FnMut() -> Outcome<()> + Send,
) -> Outcome<Mixed> {
    let mut callers = callers;
    let mut reader = callers.pop().ok_or("no callers")?;
    let window = Window::new(plan);
    thread::scope(|scope| {
        let blocking = scope.spawn(move || block_again(block, window));
        let large = scope.spawn(move || read(&mut reader, window, LARGE));
        let small = |mut caller: C| scope.spawn(move || read(&mut caller, window, SMALL));
        let small: Vec<_> = callers.into_iter().map(small).collect();
        let used = window.observe(watched);
        let mut tally = Tally::new(window);
        for thread in small {
            tally = tally.merge(thread.join().map_err(|_| "a reader panicked")?);
        }
        let large = large.join().map_err(|_| "the reader of large values panicked")?;
        let blocking = blocking.join().map_err(|_| "the blocked caller panicked")?;
        let [small, large, blocking] = [tally, large, blocking].map(|tally| tally.finish(used));
        Ok(Mixed { small, large, blocking })
    })
}

fn block_again(mut block: impl FnMut() -> Outcome<()>, window: Window) -> Tally {
    let mut tally = Tally::new(window);
    let mut now = Instant::now();
    while !window.is_over(now) {
        now = tally.record(now, block());
    }
    tally
}

/// Blocks for 200 ms on a list that stays empty.
fn blpop() -> redis::Cmd {
    let mut command = redis::cmd("BLPOP");
    command.arg("list").arg(0.2);
    command
}

fn timed_out(popped: Option<(String, String)>) -> Outcome<()> {
    popped.map_or(Ok(()), |popped| Err(format!("popped {popped:?} from an empty list")))
}
