//! The strategies of the crate in a simulated set: clients, networks and servers without sockets, threads or sleeping.
//!
//! `cargo bench --bench simulation [-- FOLDER [SEED]]` prints a table per scenario, states whether the strategies hold what
//! is expected of them, and draws plots into the folder (default: `target/simulation`). The same seed gives the same
//! figures, and all strategies get the same requests at the same times.
//!
//! Servers serve one request at a time, first come, first served, in 20 µs on average (exponential); the network takes
//! 100 µs for both ways; requests arrive at random (Poisson) at 70 % of what equal servers could do, and come from any of the
//! clients. Each client has its own [`Node`](redis_replicated::Node)s: it knows only what it saw itself. Not modelled: health,
//! slow start, second attempts, pools. So where a server gets more than it can do, its queue and the figures grow as long as
//! the run lasts. No strategy can help where the load is more than what is left: of two nodes, with one slow, failing or
//! away.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use redis_replicated::strategy::{LeastOutstanding, PeakEwma, PowerOfTwoChoices, Random, RoundRobin};

use self::run::{Figures, Make, run};
use self::scenario::{Scenario, Setting};

#[path = "simulation/plot.rs"]
mod plot;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/scenario.rs"]
mod scenario;

const STRATEGIES: [(&str, Make); 5] = [
    ("RoundRobin", |seed| Box::new(RoundRobin::seeded(seed))),
    ("Random", |seed| Box::new(Random::seeded(seed))),
    ("LeastOutstanding", |seed| Box::new(LeastOutstanding::seeded(seed))),
    ("PowerOfTwoChoices", |seed| Box::new(PowerOfTwoChoices::seeded(seed))),
    ("PeakEwma", |seed| Box::new(PeakEwma::seeded(seed))),
];

/// Nodes and clients; the first is what the plots and the expectations are about.
const SIZES: [(usize, usize); 4] = [(4, 4), (2, 4), (16, 4), (4, 64)];

/// The figures of each strategy in one setting.
struct Table {
    setting: Setting,
    rows: Vec<Figures>,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = words.first().map_or_else(|| target.join("simulation"), PathBuf::from);
    let seed = words.get(1).map_or(1, |word| word.parse().unwrap());

    let tables: Vec<Table> = settings(seed).map(Table::of).collect();
    fs::create_dir_all(&folder).unwrap();
    draw(&tables, &folder);
    println!("plots are in {}\n", folder.display());
    if expectations(&tables) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn settings(seed: u64) -> impl Iterator<Item = Setting> {
    let setting = move |(nodes, clients), scenario| Setting { scenario, nodes, clients, rate: None, seed };
    let usual = SIZES.into_iter().flat_map(move |size| Scenario::ALL.map(|scenario| setting(size, scenario)));
    // So few that the attempts which find out whether a node is back weigh something.
    usual.chain([Setting { rate: Some(10_000.0), ..setting(SIZES[0], Scenario::Failing) }])
}

impl Table {
    fn of(setting: Setting) -> Self {
        let table = Self { rows: STRATEGIES.iter().map(|(_, make)| run(&setting, *make)).collect(), setting };
        table.print();
        table
    }

    fn print(&self) {
        let Setting { scenario, nodes, clients, .. } = self.setting;
        println!(
            "{}: {nodes} nodes, {clients} clients, {:.0} requests/s, {} counted",
            scenario.name(),
            self.setting.rate(),
            self.rows[0].requests
        );
        println!(
            "{:<20} {:>9} {:>9} {:>9} {:>9}  {:>9} {:>9}",
            "", "mean ms", "p50", "p99", "p99.9", "share", "errors"
        );
        for ((name, _), row) in STRATEGIES.iter().zip(&self.rows) {
            let Figures { mean, p50, p99, p999, share, errors, .. } = row;
            let (share, errors) = (share * 100.0, errors * 100.0);
            println!("{name:<20} {mean:>9.3} {p50:>9.3} {p99:>9.3} {p999:>9.3} {share:>8.3} % {errors:>7.3} %");
        }
        println!();
    }
}

/// Returns the table of the scenario in the first size.
fn table(tables: &[Table], scenario: Scenario) -> &Table {
    tables.iter().find(|table| table.setting.scenario == scenario).unwrap()
}

fn figures<'a>(table: &'a Table, strategy: &str) -> &'a Figures {
    let index = STRATEGIES.iter().position(|(name, _)| *name == strategy).unwrap();
    &table.rows[index]
}

