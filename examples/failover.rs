//! A live set with three Sentinels, constant reads and writes, and a master that is killed and comes back empty.
//!
//! `cargo run --release --example failover` prints a line for each second: calls, failures, the longest wait, who is master.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Sentinels};
use redis_replicated::{ReplicatedClient, Result, Role};

/// What one kind of call came to in the current second.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    longest_micros: AtomicU64,
}

impl Tally {
    fn count<T>(&self, call: impl FnOnce() -> Result<T>) {
        let start = Instant::now();
        let counter = if call().is_ok() { &self.done } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.longest_micros.fetch_max(micros, Ordering::Relaxed);
    }

    fn take(&self) -> String {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let longest = Duration::from_micros(take(&self.longest_micros)).as_secs_f64() * 1000.0;
        format!("{:>7} ok {:>4} failed {longest:>7.1} ms", take(&self.done), take(&self.failed))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut servers = ReplicaSet::start(2)?;
    let sentinels = Sentinels::start(&servers, 3)?;
    let client = ReplicatedClient::builder()
        .sentinel(sentinels.service(), sentinels.urls())
        .deadline(Duration::from_secs(5)) // how long a write may wait for the next master
        .build()?;
    client.set("key", "value")?;

    let (reads, writes, stop) = (Tally::default(), Tally::default(), AtomicBool::new(false));
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    reads.count(|| client.get::<Option<String>>("key"));
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                writes.count(|| client.incr("counter"));
            }
        });
        let told = tell(&client, &mut servers, &reads, &writes);
        stop.store(true, Ordering::Relaxed);
        told
    })
}

/// Prints a line for each second; kills the master after three of them and restarts it, empty, after eight.
fn tell(
    client: &ReplicatedClient,
    servers: &mut ReplicaSet,
    reads: &Tally,
    writes: &Tally,
) -> Result<(), Box<dyn Error>> {
    println!("second  reads                             writes                            master");
    for second in 1..=12 {
        thread::sleep(Duration::from_secs(1));
        let snapshot = client.snapshot();
        let master = snapshot.nodes.iter().find(|node| node.assigned_role == Role::Master);
        let master = master.map_or_else(|| "nobody".to_owned(), |node| node.addr.to_string());
        println!("{second:>6}  {}  {}  {master}", reads.take(), writes.take());
        match second {
            3 => {
                println!("        the master is killed");
                servers.master_mut().stop();
            }
            8 => {
                println!("        the old master comes back, empty, and takes itself for the master");
                servers.master_mut().restart()?;
            }
            _ => {}
        }
    }
    println!("\n{}", client.snapshot());
    Ok(())
}
