//! Writes a few keys, reads them many times, and lets the servers themselves tell who did what.
//!
//! Without arguments it starts a master with three replicas of its own and stops them at the end:
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! With arguments it uses the servers at these URLs, the master first, then its replicas. The figures are then those of
//! all their clients, so take servers that nobody else is using:
//!
//! ```text
//! cargo run --example quickstart -- redis://127.0.0.1:6379 redis://127.0.0.1:6380
//! ```

#![allow(clippy::print_stdout, reason = "examples print")]

use std::env;
use std::error::Error;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{NodeSnapshot, ReplicatedClient, Role, Target, redis};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WRITES: usize = 100;
const READS: usize = 3_000;
/// How long a node may take to answer, and replicas to catch up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a server has run the two commands, by its own count.
#[derive(Clone, Copy)]
struct Counts {
    sets: u64,
    gets: u64,
}

fn main() -> Result<()> {
    let urls: Vec<String> = env::args().skip(1).collect();
    // The servers run until this is dropped.
    let own_set = if urls.is_empty() { Some(ReplicaSet::start(3)?) } else { None };
    let client = match (&own_set, urls.split_first()) {
        (Some(set), _) => set.client_builder().build()?,
        (None, Some((master, replicas))) => ReplicatedClient::builder().master(master).replicas(replicas).build()?,
        (None, None) => return Err("no servers".into()),
    };

    println!("Where would it go?");
    println!("  {}", client.explain(&redis::cmd("GET")));
    println!("  {}\n", client.explain(&redis::cmd("SET")));

    let run = process::id();
    let keys: Vec<String> = (0..WRITES).map(|n| format!("quickstart:{run}:{n}")).collect();
    let outcome = write_and_read(&client, own_set.as_ref(), &keys);
    // Also after a failure: the servers may be somebody's.
    let tidied = client.unlink(&keys);
    outcome?;
    tidied?;
    Ok(())
}

fn write_and_read(client: &ReplicatedClient, own_set: Option<&ReplicaSet>, keys: &[String]) -> Result<()> {
    let nodes = client.snapshot().nodes;
    let before = counts(client, &nodes)?;

    for (n, key) in keys.iter().enumerate() {
        client.set(key, n)?;
    }
    // A replica that lags behind would answer with nothing.
    match (own_set, keys.last()) {
        (Some(set), _) => set.wait_until_in_sync()?,
        (None, Some(last)) => wait_for_key(client, &nodes, last)?,
        (None, None) => {}
    }
    let mut found = 0;
    for key in keys.iter().cycle().take(READS) {
        let value: Option<usize> = client.get(key)?;
        found += usize::from(value.is_some());
    }

    let after = counts(client, &nodes)?;
    println!("{} SETs and {READS} GETs, {found} of which found their key. What the servers counted:", keys.len());
    print_table(&nodes, &before, &after);
    println!("What this client knows of its nodes:");
    print!("{}", client.snapshot());
    Ok(())
}

/// Asks each node for its statistics, on a connection that nobody routes.
fn counts(client: &ReplicatedClient, nodes: &[NodeSnapshot]) -> Result<Vec<Counts>> {
    let ask = |node: &NodeSnapshot| -> Result<Counts> {
        let mut connection = open(client, node)?;
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection)?;
        Ok(Counts { sets: calls(&stats, "set"), gets: calls(&stats, "get") })
    };
    nodes.iter().map(ask).collect()
}

/// Finds the calls in a line such as `cmdstat_get:calls=21,usec=175,…`; a command that never ran has no line.
fn calls(stats: &str, command: &str) -> u64 {
    let count = |line: &str| {
        let rest = line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls=")?;
        rest.split(',').next()?.parse().ok()
    };
    stats.lines().find_map(count).unwrap_or(0)
}

/// Waits until each replica has the key. EXISTS, so that the GETs stay those of the reads.
fn wait_for_key(client: &ReplicatedClient, nodes: &[NodeSnapshot], key: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for node in nodes.iter().filter(|node| node.role == Role::Replica) {
        let mut connection = open(client, node)?;
        while !redis::cmd("EXISTS").arg(key).query::<bool>(&mut connection)? {
            if Instant::now() > end {
                let seconds = PATIENCE.as_secs();
                return Err(format!("{} did not get {key} within {seconds} s: is it a replica?", node.addr).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Opens a connection of our own to one node; it comes without a time limit.
fn open(client: &ReplicatedClient, node: &NodeSnapshot) -> Result<redis::Connection> {
    let connection = client.dedicated(Target::Node(node.addr.clone()))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn print_table(nodes: &[NodeSnapshot], before: &[Counts], after: &[Counts]) {
    // Somebody may have set the counts back to zero meanwhile.
    let new = |(old, new): (&Counts, &Counts)| (new.sets.saturating_sub(old.sets), new.gets.saturating_sub(old.gets));
    let news = || before.iter().zip(after).map(new);
    let all_gets = news().map(|(_, gets)| gets).sum::<u64>().max(1);
    println!("  {:<24} {:<8} {:>5} {:<24} {:>6} {:>7}", "node", "role", "SET", "", "GET", "share");
    for (node, (sets, gets)) in nodes.iter().zip(news()) {
        let origin = match node.role {
            Role::Master => "sent by this client",
            _ => "applied by replication",
        };
        let (addr, role) = (node.addr.to_string(), node.role.to_string());
        let share = format!("{:.1} %", gets as f64 * 100.0 / all_gets as f64);
        println!("  {addr:<24} {role:<8} {sets:>5} {origin:<24} {gets:>6} {share:>7}");
    }
    println!();
}
