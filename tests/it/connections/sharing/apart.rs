//! What never goes out on a shared connection.

use std::collections::HashSet;
use std::io::{BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis_replicated::ReplicatedClient;
use redis_replicated::testing::ReplicaSet;

use super::{Crowd, LONG, MANY, Monitor, assert_none_failed, busiest, own, read_own, set_with_own_keys, shared};
use crate::support::{Fake, read_command, wait_until};

/// Runs `act` beside callers that share; returns their address, and what was executed meanwhile and by whom.
fn watch(servers: &ReplicaSet, client: &ReplicatedClient, act: impl FnOnce()) -> (String, Vec<(String, Vec<String>)>) {
    let master = servers.master();
    let (seen, failed, _) = Crowd::run(
        MANY,
        |caller| read_own(client, caller),
        |crowd| {
            crowd.share(client, &master.addr());
            let monitor = Monitor::start(master);
            act();
            (0..10).for_each(|_| crowd.flow());
            redis::cmd("ECHO").arg("over").exec(&mut master.connection().unwrap()).unwrap();
            monitor.until("over")
        },
    );
    assert_none_failed(&failed);
    (busiest(&seen, "GET"), seen)
}

/// Returns on which connections a command was executed.
fn senders(seen: &[(String, Vec<String>)], command: &str) -> HashSet<String> {
    let is_it = |words: &[String]| words[0].eq_ignore_ascii_case(command);
    seen.iter().filter(|(_, words)| is_it(words)).map(|(addr, _)| addr.clone()).collect()
}

#[test]
fn what_blocks_or_watches_or_is_large_goes_out_on_another_connection() {
    let servers = set_with_own_keys(0, MANY);
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let (shared, seen) = watch(&servers, &client, || {
        for _ in 0..20 {
            let _: Option<(String, String)> = client.query(redis::cmd("BLPOP").arg("none").arg(0.01)).unwrap();
            client.set("large", "x".repeat(17 << 10)).unwrap();
            client.set("small", "x".repeat(12 << 10)).unwrap();
            client.publish("channel", "message").unwrap();
            let mut connection = client.connection();
            let _: (i64,) = redis::transaction(&mut connection, &["watched"], |connection, pipeline| {
                pipeline.incr("watched", 1).query(connection)
            })
            .unwrap();
        }
    });
    assert!(senders(&seen, "SET").contains(&shared), "small writes share");
    for command in ["BLPOP", "PUBLISH", "WATCH", "MULTI"] {
        let senders = senders(&seen, command);
        assert!(!senders.is_empty() && !senders.contains(&shared), "{command} was sent by {senders:?}");
    }
    let is_large = |words: &[String]| words[0] == "SET" && words[1] == "large";
    let large: Vec<_> = seen.iter().filter(|(_, words)| is_large(words)).collect();
    assert_eq!(large.len(), 20);
    assert!(large.iter().all(|(addr, _)| *addr != shared));
}

/// The server waits before it answers anything else on that connection.
#[test]
fn a_write_that_waits_for_replicas_holds_up_no_other_call() {
    let servers = set_with_own_keys(1, MANY);
    let master = servers.master().addr();
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let reader = client.read_from(redis_replicated::ReadFrom::Master);
    let ((), failed, latest) = Crowd::run(
        MANY,
        |caller| read_own(&reader, caller),
        |crowd| {
            crowd.share(&client, &master);
            servers.replica(0).pause().unwrap();
            let error = client.acknowledged_by(1, Duration::from_secs(2)).set("k", "v").unwrap_err();
            assert_eq!(error.kind(), redis_replicated::ErrorKind::Unacknowledged, "{error}");
            servers.replica(0).resume().unwrap();
        },
    );
    assert_none_failed(&failed);
    assert!(latest < Duration::from_millis(1500), "the latest read took {latest:?}");
}

#[test]
fn a_command_that_is_not_known_goes_out_on_another_connection() {
    type Log = Vec<(usize, String)>;
    let (log, next): (Arc<Mutex<Log>>, _) = (Arc::default(), AtomicUsize::new(0));
    let seen = Arc::clone(&log);
    let fake = Fake::raw(move |mut output| {
        let connection = next.fetch_add(1, Ordering::SeqCst);
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            seen.lock().unwrap().push((connection, words[0].clone()));
            let reply = match words[0].as_str() {
                "HELLO" => "*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n".to_owned(),
                "GET" => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
                "MODULE.CHANGE" => "+OK\r\n".to_owned(),
                _ => "-NOPERM this user has no permissions\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    let builder = ReplicatedClient::builder().master(fake.url()).monitor_interval(Duration::ZERO);
    let client = builder.response_timeout(LONG).deadline(LONG).build().unwrap();
    let addr = client.snapshot().nodes[0].addr.clone();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &addr);
            log.lock().unwrap().clear();
            (0..20).for_each(|_| client.query::<()>(redis::cmd("MODULE.CHANGE").arg("x")).unwrap());
            crowd.flow();
        },
    );
    assert_none_failed(&failed);
    let log = log.lock().unwrap();
    let count = |connection: usize| log.iter().filter(|(by, command)| *by == connection && command == "GET").count();
    let shared = log.iter().map(|(connection, _)| *connection).max_by_key(|connection| count(*connection)).unwrap();
    let unknown: Vec<usize> = log.iter().filter(|(_, command)| command == "MODULE.CHANGE").map(|(by, _)| *by).collect();
    assert_eq!(unknown.len(), 20);
    assert!(!unknown.contains(&shared), "{unknown:?}, shared is {shared}");
}

#[test]
fn pinned_calls_keep_their_connection_beside_callers_that_share() {
    let servers = set_with_own_keys(0, MANY);
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let master = servers.master().addr();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| {
            if caller % 4 > 0 {
                client.set(format!("other:{caller}"), "x")?;
                return read_own(&client, caller);
            }
            // Nobody else writes this key: if the watch or the transaction were another one's, the result would differ.
            let key = format!("counter:{caller}");
            let mut connection = client.connection();
            let counted = redis::transaction(&mut connection, &[&key], |connection, pipeline| {
                let before: Option<i64> = redis::Commands::get(connection, &key)?;
                let after: Option<(i64,)> = pipeline.incr(&key, 1).query(connection)?;
                Ok(after.map(|(after,)| (before.unwrap_or(0), after)))
            });
            let (before, after) = counted.unwrap();
            assert_eq!(after, before + 1);
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &master);
            (0..50).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
}

/// Each connection to such a name leads to one of several processes.
#[test]
fn callers_of_a_name_of_several_processes_share_no_connection() {
    let servers = set_with_own_keys(2, MANY);
    let service = super::super::shared_endpoint::service(&servers);
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(service.url());
    let client =
        builder.read_from(redis_replicated::ReadFrom::Replica).response_timeout(LONG).deadline(LONG).build().unwrap();
    wait_until("it is known that the endpoint is shared", || client.snapshot().nodes[1].shared);
    let addr = client.snapshot().nodes[1].addr.clone();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            for _ in 0..20 {
                crowd.flow();
                thread::sleep(Duration::from_millis(10));
                assert_eq!(shared(&client, &addr), 0);
            }
        },
    );
    assert_none_failed(&failed);
    assert_eq!(client.get::<String>(own(0)).unwrap(), own(0));
}
