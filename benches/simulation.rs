//! The strategies of the crate in a simulated set: clients, networks and servers without sockets, threads or sleeping.
//!
//! `cargo bench --bench simulation [-- FOLDER [SEED]]` prints a table for each scenario and size and one of all sizes, states
//! whether the strategies hold what is expected of them, and draws plots into the folder (default: `target/simulation`;
//! those of the README are in `benches/plots`). The same seed gives the same figures, and all strategies get the same
//! requests at the same times.
//!
//! Servers serve one request at a time, first come, first served, in 20 µs on average (exponential); the network takes
//! 100 µs for both ways; requests arrive at random (Poisson) at 70 % of what equal servers could do, come from any of the
//! clients, and are for any of 10 000 keys. Each client has its own [`Node`](redis_replicated::Node)s: it knows only what it
//! saw itself, and asks each server for its state every second. `WeightedRoundRobin` is told what the servers can do. Not
//! modelled: health, slow start, second attempts, pools. So where a server gets more than it can do, its queue and the
//! figures grow as long as the run lasts: "overload". No strategy can help where the load is more than what is left: of two
//! nodes, with one slow or away.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use self::arm::ARMS;
use self::plot::{Line, Panel};
use self::run::{Figures, run};
use self::scenario::{Scenario, Setting};

#[path = "simulation/arm.rs"]
mod arm;
#[path = "simulation/plot.rs"]
mod plot;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/scenario.rs"]
mod scenario;

/// Nodes and clients; the first is what the plots and the expectations are about.
const SIZES: [(usize, usize); 6] = [(4, 4), (2, 4), (16, 4), (2, 64), (4, 64), (16, 64)];

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
    Scenario::ALL.into_iter().for_each(|scenario| overview(&tables, scenario));
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
        let table = Self { rows: ARMS.iter().map(|arm| run(&setting, arm)).collect(), setting };
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
            "{:<24} {:>9} {:>9} {:>9} {:>9}  {:>9} {:>9}",
            "", "mean ms", "p50", "p99", "p99.9", "share", "errors"
        );
        for (arm, row) in ARMS.iter().zip(&self.rows) {
            let Figures { mean, p50, p99, p999, share, errors, .. } = row;
            let (share, errors) = (share * 100.0, errors * 100.0);
            println!(
                "{:<24} {mean:>9.3} {p50:>9.3} {p99:>9.3} {p999:>9.3} {share:>8.3} % {errors:>7.3} %{}",
                arm.name,
                if row.is_overload { "  overload" } else { "" }
            );
        }
        println!();
    }
}

/// The figure that tells most about a scenario: its name, its unit and itself.
fn telling(scenario: Scenario) -> (&'static str, fn(&Figures) -> f64) {
    match scenario {
        Scenario::Stalls => ("p99.9, ms", |figures| figures.p999),
        Scenario::Failing => ("failed attempts, %", |figures| figures.errors * 100.0),
        Scenario::Equal | Scenario::Slow | Scenario::Far | Scenario::Returning => ("p99, ms", |figures| figures.p99),
    }
}

/// Prints the most telling figure of a scenario in all sizes.
fn overview(tables: &[Table], scenario: Scenario) {
    let (name, figure) = telling(scenario);
    let tables: Vec<&Table> =
        tables.iter().filter(|table| table.setting.scenario == scenario && table.setting.rate.is_none()).collect();
    print!("{:<42}", format!("{}, {name}", scenario.name()));
    for Setting { nodes, clients, .. } in tables.iter().map(|table| table.setting) {
        print!(" {:>9}", format!("{nodes}n {clients}c"));
    }
    println!();
    for (index, arm) in ARMS.iter().enumerate() {
        print!("{:<42}", arm.name);
        for row in tables.iter().map(|table| &table.rows[index]) {
            let text = if row.is_overload { "overload".to_owned() } else { format!("{:.3}", figure(row)) };
            print!(" {text:>9}");
        }
        println!();
    }
    println!();
}

/// Returns the table of the scenario in this size.
fn table(tables: &[Table], scenario: Scenario, (nodes, clients): (usize, usize)) -> &Table {
    let is_meant = |table: &&Table| table.setting == Setting { scenario, nodes, clients, rate: None, ..table.setting };
    tables.iter().find(is_meant).unwrap()
}

fn figures<'a>(table: &'a Table, strategy: &str) -> &'a Figures {
    let index = ARMS.iter().position(|arm| arm.name == strategy).unwrap();
    &table.rows[index]
}

