//! Metrics and spans of a replica set to which something happens: printed, or sent to a collector.
//!
//! `cargo run --release` prints them; `OTLP=http://127.0.0.1:4318 cargo run --release` sends them by OTLP over HTTP.

use std::env;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_example::demo::{self, Result};
use opentelemetry_example::telemetry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The share of the calls of which there is a span. A span costs more than the GET that it is about.
const SAMPLED: f64 = 0.05;

fn main() -> Result {
    let (meters, tracers) = match env::var("OTLP") {
        Ok(collector) => telemetry::otlp(&collector, SAMPLED)?,
        Err(_) => telemetry::stdout(SAMPLED),
    };
    tracing_subscriber::registry().with(telemetry::layer(&tracers)).init();
    let demo = demo::run(&meters.meter("redis-replicated"))?;
    println!("{}", demo.client.snapshot());
    // Sends what is left.
    tracers.shutdown()?;
    meters.shutdown()?;
    Ok(())
}
