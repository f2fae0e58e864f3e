//! Serves the metrics of a replica set to which something happens, on <http://127.0.0.1:9464/metrics>.
//!
//! `cargo run --release` lets everything happen once, and prints which metrics there are; `cargo run --release -- serve` goes
//! on until you stop it, for Prometheus and Grafana. Then it ends within a minute, with its servers.

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monitoring::demo::{Demo, Result};
use monitoring::prometheus::recorder;
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::EnvFilter;

fn main() -> Result {
    // All events as JSON, one a line, as log collectors want them.
    let filter = EnvFilter::new("redis_replicated::events=info");
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    // The usual port of exporters for OpenTelemetry.
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    recorder()?.with_http_listener(addr).install()?;

    let ends = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ends))?;
    }
    let mut demo = Demo::start()?;
    let serves = env::args().nth(1).is_some_and(|argument| argument == "serve");
    loop {
        demo.call()?;
        demo.read_with_many_threads()?;
        demo.lose_a_replica()?;
        demo.fail_over()?;
        demo.call()?;
        println!("{}", demo.table());
        if !serves || ends.load(Ordering::Relaxed) {
            break;
        }
    }
    for line in fetch(addr)?.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        println!("{line}");
    }
    Ok(())
}

/// Fetches the metrics as Prometheus does.
fn fetch(addr: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
