//! Shared connections to a server that changes its role, or does not serve.

use std::collections::HashSet;
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::{ReplicatedClient, Role};

use super::{Crowd, LONG, MANY, assert_none_failed, clients, in_use, read_own, set_with_own_keys, shared};
use crate::support::{Fake, follow, promote, read_command, wait_until};

/// The counters of so many writers, and how often each write was acknowledged or is in doubt.
#[derive(Default)]
struct Count {
    acknowledged: AtomicU64,
    in_doubt: AtomicU64,
}

#[test]
fn writes_wait_for_the_new_master_and_none_is_executed_twice() {
    let servers = set_with_own_keys(1, MANY);
    let (old, new) = (servers.master(), servers.replica(0));
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    let counts: Vec<Count> = (0..MANY).map(|_| Count::default()).collect();
    let (before, failed, _) = Crowd::run(
        MANY,
        |caller| {
            match client.incr(format!("n:{caller}")) {
                Ok(_) => counts[caller].acknowledged.fetch_add(1, Ordering::SeqCst),
                Err(error) if error.may_have_executed() => counts[caller].in_doubt.fetch_add(1, Ordering::SeqCst),
                Err(error) => return Err(error),
            };
            read_own(&client, caller)
        },
        |crowd| {
            crowd.share(&client, &old.addr());
            let before: HashSet<u64> = in_use(old, &["incr"]).into_iter().collect();
            redis::cmd("FAILOVER").exec(&mut old.connection().unwrap()).unwrap();
            let is_master = || new.info("replication", "role").unwrap().as_deref() == Some("master");
            wait_until("the replica is the master", is_master);
            wait_until("calls share a connection to it", || shared(&client, &new.addr()) == 1);
            crowd.flow();
            before
        },
    );
    assert_none_failed(&failed);
    let mut connection = new.connection().unwrap();
    let (mut acknowledged, mut in_doubt) = (0, 0);
    for (caller, count) in counts.iter().enumerate() {
        let counted: u64 = redis::cmd("GET").arg(format!("n:{caller}")).query(&mut connection).unwrap();
        let [known, doubted] = [&count.acknowledged, &count.in_doubt].map(|count| count.load(Ordering::SeqCst));
        assert!((known..=known + doubted).contains(&counted), "{caller}: {counted}, {known} known, {doubted} in doubt");
        (acknowledged, in_doubt) = (acknowledged + known, in_doubt + doubted);
    }
    println!("{acknowledged} writes acknowledged, {in_doubt} in doubt");
    assert!(!before.is_empty());
    wait_until("the old ones are closed", || clients(old).keys().all(|id| !before.contains(id)));
}

#[test]
fn nothing_is_written_to_a_demoted_master_that_callers_share() {
    let servers = set_with_own_keys(1, MANY);
    let (old, new) = (servers.master(), servers.replica(0));
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    for (from, to) in [(old, new), (new, old)] {
        let ((), failed, _) = Crowd::run(
            MANY,
            |caller| client.set(format!("n:{caller}"), caller),
            |crowd| {
                crowd.share(&client, &from.addr());
                promote(to);
                follow(from, to);
                wait_until("calls share a connection to the new master", || shared(&client, &to.addr()) == 1);
                crowd.flow();
            },
        );
        // None of them was executed by the demoted master: each of them went on.
        assert_none_failed(&failed);
        let master = client.snapshot().nodes.into_iter().find(|node| node.assigned_role == Role::Master).unwrap();
        assert_eq!(master.addr, to.addr());
        let refused = from.errors("READONLY").unwrap();
        println!("{refused} writes were refused");
        assert!(refused <= 2 * MANY as u64, "{refused} writes were refused");
    }
}

#[test]
fn reads_leave_a_replica_that_loads_its_data() {
    let servers = set_with_own_keys(0, MANY);
    let loads = Arc::new(AtomicBool::new(false));
    let is_loading = Arc::clone(&loads);
    let fake = Fake::raw(move |mut output| {
        let mut input = BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let reply = match words[0].as_str() {
                "HELLO" => "*2\r\n$4\r\nrole\r\n$5\r\nslave\r\n".to_owned(),
                _ if is_loading.load(Ordering::SeqCst) => {
                    "-LOADING Redis is loading the dataset in memory\r\n".to_owned()
                }
                "GET" => format!("${}\r\n{}\r\n", words[1].len(), words[1]),
                _ => "-NOPERM this user has no permissions\r\n".to_owned(),
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    });
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(fake.url());
    let client = builder.monitor_interval(Duration::ZERO).fallback_limit(None).deadline(LONG).build().unwrap();
    let replica = client.snapshot().nodes[1].addr.clone();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &replica);
            for _ in 0..3 {
                loads.store(true, Ordering::SeqCst);
                crowd.flow();
                crowd.flow();
                loads.store(false, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(700));
            }
        },
    );
    assert_none_failed(&failed);
    assert!(servers.master().calls("GET").unwrap() > 0, "the master served meanwhile");
}
