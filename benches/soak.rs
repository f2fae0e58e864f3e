//! A soak: one client of a master and two replicas for an hour, with changing load, failovers, kills and stopped servers.
//! Nothing may be wrong, and threads, descriptors and memory stay flat.
//!
//! `cargo bench --bench soak -- --minutes 60 --mode shared` (or `leases`; default: one minute, in one mode after the other;
//! `--seed` repeats a schedule, as far as threads allow). It prints a row every 10 s and a verdict, and fails if that does.
//! It needs Linux, for `/proc`.
//!
//! **Load**: every 3 to 6 s, another number of threads between 1 and 128, at full speed or paced. They write, read, use
//! sessions of both modes, transactions, pipelines and `WATCH`; their deadlines are between 5 ms and 3 s, their values
//! between some 15 bytes and 64 KiB, now and then 2 MiB. Beside them, one thread waits with `BLPOP` for what another one
//! pushes.
//!
//! **Faults**, one after the other: `CLIENT KILL`, replicas and masters that stop for 0.2 to 3 s, replicas that are killed
//! and come back empty, failovers. No failover loses anything: the old master takes no writes until its successor has
//! everything (`FAILOVER` without `FORCE`; or `CLIENT PAUSE … WRITE`, equal offsets, `REPLICAOF`). So the whole run is one
//! epoch, and all checks hold throughout.
//!
//! **At every reply**: a value belongs to the key that was asked for, is whole, and was sent before. On the master, the only
//! thread that writes a key never reads less than was acknowledged; a write in doubt may be applied late, behind a younger
//! one. Counters are never higher than they were raised. A session never reads its own counter below an acknowledged raise;
//! a strict one never reads any counter below what it read before, nor is it told of a loss: the client has the time to see
//! each master, and each replica in sync before it may be promoted. (A session by counter may be told, rarely, that it does
//! not know: after writes in doubt and another master. Nobody is told of a proven loss.) A transaction raises two counters
//! alike. What `BLPOP` returns was pushed, comes in order and once, pushes in doubt apart.
//!
//! **At every rest**, with no call under way: no request is in flight, and no connection is lent. Each counter is at least
//! what was acknowledged, and at most that and what is in doubt: nothing was executed twice, nothing was lost. The same
//! holds for the list. Then one thread calls for a while, and no call fails. There are as many threads as with a new client,
//! and as many descriptors beside the connections that servers know; connections that are not needed are closed.
//! Between the first and the last quarter of the rests, memory may grow by 10 % and 4 MiB.
//!
//! **Throughout**: 99.9 % of the calls are back by their deadline + 20 ms, apart from what the machine was late itself (a
//! thread that only sleeps was woken late meanwhile, or the caller waited for a processor). None is missing 15 s after its
//! deadline, and nothing panics.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use self::plan::{Mode, Plan};

#[path = "soak/counter.rs"]
mod counter;
#[path = "soak/failure.rs"]
mod failure;
#[path = "soak/gauge.rs"]
mod gauge;
#[path = "soak/lateness.rs"]
mod lateness;
#[path = "soak/load.rs"]
mod load;
#[path = "soak/plan.rs"]
mod plan;
#[path = "soak/player.rs"]
mod player;
#[path = "soak/queue.rs"]
mod queue;
#[path = "soak/rests.rs"]
mod rests;
#[path = "soak/run.rs"]
mod run;
#[path = "soak/sample.rs"]
mod sample;
#[path = "soak/stage.rs"]
mod stage;
#[path = "soak/steps.rs"]
mod steps;
#[path = "soak/word.rs"]
mod word;

/// Panics of all threads, those of the library included.
static PANICS: AtomicU64 = AtomicU64::new(0);
/// Says that this process makes the run.
const RUNS: &str = "REDIS_REPLICATED_BENCH_RUNS";
/// Has glibc give large blocks back at once, and keep few heaps: what stays is what is held.
const MALLOC: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_ARENA_MAX", "4")];

fn main() -> ExitCode {
    let Some(plan) = Plan::read(std::env::args().skip(1)) else {
        eprintln!("{}", plan::USAGE);
        return ExitCode::from(2);
    };
    let holds = match *plan.modes {
        [mode] if std::env::var_os(RUNS).is_some() => {
            count_panics();
            run::run(&plan, mode)
        }
        // Both, also if the first one fails.
        ref modes => modes.iter().filter(|mode| !runs_by_itself(&plan, **mode)).count() == 0,
    };
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs in a process of its own; returns whether all was as it has to be.
fn runs_by_itself(plan: &Plan, mode: Mode) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(plan.args(mode)).env(RUNS, "1").envs(MALLOC);
    command.status().is_ok_and(|status| status.success())
}

fn count_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        print(panic);
    }));
}
