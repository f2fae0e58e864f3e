//! What the process holds: threads, descriptors and memory, row by row.

use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::failure::COLUMNS;
use super::gauge::{Gauge, Sums};
use super::lateness::Report;
use super::load::Load;

const EVERY: Duration = Duration::from_secs(10);
/// What the process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) threads: u64,
    pub(super) descriptors: usize,
    /// In bytes.
    pub(super) memory: u64,
}

impl Held {
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().parse().unwrap();
        // One of them is that of the folder itself.
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().count() - 1;
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        Self { threads, descriptors, memory: pages * 4096 }
    }

    pub(super) fn mebibytes(self) -> f64 {
        self.memory as f64 / f64::from(1 << 20)
    }
}

/// Prints a row.
pub(super) struct Table<'a> {
    gauge: &'a Gauge,
    last: (Sums, Report, Instant),
}

impl<'a> Table<'a> {
    pub(super) fn new(gauge: &'a Gauge) -> Self {
        Self { gauge, last: (gauge.sums(), Report::default(), Instant::now()) }
    }

    /// Prints a row every 10 s until the run is over.
    pub(super) fn print_regularly(&mut self, load: &Load<'_>) {
        let header: String = COLUMNS.iter().map(|column| format!("{column:>9}")).collect();
        println!(
            "  time s  load       threads  descr  RSS MiB   calls/s{header}    late     net  latest ms  asleep ms"
        );
        let mut next = Instant::now() + EVERY;
        while !self.gauge.is_over.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(50));
            if Instant::now() >= next {
                next += EVERY;
                self.print(&load.phase().map_or("rest".to_owned(), |phase| phase.to_string()));
            }
        }
    }

    fn print(&mut self, phase: &str) {
        let (sums, lateness, now) = (self.gauge.sums(), self.gauge.lateness.report(), Instant::now());
        let (before, earlier, since) = std::mem::replace(&mut self.last, (sums, lateness.clone(), now));
        let per_second = (sums.calls - before.calls) as f64 / (now - since).as_secs_f64();
        let errors: String =
            sums.errors.iter().zip(before.errors).map(|(now, before)| format!("{:>9}", now - before)).collect();
        let held = Held::now();
        println!(
            "  {:>6.0}  {phase:<10} {:>7}  {:>5}  {:>7.1}  {per_second:>8.0}{errors}  {:>6}  {:>6}  {:>9.0}  {:>9.0}",
            self.gauge.elapsed().as_secs_f64(),
            held.threads,
            held.descriptors,
            held.mebibytes(),
            lateness.late.count - earlier.late.count,
            lateness.net.count - earlier.net.count,
            millis(lateness.late.recent),
            millis(lateness.asleep.recent),
        );
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
