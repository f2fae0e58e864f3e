//! Reading your own writes from replicas, one of which lags behind; and a write that a failover loses.
//!
//! `cargo run --release --example sessions` starts a real master with two replicas and tells what it sees.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{ErrorKind, NodeAddr, ReplicatedClient, Token, redis};

/// Makes `server` follow the one at `master`, or nobody.
fn replicate(server: &Server, master: Option<&NodeAddr>) -> Result<(), Box<dyn Error>> {
    let mut command = redis::cmd("REPLICAOF");
    match master {
        Some(addr) => command.arg(addr.host()).arg(addr.port()),
        None => command.arg("NO").arg("ONE"),
    };
    Ok(command.exec(&mut server.connection()?)?)
}

/// Counts the stale ones among a hundred reads.
fn stale_reads(handle: &ReplicatedClient) -> redis_replicated::Result<usize> {
    let names: Vec<String> = (0..100).map(|_| handle.get("name")).collect::<Result<_, _>>()?;
    Ok(names.iter().filter(|name| *name != "Ada").count())
}

fn main() -> Result<(), Box<dyn Error>> {
    let servers = ReplicaSet::start(2)?;
    let client = servers.client_builder().deadline(Duration::from_secs(10)).build()?;
    client.set("name", "nobody")?;
    servers.wait_until_in_sync()?;

    // The first replica hears the master through a network that delivers nothing any more.
    let network = FaultProxy::start(&servers.master().addr())?;
    replicate(servers.replica(0), Some(&network.addr()))?;
    servers.wait_until_in_sync()?;
    network.set(NetworkFault::BlackHole)?;

    let session = client.session();
    session.set("name", "Ada")?;
    println!(
        "without a session, {} of 100 reads are stale; with it, {}",
        stale_reads(&client)?,
        stale_reads(&session)?
    );

    // Another process goes on where this one was: the token travels in a cookie.
    let cookie = session.token().map(|token| token.to_string()).unwrap_or_default();
    let elsewhere = servers.client_builder().build()?.resume(&cookie.parse::<Token>()?);
    println!("resumed by the token {cookie}: {} of 100 are stale", stale_reads(&elsewhere)?);

    let bounded = client.max_staleness(Duration::from_millis(200));
    std::thread::sleep(Duration::from_millis(200));
    println!("of reads that are at most 200 ms old: {} of 100", stale_reads(&bounded)?);

    let confirmed = client.acknowledged_by(2, Duration::from_millis(100)).set("name", "Ada");
    println!(
        "a write that two replicas should confirm: {}",
        confirmed.map_or_else(|error| error.to_string(), |()| "done".into())
    );

    // The master hangs, and the replica that has not heard of Ada takes its place.
    servers.master().pause()?;
    replicate(servers.replica(0), None)?;
    replicate(servers.replica(1), Some(&servers.replica(0).addr()))?;
    loop {
        match session.get::<String>("name") {
            Ok(name) => println!("it still reads {name}"),
            Err(error) if error.kind() == ErrorKind::WriteLost => break println!("the session is told, once: {error}"),
            Err(error) => println!("meanwhile: {error}"),
        }
    }
    println!("and goes on with what there is: {}", session.get::<String>("name")?);
    servers.master().resume()?;
    Ok(())
}
