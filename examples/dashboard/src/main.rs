//! A live picture of a replica set in the browser. Break a node, and see what the application notices.
//!
//! `cargo run --release --manifest-path examples/dashboard/Cargo.toml [-- PORT]` starts a master with three replicas, three
//! Sentinels, an application that reads and writes, and a web page on `127.0.0.1`. Port 0 takes a free one. Default: 7070.

mod board;
mod history;
mod journal;
mod load;
mod page;
mod stage;
mod tally;
mod traffic;
mod web;
mod witness;

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use redis_replicated::observe::MetricsObserver;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tiny_http::Server;

use self::board::Board;
use self::load::Load;
use self::stage::Stage;
use self::web::Web;
use self::witness::{SLOW, Witness};

const PORT: u16 = 7070;
/// The upper bounds of the buckets of histograms, in seconds. A call takes some 100 µs.
const BUCKETS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(PORT), |port| port.parse())?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // On a thread of that name, which those of the server inherit: so one sees what they cost.
    let listen = thread::Builder::new().name("web".to_owned()).spawn(move || Server::http(("127.0.0.1", port)))?;
    let server = listen.join().expect("does not panic").map_err(|error| error.to_string())?;
    let port = server.server_addr().to_ip().map_or(port, |addr| addr.port());
    // The client's observer counts through the recorder of the process.
    let metrics = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    say("Starting a master, three replicas and three Sentinels ...");
    let board = Arc::new(Board::new(Stage::start()?));
    let client = board
        .stage
        .client_builder()
        // How long a write may wait for the next master.
        .deadline(Duration::from_secs(10))
        .slow_call(SLOW)
        .observer(Witness::new(Arc::clone(&board)))
        .observer(MetricsObserver::new())
        .build()?;
    Load::prepare(&client)?;
    let upkeep = metrics.clone();
    let web = Web::new(Arc::clone(&board), client.clone(), port, move || metrics.render());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        board.load.start(scope, &client);
        let serving = thread::Builder::new().name("web".to_owned()).spawn_scoped(scope, || web.serve(&server));
        scope.spawn(|| tick(&board, &is_over, || upkeep.run_upkeep()));
        if serving.is_ok() {
            say(&format!(
                "Open http://127.0.0.1:{port} in a browser. Metrics for Prometheus: http://127.0.0.1:{port}/metrics"
            ));
            say("Ctrl-C ends it, with all its servers.");
            signals.forever().next();
        }
        is_over.store(true, Ordering::Relaxed);
        board.load.end();
        server.unblock();
        serving.map(drop)
    })?;
    Ok(())
}

/// Ends each second of the board, and has the recorder of metrics make room.
fn tick(board: &Board, is_over: &AtomicBool, upkeep: impl Fn()) {
    let mut next = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        next += SECOND;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        board.tick();
        upkeep();
    }
}

/// Prints a line. Where nobody reads it, the dashboard runs all the same.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