/// Prints what is expected of the strategies and what was seen; tells whether all of it holds.
fn expectations(tables: &[Table]) -> bool {
    let seen = |scenario, strategy| figures(table(tables, scenario), strategy);
    let ratio = |scenario, strategy, figure: fn(&Figures) -> f64| {
        figure(seen(scenario, strategy)) / figure(seen(Scenario::Equal, strategy))
    };
    let slow = |strategy| ratio(Scenario::Slow, strategy, |figures| figures.p99);
    let stalls = ratio(Scenario::Stalls, "PeakEwma", |figures| figures.p999);
    let failing = |strategy| seen(Scenario::Failing, strategy).share * 100.0;
    let seldom = figures(tables.last().unwrap(), "PeakEwma").share * 100.0;
    let again = {
        let table = table(tables, Scenario::Slow);
        STRATEGIES.iter().zip(&table.rows).all(|((_, make), row)| run(&table.setting, *make) == *row)
    };
    let lines = [
        ("p99 of PeakEwma, one of four 4 x slower / equal: at most 2", slow("PeakEwma"), slow("PeakEwma") <= 2.0),
        ("p99 of RoundRobin, the same: at least 20", slow("RoundRobin"), slow("RoundRobin") >= 20.0),
        ("% of PeakEwma's attempts at a failing node: at most 0.1", failing("PeakEwma"), failing("PeakEwma") <= 0.1),
        ("the same at 10 000 requests/s: at most 0.1", seldom, seldom <= 0.1),
        ("the same of RoundRobin: 25", failing("RoundRobin"), (failing("RoundRobin") - 25.0).abs() < 0.1),
        ("p99.9 of PeakEwma, 50 ms stalls / none: at most 3", stalls, stalls <= 3.0),
        ("the same seed gives the same figures: 1", f64::from(u8::from(again)), again),
    ];
    for (expected, seen, holds) in lines {
        println!("{} {expected}: {seen:.3}", if holds { "holds " } else { "MISSED" });
    }
    lines.iter().all(|(_, _, holds)| *holds)
}

fn draw(tables: &[Table], folder: &std::path::Path) {
    let names: Vec<&str> = STRATEGIES.iter().map(|(name, _)| *name).collect();
    let shown = [Scenario::Equal, Scenario::Slow, Scenario::Stalls, Scenario::Far];
    let groups = shown.map(|scenario| {
        let p99 = table(tables, scenario).rows.iter().map(|row| row.p99).collect();
        plot::Group { name: scenario.name(), values: p99 }
    });
    let title = "p99 of reads in ms: four replicas, 70 % load (simulated, logarithmic)";
    fs::write(folder.join("p99.svg"), plot::bars(title, &names, &groups)).unwrap();

    let until = |scenario, title, file, end: u64| {
        let steps = (end / run::STEP) as usize;
        let lines: Vec<&[f64]> = table(tables, scenario).rows.iter().map(|row| &row.timeline[..steps]).collect();
        fs::write(folder.join(file), plot::lines(title, &names, &lines, run::STEP / scenario::MS)).unwrap();
    };
    let title = "Share of the reads tried at a replica that fails instantly, in % (one of four, simulated)";
    until(Scenario::Failing, title, "failing.svg", 1000 * scenario::MS);
    let title = "Share of the reads at a replica that returns after 1 s, in % (one of four, simulated)";
    until(Scenario::Returning, title, "returning.svg", 2000 * scenario::MS);
}
