//! Markdown on standard output.

use std::time::Duration;

use crate::arm::Arm;
use crate::in_use::InUse;
use crate::large::{LARGE, Mixed};
use crate::results::{Figure, Results, client_cpu, cpu, median, p50, p99, server_cpu, throughput};
use crate::turn::Turn;

const PAIR: (Arm, Arm) = (Arm::Shared, Arm::ConnectionPerThread);
const STOCK: (Arm, Arm) = (Arm::Shared, Arm::R2d2Stock);
const SESSIONS: (Arm, Arm) = (Arm::SharedSessions, Arm::Shared);
const LEASES: (Arm, Arm) = (Arm::Shared, Arm::Leases);

/// A ratio that has to hold.
#[derive(Clone, Copy)]
struct Bound {
    callers: usize,
    of: (Arm, Arm),
    name: &'static str,
    figure: Figure,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// Of interest only.
    Unbounded,
}

use Limit::{AtLeast, AtMost, Unbounded};

/// What has to hold without a slow line.
const BOUNDS: [Bound; 12] = [
    Bound { callers: 64, of: PAIR, name: "CPU per call", figure: cpu, limit: AtMost(0.40) },
    Bound { callers: 64, of: PAIR, name: "throughput", figure: throughput, limit: AtLeast(2.2) },
    Bound { callers: 64, of: PAIR, name: "p99", figure: p99, limit: AtMost(1.0) },
    Bound { callers: 64, of: STOCK, name: "throughput", figure: throughput, limit: AtLeast(4.0) },
    Bound { callers: 64, of: SESSIONS, name: "throughput", figure: throughput, limit: AtLeast(0.75) },
    Bound { callers: 16, of: PAIR, name: "CPU per call", figure: cpu, limit: AtMost(0.75) },
    Bound { callers: 16, of: PAIR, name: "throughput", figure: throughput, limit: AtLeast(1.2) },
    Bound { callers: 16, of: PAIR, name: "p99", figure: p99, limit: Unbounded },
    Bound { callers: 4, of: LEASES, name: "throughput", figure: throughput, limit: AtLeast(0.95) },
    Bound { callers: 4, of: LEASES, name: "CPU per call", figure: cpu, limit: AtMost(1.05) },
    Bound { callers: 1, of: LEASES, name: "throughput", figure: throughput, limit: Unbounded },
    Bound { callers: 1, of: LEASES, name: "CPU per call", figure: cpu, limit: AtMost(1.05) },
];

/// Prints a row for each arm and number of callers.
pub fn table(results: &Results, arms: &[Arm], threads: &[usize]) {
    println!("| threads or tasks | arm | op/s | CPU µs/op: client + servers | p50 µs | p99 µs | failed |");
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for callers in threads {
        for arm in arms {
            let figure = |figure| results.median(*callers, *arm, figure);
            let Some(speed) = figure(throughput) else { continue };
            let [client, servers, p50, p99] =
                [client_cpu, server_cpu, p50, p99].map(|f: Figure| figure(f).unwrap_or(f64::NAN));
            let failed = results.failed(*callers, *arm);
            let arm = arm.label();
            println!(
                "| {callers} | {arm} | {speed:.0} | {client:.1} + {servers:.1} | {p50:.0} | {p99:.0} | {failed} |"
            );
        }
    }
    println!();
    failures(results, arms, threads);
}

/// Prints how busy the machine was with other things, and the line.
pub fn disturbance(turns: &[&Turn], has_line: bool) {
    let percent = |share: Figure| {
        let mut shares: Vec<_> = turns.iter().map(|turn| share(turn) * 100.0).collect();
        shares.sort_by(f64::total_cmp);
        let most = shares.last().copied().unwrap_or(f64::NAN);
        (median(shares).unwrap_or(f64::NAN), most)
    };
    let (usual, most) = percent(|turn| turn.others);
    println!(
        "Other processes and interrupts used {usual:.0} % of the cores (median of the turns; at most {most:.0} %)."
    );
    if has_line {
        let (usual, most) = percent(|turn| turn.line);
        println!("The only thread of the line was busy {usual:.0} % of the time (at most {most:.0} %).");
    }
    println!();
}

fn failures(results: &Results, arms: &[Arm], threads: &[usize]) {
    for callers in threads {
        for arm in arms {
            if let Some(failure) = results.turns(*callers, *arm).iter().find_map(|turn| turn.failure.as_ref()) {
                println!("- failed at {callers}, {}, such as: {failure}", arm.label());
            }
        }
    }
}

/// Prints the ratios that have to hold. With a line, only the median latency is asked for.
pub fn ratios(results: &Results, threads: &[usize], has_line: bool) {
    let over_line =
        |callers: &usize| Bound { callers: *callers, of: PAIR, name: "p50", figure: p50, limit: AtMost(1.1) };
    let bounds = if has_line { threads.iter().map(over_line).collect() } else { BOUNDS.to_vec() };
    let rows: Vec<_> = bounds.iter().filter_map(|bound| row(results, bound)).collect();
    if !rows.is_empty() {
        println!("| threads | figure | of | ratio of medians | in rounds | has to be | |");
        println!("|---:|---|---|---:|---|---|---|");
        rows.iter().for_each(|row| println!("{row}"));
    }
    if rows.len() < bounds.len() {
        println!("{} of {} ratios that have to hold were not measured.", bounds.len() - rows.len(), bounds.len());
    }
    println!();
}

