//! Pipelines, scans, transactions and scripts of the redis crate, routed.
//!
//! Starts a master with two replicas of its own: `cargo run --example redis_commands`.

#![allow(clippy::print_stdout, reason = "examples print")]

use std::error::Error;
use std::io;

use redis_replicated::redis::{self, Commands, Script};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{ReplicatedClient, Result};

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let set = ReplicaSet::start(2)?;
    let client = set.client_builder().build()?;
    for (name, stock) in [("apple", 3), ("pear", 5), ("plum", 8)] {
        client.set(format!("stock:{name}"), stock)?;
    }
    // The reads below go to replicas.
    set.wait_until_in_sync()?;

    pipelines(&set, &client)?;
    scan(&client)?;
    transaction(&client)?;
    scripts(&set, &client)?;
    Ok(())
}

/// A pipeline runs, whole, on one node.
fn pipelines(set: &ReplicaSet, client: &ReplicatedClient) -> std::result::Result<(), Box<dyn Error>> {
    let before = calls(set, "GET")?;
    let (apples, pears): (i64, i64) = client.query_pipeline(redis::pipe().get("stock:apple").get("stock:pear"))?;
    println!("read-only pipeline   {apples} apples, {pears} pears: {}", news(&before, &calls(set, "GET")?, "GET"));

    let before = calls(set, "GET")?;
    let mut mixed = redis::pipe();
    mixed.incr("stock:apple", 1).ignore().get("stock:apple");
    let (apples,): (i64,) = client.query_pipeline(&mixed)?;
    println!("mixed pipeline       {apples} apples: {}", news(&before, &calls(set, "GET")?, "GET"));

    let before = calls(set, "GET")?;
    let mut atomic = redis::pipe();
    atomic.atomic().decr("stock:apple", 1).ignore().incr("stock:pear", 1).ignore().get("stock:apple").get("stock:pear");
    let (apples, pears): (i64, i64) = client.query_pipeline(&atomic)?;
    println!("atomic pipeline      {apples} apples, {pears} pears: {}", news(&before, &calls(set, "GET")?, "GET"));
    Ok(())
}

/// All pages of a scan come from the node that gave the first one.
fn scan(client: &ReplicatedClient) -> redis::RedisResult<()> {
    let mut connection = client.connection();
    let mut keys: Vec<String> = connection.scan_match("stock:*")?.collect::<redis::RedisResult<_>>()?;
    keys.sort_unstable();
    println!("scan_match           {}", keys.join(", "));
    Ok(())
}

/// From `WATCH` to `EXEC` everything goes over one connection to the master, the read in between as well.
fn transaction(client: &ReplicatedClient) -> redis::RedisResult<()> {
    let mut connection = client.connection();
    let key = "stock:plum";
    let left: i64 = redis::transaction(&mut connection, &[key], |connection, pipeline| {
        let stock: i64 = connection.get(key)?;
        // `None`, if somebody changed the key meanwhile: then all of this runs again.
        let replies: Option<(i64, i64)> = pipeline.decr(key, 1).rpush("orders", stock).query(connection)?;
        Ok(replies.map(|(left, _)| left))
    })?;
    println!("WATCH, MULTI, EXEC   {left} plums left");
    Ok(())
}

/// A script may write, so it goes to the master; `EVAL_RO` says that it does not.
fn scripts(set: &ReplicaSet, client: &ReplicatedClient) -> std::result::Result<(), Box<dyn Error>> {
    let take = Script::new(
        "local stock = tonumber(redis.call('GET', KEYS[1]))
         if stock < tonumber(ARGV[1]) then return false end
         return redis.call('DECRBY', KEYS[1], ARGV[1])",
    );
    let before = calls(set, "EVALSHA")?;
    let left: Option<i64> = take.key("stock:pear").arg(2).invoke(&mut client.connection())?;
    let text = left.map_or("too few pears".to_owned(), |left| format!("{left} pears left"));
    // One call more than asked for: the first finds the script unknown, and it is loaded.
    println!("Script               {text}: {}", news(&before, &calls(set, "EVALSHA")?, "EVALSHA"));

    let before = calls(set, "EVAL_RO")?;
    let digits = length_of(client, "stock:pear")?;
    println!(
        "EVAL_RO              the number of pears has {digits} digit: {}",
        news(&before, &calls(set, "EVAL_RO")?, "EVAL_RO")
    );
    Ok(())
}

fn length_of(client: &ReplicatedClient, key: &str) -> Result<usize> {
    let script = "return redis.call('STRLEN', KEYS[1])";
    client.query(redis::cmd("EVAL_RO").arg(script).arg(1).arg(key))
}

/// Returns how often each server has run a command, the master first.
fn calls(set: &ReplicaSet, command: &str) -> io::Result<Vec<u64>> {
    set.servers().iter().map(|server| server.calls(command)).collect()
}

fn news(before: &[u64], after: &[u64], command: &str) -> String {
    let new = |index: usize| after[index] - before[index];
    format!("{command} ran {} x on the master, {} x and {} x on the replicas", new(0), new(1), new(2))
}
