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
/// Between the first and the last quarter of the rests, memory may grow by this part and so many bytes: what allocators keep
/// depends on which threads met.
const GROWTH: f64 = 0.1;
const SLACK: u64 = 4 << 20;
/// With fewer rests, nothing is said about growth.
const FEWEST: usize = 4;

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

    fn mebibytes(self) -> f64 {
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

/// What was held at each rest: always under the same load.
#[derive(Clone, Debug, Default)]
pub(super) struct Rests(Vec<Held>);

impl Rests {
    pub(super) fn push(&mut self, held: Held) {
        self.0.push(held);
    }

    /// Prints how much it grew; returns whether it is flat.
    pub(super) fn print(&self) -> bool {
        let span = |figure: fn(&Held) -> f64| {
            let figures = self.0.iter().map(figure);
            (figures.clone().fold(f64::MAX, f64::min), figures.fold(0.0, f64::max))
        };
        let (threads, descriptors) = (span(|held| held.threads as f64), span(|held| held.descriptors as f64));
        let memory = span(|held| held.mebibytes());
        println!(
            "  {} rests: {} to {} threads, {} to {} descriptors, {:.1} to {:.1} MiB",
            self.0.len(),
            threads.0,
            threads.1,
            descriptors.0,
            descriptors.1,
            memory.0,
            memory.1
        );
        if self.0.len() < FEWEST {
            println!("  growth: too few rests to say");
            return true;
        }
        let quarter = self.0.len() / 4;
        let (first, last) = (&self.0[..quarter], &self.0[self.0.len() - quarter..]);
        let before = [first, last].map(|rests| median(rests, |held| held.memory));
        let of = |figure: fn(&Held) -> u64| [first, last].map(|rests| median(rests, figure));
        let (threads, descriptors) = (of(|held| held.threads), of(|held| held.descriptors as u64));
        let [was, is] = before;
        println!(
            "  growth from the first to the last quarter: threads {} to {}, descriptors {} to {}, RSS {:.1} to {:.1} MiB ({:+.1} %)",
            threads[0],
            threads[1],
            descriptors[0],
            descriptors[1],
            was as f64 / f64::from(1 << 20),
            is as f64 / f64::from(1 << 20),
            100.0 * (is as f64 / was as f64 - 1.0)
        );
        let most = (was as f64 * (1.0 + GROWTH)) as u64 + SLACK;
        threads[1] <= threads[0] && descriptors[1] <= descriptors[0] && is <= most
    }
}

fn median(rests: &[Held], figure: impl Fn(&Held) -> u64) -> u64 {
    let mut figures: Vec<u64> = rests.iter().map(figure).collect();
    figures.sort_unstable();
    figures[figures.len() / 2]
}
