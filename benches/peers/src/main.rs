//! Reads from two replicas in many ways, in one run: this crate, other Rust clients, and clients of another language.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick` compares all arms for some minutes; `--help` names
//! the options. All arms read a value of 64 bytes with GET from a master's two replicas, in turns, whose order is reversed in
//! every other round. Figures are medians of the turns. CPU time is that of this process (or of the child that reads) and of
//! all servers, for a call.
//!
//! An arm that cannot run is left out, with its reason on standard error.

mod arm;
mod caller;
mod cpu;
mod field;
mod in_use;
mod large;
mod line;
mod nodes;
mod options;
mod ours;
mod plain;
mod plot;
mod reference;
mod report;
mod results;
mod tasks;
mod turn;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::arm::Arm;
use crate::caller::{Outcome, text};
use crate::field::Field;
use crate::large::Mixed;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::plot::{Axis, Panel, Row, bars};
use crate::results::{Results, client_cpu, p50, p99, server_cpu, throughput};
use crate::turn::{Plan, SMALL};

/// Calls before those that count.
const WARM_UP: Duration = Duration::from_millis(300);
/// With so many threads, connections in use are counted.
const MANY: usize = 64;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let result = match args.split_first() {
        Some((first, rest)) if first == line::SERVE => line::serve(rest).map_err(text),
        _ => Options::parse(args.into_iter()).and_then(|options| run(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let nodes = Nodes::start(options.line_delay)?;
    nodes.set(SMALL)?;
    if options.large {
        nodes.set(large::LARGE)?;
    }
    report::head(&nodes.version(), options.rounds, options.length, options.pool, options.line_delay);
    let field = Field::new(nodes, options.pool);
    if options.large { run_large(&field, options) } else { run_all(&field, options) }
}

fn run_all(field: &Field, options: &Options) -> Outcome<()> {
    let mut results = Results::default();
    let plan = Plan { warm_up: WARM_UP, length: options.length };
    for callers in &options.threads {
        alternate(&options.arms, options.rounds, |arm| {
            let turn = field.turn(arm, &plan, *callers).inspect_err(|_| results.remove(*callers, arm))?;
            eprintln!("{callers:>4} {}: {:.0} op/s", arm.name(), turn.calls_per_second);
            results.add(*callers, arm, turn);
            Ok(())
        });
    }
    let has_line = options.line_delay.is_some();
    let arms: Vec<_> = options.arms.iter().copied().filter(|arm| results.has(*arm)).collect();
    report::table(&results, &arms, &options.threads);
    report::disturbance(&results.all(), has_line);
    report::ratios(&results, &options.threads, has_line);
    if options.threads.contains(&MANY) {
        let mut counts = Vec::new();
        let counted: Vec<_> = arms.iter().copied().filter(|arm| large::ARMS.contains(arm)).collect();
        alternate(&counted, 1, |arm| {
            counts.push((arm, in_use::measure(field, arm, MANY)?));
            Ok(())
        });
        report::in_use(&counts, MANY);
    }
    let draw = |folder: &Path| draw(folder, &results, &arms, options).map_err(text);
    options.plots.as_deref().map_or(Ok(()), draw)
}

fn run_large(field: &Field, options: &Options) -> Outcome<()> {
    let arms: Vec<_> = options.arms.iter().copied().filter(|arm| large::ARMS.contains(arm)).collect();
    let plan = Plan { warm_up: WARM_UP, length: options.length };
    for readers in &options.threads {
        let mut results: Vec<(Arm, Vec<Mixed>)> = arms.iter().map(|arm| (*arm, Vec::new())).collect();
        alternate(&arms, options.rounds, |arm| {
            let turn = large::turn(field, arm, &plan, *readers)?;
            eprintln!("{readers:>4} {}: latest {:.1} ms", arm.name(), turn.small.latest / 1e3);
            results.iter_mut().filter(|(of, _)| *of == arm).for_each(|(_, turns)| turns.push(turn.clone()));
            Ok(())
        });
        results.retain(|(_, turns)| turns.len() == options.rounds);
        report::mixed(&results, *readers);
        let turns = results.iter().flat_map(|(_, turns)| turns).map(|turn| &turn.small);
        report::disturbance(&turns.collect::<Vec<_>>(), options.line_delay.is_some());
    }
    Ok(())
}

/// Lets the arms take turns, in the order a b c c b a; drops those that fail.
fn alternate(arms: &[Arm], rounds: usize, mut turn: impl FnMut(Arm) -> Outcome<()>) {
    let mut arms = arms.to_vec();
    for round in 0..rounds {
        let mut order = arms.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for arm in order {
            if let Err(reason) = turn(arm) {
                eprintln!("{} is left out: {reason}", arm.name());
                arms.retain(|other| *other != arm);
            }
        }
    }
}

fn draw(folder: &Path, results: &Results, arms: &[Arm], options: &Options) -> std::io::Result<()> {
    let rows: Vec<_> = arms.iter().map(|arm| Row { name: arm.label(), is_ours: arm.is_ours() }).collect();
    let panels = |unit, figures: &[results::Figure]| -> Vec<Panel> {
        let panel = |callers: &usize| {
            let parts =
                |arm: &Arm| figures.iter().filter_map(|figure| results.median(*callers, *arm, *figure)).collect();
            let values = arms.iter().map(parts).collect();
            let name =
                if *callers == 1 { "1 thread or task".to_owned() } else { format!("{callers} threads or tasks") };
            Panel { name, unit, values }
        };
        options.threads.iter().map(panel).collect()
    };
    let (prefix, over) = match options.line_delay {
        Some(time) => ("peers-line", format!(", over a line with a round trip of {time:?}")),
        None => ("peers", String::new()),
    };
    let what = format!("GET of 64 bytes from two replicas{over}");
    let write = |name: &str, svg: String| fs::write(folder.join(format!("{prefix}-{name}.svg")), svg);
    let speed = panels("calls per second", &[throughput]);
    write("throughput", bars(&format!("Throughput: {what}"), &[], &rows, &speed, Axis::Linear))?;
    let parts = ["client", "servers"];
    let cpu = panels("µs per call", &[client_cpu, server_cpu]);
    write("cpu", bars(&format!("CPU time: {what}"), &parts, &rows, &cpu, Axis::Linear))?;
    let late = panels("µs, logarithmic", &[p99]);
    write("p99", bars(&format!("99th percentile of latency: {what}"), &[], &rows, &late, Axis::Logarithmic))?;
    if options.line_delay.is_some() {
        let median = panels("µs", &[p50]);
        write("p50", bars(&format!("Median latency: {what}"), &[], &rows, &median, Axis::Linear))?;
    }
    Ok(())
}
