//! Large replies, and callers of small ones beside them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::{ReadFrom, ReplicatedClient};

use super::{Crowd, LONG, MANY, assert_none_failed, read_own, set_with_own_keys, shared};
use crate::support::{Sleepers, configure, wait_until};

const LARGE: usize = 30 << 20;

fn write_large(client: &ReplicatedClient) {
    client.set("large", vec![b'x'; LARGE]).unwrap();
}

fn read_large(client: &ReplicatedClient) {
    let value: Vec<u8> = client.get("large").unwrap();
    assert!(value.len() == LARGE && value.iter().all(|byte| *byte == b'x'));
}

#[test]
fn small_reads_are_not_late_beside_large_replies_and_commands_that_block() {
    let servers = set_with_own_keys(0, MANY);
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    write_large(&client);
    let (large, popped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let sleepers = Sleepers::start();
    let ((), failed, _) = Crowd::run(
        2,
        |caller| {
            if caller == 0 {
                read_large(&client);
                large.fetch_add(1, Ordering::SeqCst);
            } else {
                let none: Option<(String, String)> = client.query(redis::cmd("BLPOP").arg("none").arg(0.2))?;
                assert_eq!(none, None);
                popped.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        },
        |beside| {
            beside.flow();
            let ((), failed, latest) = Crowd::run(
                MANY,
                |caller| read_own(&client, caller),
                |crowd| {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_secs(3) {
                        crowd.flow();
                    }
                },
            );
            assert_none_failed(&failed);
            let asleep = sleepers.finish();
            let (large, popped) = (large.load(Ordering::SeqCst), popped.load(Ordering::SeqCst));
            println!(
                "the latest read took {latest:?} beside {large} of 30 MB and {popped} blocked; a sleeper {asleep:?}"
            );
            assert!(latest <= Duration::from_millis(400) + 4 * asleep, "{latest:?}, a thread that slept {asleep:?}");
            beside.flow();
        },
    );
    assert_none_failed(&failed);
}

#[test]
fn callers_do_not_share_for_a_second_after_a_large_reply_began() {
    let servers = set_with_own_keys(0, MANY);
    let master = servers.master().addr();
    let client = servers.client_builder().deadline(LONG).build().unwrap();
    client.set("large", vec![b'x'; 1 << 20]).unwrap();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &master);
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(client.get::<Vec<u8>>("large").unwrap().len(), 1 << 20));
                wait_until("the connection is given up", || shared(&client, &master) == 0);
            });
            let given_up = Instant::now();
            wait_until("calls share again", || shared(&client, &master) == 1);
            let paused = given_up.elapsed();
            println!("calls shared again after {paused:?}");
            assert!(paused > Duration::from_millis(900), "after {paused:?}");
            crowd.flow();
        },
    );
    assert_none_failed(&failed);
}

#[test]
fn a_reply_that_the_server_cannot_deliver_fails_no_other_call() {
    let servers = set_with_own_keys(1, MANY);
    let client = servers.client_builder().read_from(ReadFrom::Any).deadline(LONG).build().unwrap();
    let element = "x".repeat(1 << 20);
    (0..24).for_each(|_| _ = client.rpush("list", &element).unwrap());
    servers.wait_until_in_sync().unwrap();
    for server in servers.servers() {
        configure(server, "client-output-buffer-limit", "normal 2mb 2mb 1");
    }
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            servers.servers().iter().for_each(|server| crowd.share(&client, &server.addr()));
            for _ in 0..5 {
                assert!(client.lrange::<Vec<String>>("list", 0, -1).is_err());
                thread::sleep(Duration::from_millis(100));
                crowd.flow();
            }
        },
    );
    assert_none_failed(&failed);
    assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "{}", client.snapshot());
}
