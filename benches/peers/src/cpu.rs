//! CPU time of this process, of the servers, of the slow line and of the whole machine.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// In `/proc/stat`, as everywhere on Linux.
const TICK: Duration = Duration::from_millis(10);

/// The processes beside this one that take part.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    pub servers: Vec<u32>,
    pub line: Option<u32>,
}

/// The CPU time used so far.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    client: Duration,
    servers: Duration,
    line: Duration,
    machine: Duration,
}

/// The CPU time used within a time.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub time: Duration,
    /// That of this process; an arm in another process puts its own here.
    pub client: Duration,
    pub servers: Duration,
    line: Duration,
    machine: Duration,
}

impl Watched {
    /// Measures what is used while `run` runs.
    pub fn during<T>(&self, run: impl FnOnce() -> T) -> (T, Used) {
        let before = self.sample();
        let result = run();
        let after = self.sample();
        let used = Used {
            time: after.at - before.at,
            client: after.client.saturating_sub(before.client),
            servers: after.servers.saturating_sub(before.servers),
            line: after.line.saturating_sub(before.line),
            machine: after.machine.saturating_sub(before.machine),
        };
        (result, used)
    }

    fn sample(&self) -> Sample {
        let servers = self.servers.iter().map(|process| of_process(*process)).sum();
        let line = self.line.map_or(Duration::ZERO, of_process);
        Sample { servers, line, client: own(), machine: machine(), at: Instant::now() }
    }
}

impl Used {
    /// The share of the line's only thread that was busy.
    pub fn line_share(&self) -> f64 {
        self.line.as_secs_f64() / self.time.as_secs_f64()
    }

    /// The share of all cores that processes without a part in this used, interrupts included.
    pub fn others_share(&self) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others = self.machine.saturating_sub(self.client + self.servers + self.line);
        others.as_secs_f64() / self.time.as_secs_f64() / cores as f64
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

/// All but idle time and waiting for disks.
fn machine() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks = fields.enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    TICK * ticks.filter_map(|(_, ticks)| ticks.parse::<u32>().ok()).sum::<u32>()
}
