use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::TopologyStore;
use crate::endpoint::Manner;
use crate::node::{Outcome, SyncState};
use crate::pool::Silence;
use crate::replication::Report;
use crate::replication::examples::digits;
use crate::topology::fake::server_settings;
use crate::topology::{Description, Server, Topology, Woken};

/// A set of three, the first of which is the master, by what they say; nobody asks them.
fn store() -> TopologyStore {
    let first = Description::new().master("10.0.0.1:1").replica("10.0.0.2:1").replica("10.0.0.3:1");
    let interval = Duration::from_secs(1);
    let store = TopologyStore::new(&first, Manner::default(), server_settings(), interval).unwrap();
    let servers = store.servers();
    store.observe_answer(&servers[0], Ok(master('a')), Instant::now());
    servers[1..].iter().for_each(|server| store.observe_answer(server, Ok(replica('a')), Instant::now()));
    store
}

fn master(history: char) -> Report {
    Report::of_info(&format!("role:master\r\nmaster_replid:{}\r\n", digits(history)))
}

fn replica(history: char) -> Report {
    Report::of_info(&format!("role:slave\r\nmaster_replid:{}\r\nmaster_link_status:up\r\n", digits(history)))
}

/// Returns whether connections that were opened at this time are of an earlier generation.
fn ended(server: &Server, opened: Instant) -> bool {
    server.pool.is_of_old(opened)
}

#[test]
fn an_ejection_ends_the_connections_of_the_node_once() {
    let store = store();
    let server = &store.servers()[1];
    let opened = Instant::now();
    server.record_failure(Outcome::Failed, None, opened);
    assert!(!ended(server, opened), "one failure ejects nobody");
    server.record_failure(Outcome::Unreachable, None, opened);
    assert!(ended(server, opened));
    let reopened = Instant::now();
    assert!(!ended(server, reopened));
    server.record_failure(Outcome::Unreachable, None, reopened);
    assert!(!ended(server, reopened), "it is ejected already");
    let other = &store.servers()[2];
    let opened = Instant::now();
    store.observe_answer(other, Err(Silence::Unreachable), Instant::now());
    assert!(ended(other, opened), "also by what the monitor finds");
}

#[test]
fn a_node_that_diverged_or_was_deposed_or_removed_keeps_no_connection() {
    let store = store();
    let servers = store.servers();
    let state = |index: usize| servers[index].node.sync_state();
    let opened = Instant::now();
    assert!(servers.iter().all(|server| !ended(server, opened)));
    // The replica follows somebody else, by the master's later word.
    store.observe_answer(&servers[2], Ok(replica('z')), Instant::now());
    store.observe_answer(&servers[0], Ok(master('a')), Instant::now());
    assert!(state(2) == SyncState::Diverged && ended(&servers[2], opened));
    let reopened = Instant::now();
    store.observe_answer(&servers[0], Ok(master('a')), Instant::now());
    assert!(!ended(&servers[2], reopened), "it is known");
    assert!(!ended(&servers[0], opened) && !ended(&servers[1], opened), "the others are as they were");
    // Another one is named as the master, and confirms it.
    let second = Description::new().master("10.0.0.2:1").replica("10.0.0.1:1");
    store.observe_answer(&servers[1], Ok(master('b')), Instant::now());
    store.observe_description(&second).unwrap();
    assert!(ended(&servers[0], reopened), "deposed");
    assert!(ended(&servers[2], reopened), "removed");
}

#[test]
fn an_answer_that_comes_after_that_to_a_later_question_changes_nothing() {
    let store = store();
    let server = &store.servers()[0];
    let (early, late) = (Instant::now(), Instant::now() + Duration::from_millis(1));
    store.observe_answer(server, Ok(master('a')), late);
    store.observe_answer(server, Ok(replica('a')), early);
    store.observe_answer(server, Err(Silence::Unreachable), early);
    assert!(store.is_master(server) && !server.is_silent());
}

#[test]
fn those_that_fell_silent_with_a_node_that_answers_again_are_asked() {
    let store = store();
    let servers = store.servers();
    let is_requested = |index: usize| servers[index].wakeup.as_ref().unwrap().wait(Duration::ZERO) == Woken::Requested;
    for server in &servers[1..] {
        store.observe_answer(server, Err(Silence::Failed), Instant::now());
    }
    assert!(!is_requested(2));
    store.observe_answer(&servers[0], Ok(master('a')), Instant::now());
    assert!(!is_requested(2), "that one was never silent");
    store.observe_answer(&servers[1], Ok(replica('a')), Instant::now());
    assert!(is_requested(2) && !is_requested(0) && !is_requested(1));
}

#[test]
fn a_probe_ends_an_ejection_only_where_the_node_is_in_sync() {
    let store = store();
    let server = &store.servers()[1];
    server.record_failure(Outcome::Unreachable, None, Instant::now());
    let syncing = "role:slave\r\nmaster_link_status:down\r\nmaster_sync_in_progress:1\r\n";
    store.observe_probe(server, Ok(Report::of_info(syncing)), Instant::now());
    assert!(server.node.is_ejected(), "it answers and has no data yet");
    store.observe_probe(server, Ok(replica('a')), Instant::now());
    assert!(!server.node.is_ejected());
}

#[test]
fn a_failover_is_recent_for_30_s() {
    let store = store();
    assert!(!store.has_recent_failover(Instant::now()), "the first master follows no other");
    store.observe_answer(&store.servers()[1], Ok(master('b')), Instant::now());
    let (before, second) = (Instant::now(), Description::new().master("10.0.0.2:1").replica("10.0.0.1:1"));
    store.observe_description(&second).unwrap();
    let after = Instant::now();
    assert!(store.has_recent_failover(before + Duration::from_millis(29_999)));
    assert!(!store.has_recent_failover(after + Duration::from_secs(30)));
}

#[test]
fn a_shared_endpoint_is_no_second_name_of_a_node() {
    let store = store();
    let servers = store.servers();
    for server in &servers[1..] {
        let report = Report { run_id: Some("r".into()), ..replica('a') };
        store.observe_answer(server, Ok(report), Instant::now());
    }
    store.observe_shared_endpoint(&servers[2]);
    assert_eq!(store.current().servers().len(), 3);
}

#[test]
fn no_thread_sees_a_topology_again_that_another_thread_has_seen_replaced() {
    let store = store();
    let (first, newest) = (store.current().generation(), AtomicU64::new(0));
    let last = first + 500;
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < last {
                    let before = newest.load(Ordering::SeqCst);
                    seen = store.current().generation();
                    assert!(seen >= before, "{seen} after {before}");
                    newest.fetch_max(seen, Ordering::SeqCst);
                }
            });
        }
        (first + 1..=last).for_each(|generation| store.publish(&Topology::new(Vec::new(), generation, true)));
    });
}
