//! Sessions whose callers share connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::{ReadFrom, ReplicatedClient, SessionMode};

use super::{Crowd, LONG, MANY, assert_none_failed, read_own, set_with_own_keys};
use crate::support::{Distant, calls_on_replicas, wait_until};

fn client(servers: &redis_replicated::testing::ReplicaSet, mode: SessionMode) -> ReplicatedClient {
    servers.client_builder().session_mode(mode).response_timeout(LONG).deadline(LONG).build().unwrap()
}

/// Each caller has a session, writes numbers, and reads at once what it wrote.
fn read_own_writes(mode: SessionMode) {
    let servers = set_with_own_keys(2, MANY);
    let client = client(&servers, mode);
    let sessions: Vec<ReplicatedClient> = (0..MANY).map(|_| client.session()).collect();
    let written: Vec<AtomicU64> = (0..MANY).map(|_| AtomicU64::new(0)).collect();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| {
            let (session, key) = (&sessions[caller], format!("n:{caller}"));
            let number = written[caller].fetch_add(1, Ordering::SeqCst) + 1;
            session.set(&key, number)?;
            for _ in 0..4 {
                assert_eq!(session.get::<u64>(&key)?, number, "{mode:?}, caller {caller}");
            }
            read_own(session, caller)
        },
        |crowd| {
            if mode == SessionMode::Strict {
                servers.servers().iter().for_each(|server| crowd.share(&client, &server.addr()));
            }
            (0..30).for_each(|_| crowd.flow());
            if mode == SessionMode::Fence {
                let shared = client.snapshot().nodes.iter().map(|node| node.shared_connections).sum::<u32>();
                assert_eq!(shared, 0, "calls with a fence share nothing");
            }
        },
    );
    assert_none_failed(&failed);
    assert!(calls_on_replicas(&servers, "GET") > 0, "{mode:?}: replicas serve, too");
}

#[test]
fn sessions_that_share_read_their_own_writes() {
    read_own_writes(SessionMode::Strict);
}

#[test]
fn sessions_with_fences_read_their_own_writes_and_share_nothing() {
    read_own_writes(SessionMode::Fence);
}

#[test]
fn session_reads_that_leave_together_ask_for_evidence_together() {
    let servers = set_with_own_keys(1, 32);
    let client = client(&servers, SessionMode::Strict);
    let sessions: Vec<ReplicatedClient> = (0..32).map(|_| client.session()).collect();
    let replica = servers.replica(0);
    sessions.iter().for_each(|session| session.set("k", "v").unwrap());
    servers.wait_until_in_sync().unwrap();
    let ((infos, reads), failed, _) = Crowd::run(
        32,
        |caller| read_own(&sessions[caller], caller),
        |crowd| {
            crowd.share(&client, &replica.addr());
            let count = || (replica.calls("INFO").unwrap(), replica.calls("GET").unwrap());
            let before = count();
            (0..30).for_each(|_| crowd.flow());
            let after = count();
            (after.0 - before.0, after.1 - before.1)
        },
    );
    assert_none_failed(&failed);
    println!("{infos} INFO for {reads} reads");
    assert!(reads > 1000 && infos < reads, "{infos} INFO for {reads} reads");
}

/// The replica says what it contains before and after each write, and that is too old.
#[test]
fn sessions_that_share_never_read_from_a_replica_that_is_behind() {
    let set = Distant::start(1);
    super::fill(&set.servers, MANY);
    for mode in [SessionMode::Strict, SessionMode::Fence] {
        let client = client(&set.servers, mode);
        let sessions: Vec<ReplicatedClient> = (0..MANY).map(|_| client.session()).collect();
        let written: Vec<AtomicU64> = (0..MANY).map(|_| AtomicU64::new(0)).collect();
        let unbound = client.read_from(ReadFrom::Replica);
        let ((), failed, _) = Crowd::run(
            2 * MANY,
            |caller| {
                if caller >= MANY {
                    // Others keep the connection to the replica shared.
                    return read_own(&unbound, caller - MANY);
                }
                let (session, key) = (&sessions[caller], format!("{mode:?}:{caller}"));
                let number = written[caller].fetch_add(1, Ordering::SeqCst) + 1;
                session.set(&key, number)?;
                assert_eq!(session.get::<Option<u64>>(&key)?, Some(number), "{mode:?}, caller {caller}");
                Ok(())
            },
            |crowd| {
                crowd.share(&client, &set.servers.replica(0).addr());
                for _ in 0..3 {
                    set.freeze(0);
                    // So that the replica falls behind.
                    thread::sleep(Duration::from_millis(200));
                    crowd.flow();
                    set.proxies[0].set(redis_replicated::testing::NetworkFault::None).unwrap();
                    crowd.flow();
                }
            },
        );
        assert_none_failed(&failed);
        wait_until("nobody waits", || client.snapshot().nodes.iter().all(|node| node.in_flight == 0));
    }
}
