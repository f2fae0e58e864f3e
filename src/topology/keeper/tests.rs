use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Keeper;
use crate::endpoint::Manner;
use crate::node::{Outcome, Report, SyncState};
use crate::pool::Silence;
use crate::topology::fake::workshop;
use crate::topology::{Description, Fixed, Peer};

/// A set of three, the first of which is the master, by what they say; nobody asks them.
fn keeper() -> Keeper {
    let first = Description::new().master("10.0.0.1:1").replica("10.0.0.2:1").replica("10.0.0.3:1");
    let workshop = workshop();
    let provider = Arc::new(Fixed::new(Vec::new(), workshop.means.resolver.clone(), Duration::ZERO));
    let keeper = Keeper::new(provider, &first, Manner::default(), workshop, Duration::from_secs(1)).unwrap();
    let peers = keeper.peers();
    peers[0].heard(master("a"), Instant::now());
    peers[1..].iter().for_each(|peer| peer.heard(replica("a"), Instant::now()));
    keeper.reconcile();
    keeper
}

fn master(history: &str) -> Report {
    Report::of_info(&format!("role:master\r\nmaster_replid:{history}\r\n"))
}

fn replica(history: &str) -> Report {
    Report::of_info(&format!("role:slave\r\nmaster_replid:{history}\r\nmaster_link_status:up\r\n"))
}

/// Returns whether connections that were opened at this time are of an earlier generation.
fn ended(peer: &Peer, opened: Instant) -> bool {
    peer.pool.is_of_old(opened)
}

#[test]
fn an_ejection_ends_the_connections_of_the_node_once() {
    let keeper = keeper();
    let peer = &keeper.peers()[1];
    let opened = Instant::now();
    peer.record_failure(Outcome::Failed, opened);
    assert!(!ended(peer, opened), "one failure ejects nobody");
    peer.record_failure(Outcome::Unreachable, opened);
    assert!(ended(peer, opened));
    let reopened = Instant::now();
    assert!(!ended(peer, reopened));
    peer.record_failure(Outcome::Unreachable, reopened);
    assert!(!ended(peer, reopened), "it is ejected already");
    let other = &keeper.peers()[2];
    let opened = Instant::now();
    other.heard_nothing(Silence::Unreachable, Instant::now());
    assert!(ended(other, opened), "also by what the monitor finds");
}

#[test]
fn a_node_that_diverged_or_was_deposed_or_removed_keeps_no_connection() {
    let keeper = keeper();
    let peers = keeper.peers();
    let state = |index: usize| peers[index].node.sync_state();
    let opened = Instant::now();
    assert!(peers.iter().all(|peer| !ended(peer, opened)));
    // The replica follows somebody else, by the master's later word.
    peers[2].heard(replica("z"), Instant::now());
    peers[0].heard(master("a"), Instant::now());
    keeper.reconcile();
    assert!(state(2) == SyncState::Diverged && ended(&peers[2], opened));
    let reopened = Instant::now();
    peers[0].heard(master("a"), Instant::now());
    keeper.reconcile();
    assert!(!ended(&peers[2], reopened), "it is known");
    assert!(!ended(&peers[0], opened) && !ended(&peers[1], opened), "the others are as they were");
    // Another one is named as the master, and confirms it.
    let second = Description::new().master("10.0.0.2:1").replica("10.0.0.1:1");
    peers[1].heard(master("b"), Instant::now());
    keeper.adopt(&second).unwrap();
    assert!(ended(&peers[0], reopened), "deposed");
    assert!(ended(&peers[2], reopened), "removed");
}
