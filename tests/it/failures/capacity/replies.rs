//! One call that no server can answer is no reason to avoid servers that answer others.

use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReplicatedClient};

use super::traffic::Traffic;
use crate::support::{set_with_key, wait_until};

/// How often the servers have run a command, by their own count.
fn count(servers: &ReplicaSet, command: &str) -> u64 {
    servers.servers().iter().map(|server| server.calls(command).unwrap()).sum()
}

/// Two megabytes are the most that a server holds for a client; the list has 24.
fn with_large_list(replicas: usize) -> ReplicaSet {
    let servers = set_with_key(replicas);
    let mut connection = servers.master().connection().unwrap();
    let element = "x".repeat(1 << 20);
    (0..24).for_each(|_| redis::cmd("RPUSH").arg("large").arg(&element).exec(&mut connection).unwrap());
    servers.wait_until_in_sync().unwrap();
    for server in servers.servers() {
        let mut config = redis::cmd("CONFIG");
        config.arg("SET").arg("client-output-buffer-limit").arg("normal 2mb 2mb 1");
        config.exec(&mut server.connection().unwrap()).unwrap();
    }
    servers
}

#[test]
fn a_reply_that_no_server_can_deliver_is_asked_for_three_times_and_ejects_nobody() {
    for replicas in [2, 0] {
        let servers = with_large_list(replicas);
        let client = servers.client_builder().build().unwrap();
        let traffic = Traffic::run(&client, 2, |traffic| {
            traffic.flow(200);
            for call in 1..=5 {
                let start = Instant::now();
                let error = client.lrange::<Vec<String>>("large", 0, -1).unwrap_err();
                let attempts = count(&servers, "LRANGE");
                println!("{replicas} replicas, call {call}: {attempts} attempts, {error} after {:?}", start.elapsed());
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                assert!(attempts <= 3 * call, "{attempts} attempts of {call} calls");
                traffic.flow(100);
            }
        });
        traffic.assert_untroubled("beside a reply that is too large");
    }
}

#[test]
fn a_read_that_takes_longer_than_the_limit_is_sent_three_times_at_most() {
    let servers = set_with_key(2);
    let limit = Duration::from_millis(50);
    let builder = servers.client_builder().response_timeout(limit).monitor_interval(Duration::ZERO);
    let client = builder.deadline(Duration::from_secs(3)).build().unwrap();
    let script = "local turns = 0 for turn = 1, 40000000 do turns = turns + 1 end return turns";
    let error = client.query::<i64>(redis::cmd("EVAL_RO").arg(script).arg(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    // What was sent later is executed when the server has time for it; one that is busy for long says nothing else.
    let (mut before, mut attempts) = (None, None);
    wait_until("all scripts have ended", || {
        // Two looks that differ by nothing, this far apart: there is no further attempt.
        thread::sleep(4 * limit);
        let all = servers.servers().iter().map(|server| server.calls("EVAL_RO").ok()).sum::<Option<u64>>();
        (before, attempts) = (attempts, all);
        attempts.is_some() && before == attempts
    });
    let attempts = attempts.unwrap();
    println!("a slow read: {attempts} attempts");
    assert!((1..=3).contains(&attempts), "{attempts} attempts");
}

#[test]
fn a_client_serves_others_after_a_reply_that_was_too_large() {
    let servers = with_large_list(1);
    let client: ReplicatedClient = servers.client_builder().build().unwrap();
    assert!(client.lrange::<Vec<String>>("large", 0, -1).is_err());
    (0..20).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v"));
    client.set("k", "w").unwrap();
    let on_replica = |server: &Server| server.calls("GET").unwrap();
    assert!(on_replica(servers.replica(0)) > 0, "the replica still serves");
}
