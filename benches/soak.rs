//! A soak: one client of a master and two replicas for an hour, with changing load, failovers, kills and stopped servers.
//! Nothing may be wrong, and threads, descriptors and memory stay flat.
//!
//! `cargo bench --bench soak -- --minutes 60 --mode shared` (or `leases`; default: one minute, in one mode after the other;
//! `--seed` repeats a schedule). It prints a row every 10 s and a verdict, and fails if the verdict does.
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
