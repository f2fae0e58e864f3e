//! Serves the metrics of a replica set to which something happens, on <http://127.0.0.1:9464/metrics>.
//!
//! `cargo run --release` lets everything happen once, and prints which metrics there are; `cargo run --release -- serve` goes
//! on until you stop it, for Prometheus and Grafana.

use std::env;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use monitoring::demo::{Demo, Result};
use monitoring::prometheus::recorder;
use tracing_subscriber::EnvFilter;

fn main() -> Result {
    // All events as JSON, one a line, as log collectors want them.
    let filter = EnvFilter::new("redis_replicated::events=info");
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Port 0 would be any free one; 9464 is the one that is usual for metrics.
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    recorder()?.with_http_listener(addr).install()?;

    let mut demo = Demo::start()?;
    let serves = env::args().nth(1).is_some_and(|argument| argument == "serve");
    loop {
        demo.call()?;
        demo.read_with_many_threads()?;
        demo.lose_a_replica()?;
        demo.fail_over()?;
        demo.call()?;
        println!("{}", demo.table());
        if !serves {
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
