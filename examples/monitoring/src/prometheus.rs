//! The set-up of Prometheus: names, buckets and a client. The guide shows this file from its first `use` on.

use std::error::Error;
use std::net::SocketAddr;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use redis_replicated::ReplicatedClient;
use redis_replicated::observe::MetricsObserver;

/// Buckets for calls and connections: their upper bounds, in seconds.
pub const CALLS: [f64; 16] =
    [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0];
/// Buckets for ejections, failovers and staleness, in seconds.
pub const EPISODES: [f64; 11] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Prepares a recorder. Other metrics of the program keep their own buckets.
pub fn recorder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets_for_metric(Matcher::Prefix("db.client.".to_owned()), &CALLS)?
        .set_buckets_for_metric(Matcher::Prefix("redis.client.routing.".to_owned()), &EPISODES)
}

/// Serves the metrics over HTTP, and builds a client that reports them.
pub fn client(listen: SocketAddr) -> Result<ReplicatedClient, Box<dyn Error>> {
    recorder()?.with_http_listener(listen).install()?;
    let client = ReplicatedClient::builder()
        .master("redis://10.0.0.1:6379")
        .replica("redis://10.0.0.2:6379")
        .observer(MetricsObserver::new())
        .build()?;
    Ok(client)
}
