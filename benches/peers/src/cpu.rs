//! CPU time of this process and of the servers, in nanoseconds, from the scheduler.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The CPU time used so far.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Instant,
    pub client: Duration,
    pub servers: Duration,
}

impl Sample {
    /// Reads the clocks of this process and of these.
    pub fn now(servers: &[u32]) -> Self {
        let servers = servers.iter().map(|process| of_process(*process)).sum();
        Self { client: own(), servers, at: Instant::now() }
    }
}

/// Includes the threads that have ended.
fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Counts the threads that live: the threads of a server do not end. `/proc/PID/stat` counts in steps of 10 ms.
fn of_process(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let of_thread = |thread: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(of_thread).sum())
}
