//! How many connections many callers use.

use std::thread;
use std::time::Duration;

use redis_replicated::ReadFrom;

use super::{Crowd, LONG, MANY, assert_none_failed, in_use, kill, read_own, set_with_own_keys, shared};
use crate::support::wait_until;

#[test]
fn sixty_four_threads_use_two_connections_a_node() {
    let servers = set_with_own_keys(2, 64);
    let client =
        servers.client_builder().read_from(ReadFrom::Replica).response_timeout(LONG).deadline(LONG).build().unwrap();
    let ((), failed, latest) = Crowd::run(
        64,
        |caller| read_own(&client, caller),
        |crowd| {
            servers.replicas().iter().for_each(|server| crowd.share(&client, &server.addr()));
            let used = || servers.replicas().iter().map(|server| in_use(server, &["get"]).len());
            // Where few happen to be at a node, they take other connections for a moment, and those count as used for a second.
            let mut samples: Vec<usize> = Vec::new();
            for _ in 0..40 {
                thread::sleep(Duration::from_millis(100));
                samples.extend(used());
            }
            samples.sort_unstable();
            println!("connections in use at a node: {samples:?}");
            assert!(samples[samples.len() / 2] <= 2, "{samples:?}");
        },
    );
    assert_none_failed(&failed);
    println!("64 threads: the latest call took {latest:?}");
}

#[test]
fn callers_never_share_where_that_is_switched_off() {
    let servers = set_with_own_keys(0, MANY);
    let client = servers.client_builder().shared_connections(0).response_timeout(LONG).deadline(LONG).build().unwrap();
    let master = servers.master();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            wait_until("many connections are in use", || in_use(master, &["get"]).len() > 4);
            (0..20).for_each(|_| crowd.flow());
            assert_eq!(shared(&client, &master.addr()), 0);
        },
    );
    assert_none_failed(&failed);
}

#[test]
fn callers_share_two_connections_where_there_are_two() {
    let servers = set_with_own_keys(0, 32);
    let client = servers.client_builder().shared_connections(2).response_timeout(LONG).deadline(LONG).build().unwrap();
    let master = servers.master();
    let ((), failed, _) = Crowd::run(
        32,
        |caller| {
            client.incr(format!("n:{caller}"))?;
            read_own(&client, caller)
        },
        |crowd| {
            wait_until("both are open", || shared(&client, &master.addr()) == 2);
            wait_until("no other is in use", || in_use(master, &["get", "incr"]).len() == 2);
            for _ in 0..5 {
                // One ends, and the callers of the other do not notice.
                kill(master, &in_use(master, &["get", "incr"])[..1]);
                crowd.flow();
                wait_until("both are open again", || shared(&client, &master.addr()) == 2);
            }
        },
    );
    // Writes that were on it are in doubt, and nothing else fails.
    assert!(failed.iter().all(|error| error.may_have_executed()), "{failed:?}");
}