/// Returns the row of a ratio, if it was measured.
fn row(results: &Results, bound: &Bound) -> Option<String> {
    let Bound { callers, name, of: (a, b), .. } = *bound;
    let ratio = results.ratio(callers, bound.of, bound.figure)?;
    let (value, rounds) = (ratio.of_medians, format!("{:.2}–{:.2}", ratio.least, ratio.greatest));
    let (asked, holds) = match bound.limit {
        Unbounded => ("–".to_owned(), None),
        AtMost(limit) => (format!("≤ {limit:.2}"), Some(value <= limit)),
        AtLeast(limit) => (format!("≥ {limit:.2}"), Some(value >= limit)),
    };
    let (a, b, holds) = (a.name(), b.name(), verdict(holds));
    Some(format!("| {callers} | {name} | {a} / {b} | {value:.2} | {rounds} | {asked} | {holds} |"))
}

fn verdict(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "holds",
        Some(false) => "**does not hold**",
        None => "",
    }
}

/// Prints the connections in use.
pub fn in_use(counts: &[(Arm, InUse)], callers: usize) {
    println!("| arm, {callers} threads | connections in use a node: median | most | has to be | |");
    println!("|---|---:|---:|---|---|");
    for (arm, InUse { median, most }) in counts {
        let is_asked = *arm == Arm::Shared;
        let (asked, holds) = if is_asked { ("≤ 2", Some(*most <= 2)) } else { ("–", None) };
        println!("| {} | {median} | {most} | {asked} | {} |", arm.label(), verdict(holds));
    }
    println!();
}

/// Prints what the mixed callers have seen; latencies in milliseconds, failures and the latest read over all rounds.
pub fn mixed(results: &[(Arm, Vec<Mixed>)], readers: usize) {
    let megabytes = LARGE.size / 1_000_000;
    println!(
        "| arm, {readers} readers | reads/s | p50 ms | p99 ms | latest ms | failed | {megabytes} MB reads/s | failed \
         | BLPOP/s | failed | |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    for (arm, turns) in results {
        let of = |part: fn(&Mixed) -> &Turn, figure: Figure| {
            median(turns.iter().map(|turn| figure(part(turn))).collect()).unwrap_or(f64::NAN)
        };
        let small: fn(&Mixed) -> &Turn = |turn| &turn.small;
        let failed = |part: fn(&Mixed) -> &Turn| turns.iter().map(|turn| part(turn).failed).sum::<u64>();
        let latest = turns.iter().map(|turn| turn.small.latest).fold(0.0, f64::max) / 1e3;
        let [small_failed, large_failed, blocking_failed] =
            [small, |turn| &turn.large, |turn| &turn.blocking].map(failed);
        let holds = (*arm == Arm::Shared).then_some(small_failed == 0 && latest <= 400.0);
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {latest:.1} | {small_failed} | {:.1} | {large_failed} | {:.1} | \
             {blocking_failed} | {} |",
            arm.label(),
            of(small, throughput),
            of(small, p50) / 1e3,
            of(small, p99) / 1e3,
            of(|turn| &turn.large, throughput),
            of(|turn| &turn.blocking, throughput),
            verdict(holds),
        );
    }
    println!("\nHas to be: none of the small reads fails, none takes longer than 400 ms.");
    for (arm, turns) in results {
        let parts = turns.iter().flat_map(|turn| [&turn.small, &turn.large, &turn.blocking]);
        if let Some(failure) = parts.filter_map(|turn| turn.failure.as_ref()).next() {
            println!("- failed, {}, such as: {failure}", arm.label());
        }
    }
}

/// Prints what was compared, and how.
pub fn head(servers: &str, rounds: usize, length: Duration, pool: u32, round_trip: Option<Duration>) {
    const PACKAGES: [&str; 5] = ["redis", "r2d2", "tokio", "fred", "rustis"];
    let versions = PACKAGES.map(|package| format!("{package} {}", version(package)));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("GET of 64 bytes over two replicas, Redis {servers}, {cores} cores for clients and servers together.");
    println!("{}; medians of {rounds} alternated turns of {length:?}; pools of {pool} a node.", versions.join(", "));
    if let Some(time) = round_trip {
        println!("A line with a round trip of {time:?} between them, whose own CPU time counts for neither.");
    }
    println!();
}

/// Returns the version of a package in the lock file.
fn version(package: &str) -> &'static str {
    let (_, rest) = include_str!("../Cargo.lock").split_once(&format!("name = \"{package}\"\n")).unwrap_or_default();
    rest.split('"').nth(1).unwrap_or_default()
}
