//! A replica set, a client with an observer, and what happens to them.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::metrics::Meter;
use redis_replicated::ReplicatedClient;
use redis_replicated::redis::cmd;
use redis_replicated::testing::ReplicaSet;

use crate::gauges;
use crate::observer::OpenTelemetryObserver;

/// What any of the steps may return.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// How long something may take to happen.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A client with the servers that are left.
#[derive(Debug)]
pub struct Demo {
    /// The client.
    pub client: ReplicatedClient,
    _servers: ReplicaSet,
}

/// Reads and writes, loses a replica, and moves the master.
///
/// # Errors
///
/// If the servers do not start, or what is expected does not happen within a minute.
pub fn run(meter: &Meter) -> Result<Demo> {
    let mut servers = ReplicaSet::start(2)?;
    let client = servers
        .client_builder()
        .observer(OpenTelemetryObserver::new(meter))
        .deadline(Duration::from_secs(10)) // how long a write may wait for the next master
        .build()?;
    gauges::register(meter, &client);

    client.set("key", "value")?;
    servers.wait_until_in_sync()?;
    for _ in 0..100 {
        client.get::<Option<String>>("key")?;
    }
    if client.query::<i64>(cmd("LLEN").arg("key")).is_ok() {
        return Err("LLEN of a string is an error".into());
    }

    servers.replica_mut(1).stop();
    let lost = servers.replica(1).addr();
    let is_ejected = || client.snapshot().nodes.iter().any(|node| node.addr == lost && node.ejected);
    wait_until("the replica is ejected", || {
        client.get::<Option<String>>("key")?;
        Ok(is_ejected())
    })?;

    servers.master_mut().stop();
    let heir = servers.replica(0);
    cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut heir.connection()?)?;
    wait_until("writes go to the new master", || Ok(client.set("key", "new").is_ok()))?;
    Ok(Demo { client, _servers: servers })
}

/// Waits until something is so.
///
/// # Errors
///
/// If it is not so after a minute.
pub fn wait_until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result {
    let end = Instant::now() + LONGEST_WAIT;
    while !is_so()? {
        if Instant::now() > end {
            return Err(format!("waited for a minute: {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
