//! A strategy of one's own: replicas of the own zone first, those of other zones only if none of the own can serve.
//!
//! Starts a master with three replicas of its own: `cargo run --example custom_strategy`.

#![allow(clippy::print_stdout, reason = "examples print")]

use std::error::Error;
use std::io;

use redis_replicated::strategy::{Candidates, LeastOutstanding, Strategy};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{Endpoint, Node, ReplicatedClient, Result};

const ZONES: [&str; 3] = ["eu-1a", "eu-1a", "eu-1b"];
const READS: usize = 1_000;

/// Prefers the own zone; among several nodes, the one with the fewest requests in flight.
#[derive(Debug)]
struct ZoneFirst {
    zone: &'static str,
    among: LeastOutstanding,
}

impl ZoneFirst {
    fn new(zone: &'static str) -> Self {
        Self { zone, among: LeastOutstanding::new() }
    }
}

impl Strategy for ZoneFirst {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        // Ejected nodes, and those that failed in this call, are no candidates any more: nothing to check here.
        let own = candidates.narrow(|node| node.zone() == Some(self.zone));
        self.among.pick(own.as_ref().unwrap_or(candidates))
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut set = ReplicaSet::start(ZONES.len())?;
    let replicas = set.replicas().iter().zip(ZONES).map(|(server, zone)| Endpoint::new(server.url()).zone(zone));
    let client = ReplicatedClient::builder()
        .master(set.master().url())
        .replicas(replicas)
        .strategy(ZoneFirst::new("eu-1a"))
        .build()?;
    client.set("greeting", "hello")?;
    set.wait_until_in_sync()?;

    read(&client)?;
    println!("{READS} reads from zone eu-1a, all replicas up:");
    report(&set)?;

    set.replica_mut(0).stop();
    set.replica_mut(1).stop();
    read(&client)?;
    println!("{READS} more, both replicas of eu-1a stopped:");
    report(&set)?;
    Ok(())
}

fn read(client: &ReplicatedClient) -> Result<()> {
    for _ in 0..READS {
        client.get::<String>("greeting")?;
    }
    Ok(())
}

/// Prints how often each replica has run GET since it was started, by its own count.
fn report(set: &ReplicaSet) -> io::Result<()> {
    for (server, zone) in set.replicas().iter().zip(ZONES) {
        let served = if server.runs() { format!("{:>5} GETs", server.calls("GET")?) } else { "stopped".to_owned() };
        println!("  {:<16} {zone}  {served}", server.addr().to_string());
    }
    println!("  {:<16} master {:>5} GETs", set.master().addr().to_string(), set.master().calls("GET")?);
    Ok(())
}