/// Prints what is expected of the strategies and what was seen; tells whether all of it holds.
fn expectations(tables: &[Table]) -> bool {
    let seen = |scenario, strategy| figures(table(tables, scenario, SIZES[0]), strategy);
    let ratio = |scenario, strategy, figure: fn(&Figures) -> f64| {
        figure(seen(scenario, strategy)) / figure(seen(Scenario::Equal, strategy))
    };
    let slow = |strategy| ratio(Scenario::Slow, strategy, |figures| figures.p99);
    let stalls = ratio(Scenario::Stalls, "PeakEwma", |figures| figures.p999);
    let failing = |strategy| seen(Scenario::Failing, strategy).share * 100.0;
    let seldom = figures(tables.last().unwrap(), "PeakEwma").share * 100.0;
    let weighted = slow("WeightedRoundRobin");
    let far = |strategy| seen(Scenario::Far, strategy).share * 100.0;
    let again = {
        let table = table(tables, Scenario::Slow, SIZES[0]);
        ARMS.iter().zip(&table.rows).all(|(arm, row)| run(&table.setting, arm) == *row)
    };
    let lines = [
        ("p99 of PeakEwma, one of four 4 × slower / equal: at most 2", slow("PeakEwma"), slow("PeakEwma") <= 2.0),
        ("p99 of RoundRobin, the same: at least 20", slow("RoundRobin"), slow("RoundRobin") >= 20.0),
        ("% of PeakEwma's attempts at a failing node: at most 0.1", failing("PeakEwma"), failing("PeakEwma") <= 0.1),
        ("the same at 10 000 requests/s: at most 0.1", seldom, seldom <= 0.1),
        ("the same of RoundRobin: 25", failing("RoundRobin"), (failing("RoundRobin") - 25.0).abs() < 0.1),
        ("p99.9 of PeakEwma, 50 ms stalls / none: at most 3", stalls, stalls <= 3.0),
        ("p99 of WeightedRoundRobin, told the speeds, 4 × slower / equal: at most 3", weighted, weighted <= 3.0),
        (
            "% of ZoneAffinity's attempts in a far zone: at most 0.1",
            far("ZoneAffinity<PeakEwma>"),
            far("ZoneAffinity<PeakEwma>") <= 0.1,
        ),
        (
            "the same of LatencyWindow: at most 0.1",
            far("LatencyWindow<PeakEwma>"),
            far("LatencyWindow<PeakEwma>") <= 0.1,
        ),
        ("the same seed gives the same figures: 1", f64::from(u8::from(again)), again),
    ];
    for (expected, seen, holds) in lines {
        println!("{} {expected}: {seen:.3}", if holds { "holds " } else { "MISSED" });
    }
    lines.iter().all(|(_, _, holds)| *holds)
}

fn draw(tables: &[Table], folder: &Path) {
    let write = |file: &str, svg: String| fs::write(folder.join(file), svg).unwrap();
    let names = ARMS.map(|arm| arm.name);
    let panel = |scenario, size, name: String, powers| {
        let (said, figure) = telling(scenario);
        let value = |row: &Figures| Some(figure(row)).filter(|_| !row.is_overload);
        Panel { name, figure: said, powers, values: table(tables, scenario, size).rows.iter().map(value).collect() }
    };
    let scenarios = [Scenario::Equal, Scenario::Slow, Scenario::Stalls, Scenario::Far, Scenario::Failing];
    let panels = scenarios.map(|scenario| {
        let powers = if scenario == Scenario::Failing { (-3, 2) } else { (-1, 2) };
        panel(scenario, SIZES[0], scenario.name().to_owned(), powers)
    });
    let title = "Four replicas, one of them bad: simulated reads of four clients at 70 % load (logarithmic)";
    write("scenarios.svg", plot::panels(title, &names, &panels));

    let sizes = [(4, 4), (4, 64), (16, 4), (16, 64)];
    let name = |(nodes, clients)| format!("{nodes} replicas, {clients} clients");
    let panels = sizes.map(|size| panel(Scenario::Slow, size, name(size), (-1, 1)));
    let title = "One replica 4 × slower than the others: simulated reads at 70 % load (logarithmic)";
    write("sizes.svg", plot::panels(title, &names, &panels));

    let steps = (scenario::RETURN * 8 / 10 / run::STEP) as usize..(scenario::RETURN * 18 / 10 / run::STEP) as usize;
    let shown = ["RoundRobin", "LeastOutstanding", "PowerOfTwoChoices", "PeakEwma"].map(|name| {
        let values = &figures(table(tables, Scenario::Returning, SIZES[0]), name).timeline[steps.clone()];
        Line { name, values }
    });
    let title = "A fourth replica, which nobody knows, returns after 1000 ms: its share of the reads (simulated)";
    let (from, step) = (steps.start as u64 * run::STEP / scenario::MS, run::STEP / scenario::MS);
    write("returning.svg", plot::lines(title, &shown, from, step));
}
