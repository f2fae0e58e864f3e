use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ABSENT_FOR, Described, Membership, Terms};
use crate::addr::NodeAddr;
use crate::endpoint::{Endpoint, Place};
use crate::node::{Outcome, SyncState};
use crate::pool::Silence;
use crate::replication::{Position, ReplicationId, Report, Role, Timeline};
use crate::selection::{Criteria, Likelihood, ReadFrom, ServerMask, decide};
use crate::topology::fake::server_settings;
use crate::topology::{Assigned, Topology};

const HISTORY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

fn place(text: &str) -> Place {
    Endpoint::from(text).place().unwrap()
}

/// The first is the master.
fn described(nodes: &[&str], absent: &[&str]) -> Described {
    let role = |index: usize| Some(if index == 0 { Role::Master } else { Role::Replica });
    let places = nodes.iter().enumerate().map(|(index, node)| (role(index), place(node))).collect();
    Described { places, absent: absent.iter().map(|node| place(node)).collect(), is_decided: true }
}

fn names(membership: &Membership) -> Vec<String> {
    membership.servers().map(|server| server.node.addr().to_string()).collect()
}

fn info(role: &str, offset: u64, more: &str) -> Report {
    Report::of_info(&format!(
        "role:{role}\r\nmaster_replid:{HISTORY}\r\nmaster_repl_offset:{offset}\r\nslave_repl_offset:{offset}\r\n{more}"
    ))
}

fn linked(to: &str, is_up: bool) -> String {
    let (host, port) = to.rsplit_once(':').unwrap();
    let status = if is_up { "up" } else { "down" };
    format!("master_host:{host}\r\nmaster_port:{port}\r\nmaster_link_status:{status}\r\n")
}

/// A position in the one history of these tests.
fn position(offset: u64) -> Position {
    let history = ReplicationId::parse(HISTORY).unwrap();
    Position { history, offset }
}

fn tell(membership: &Membership, addr: &str, report: Report, asked: Instant) {
    let addr: NodeAddr = addr.parse().unwrap();
    membership.servers().find(|server| *server.node.addr() == addr).unwrap().record_report(report, asked);
}

fn states(membership: &mut Membership, timeline: &Timeline, lag_limit: Option<Duration>) -> Vec<SyncState> {
    let terms = Terms { round: Duration::from_secs(1), is_monitored: true, timeline, lag_limit };
    let drawing = membership.draw(terms);
    drawing.sync_states.iter().map(|(_, state)| *state).collect()
}

#[test]
fn a_replica_that_no_authority_reaches_stays_as_long_as_it_is_reached_from_here() {
    let (mut membership, server_settings) = (Membership::default(), server_settings());
    let (master, replica) = ("10.0.0.1:1", "10.0.0.2:1");
    membership.adopt(described(&[master], &[replica]), &server_settings).unwrap();
    assert_eq!(names(&membership), [master], "nobody has reached it yet");
    membership.adopt(described(&[master, replica], &[]), &server_settings).unwrap();
    membership.adopt(described(&[master], &[replica]), &server_settings).unwrap();
    assert_eq!(names(&membership), [master, replica], "it may be silent for them alone");
    let server = Arc::clone(membership.servers().nth(1).unwrap());
    let long_ago = Instant::now().checked_sub(ABSENT_FOR).unwrap();
    server.record_silence(Silence::Unreachable, long_ago + Duration::from_secs(10));
    membership.adopt(described(&[master], &[replica]), &server_settings).unwrap();
    assert_eq!(names(&membership), [master, replica], "not for long enough");
    server.record_report(Report::default(), long_ago + Duration::from_secs(11));
    server.record_silence(Silence::Unreachable, long_ago + Duration::from_secs(12));
    membership.adopt(described(&[master], &[replica]), &server_settings).unwrap();
    assert_eq!(names(&membership), [master, replica], "it answered meanwhile");
    let (mut membership, again) = (Membership::default(), described(&[master, replica], &[]));
    membership.adopt(again, &server_settings).unwrap();
    membership.servers().nth(1).unwrap().record_silence(Silence::Unreachable, long_ago);
    let removed = membership.adopt(described(&[master], &[replica]), &server_settings).unwrap();
    assert_eq!((names(&membership), removed.len()), (vec![master.to_owned()], 1));
}

#[test]
fn a_described_login_or_weight_changes_the_node_and_another_database_makes_another_node() {
    let (mut membership, server_settings) = (Membership::default(), server_settings());
    let adopt = |membership: &mut Membership, url: &str, weight: u32| {
        let endpoint = Endpoint::from(url).weight(weight);
        let places = vec![(Some(Role::Master), endpoint.place().unwrap())];
        let described = Described { places, absent: vec![], is_decided: true };
        let removed = membership.adopt(described, &server_settings).unwrap().len();
        (removed, Arc::clone(membership.servers().next().unwrap()))
    };
    let (_, first) = adopt(&mut membership, "redis://me:old@10.0.0.1:1/0", 1);
    let (removed, second) = adopt(&mut membership, "redis://me:new@10.0.0.1:1/0", 4);
    assert!(removed == 0 && Arc::ptr_eq(&first, &second) && first.node.weight() == 4);
    first.node.set_weight(9);
    adopt(&mut membership, "redis://me:new@10.0.0.1:1/0", 4);
    assert_eq!(first.node.weight(), 9, "one set by hand stays until another one is described");
    let (removed, third) = adopt(&mut membership, "redis://me:new@10.0.0.1:1/2", 4);
    assert!(removed == 1 && !Arc::ptr_eq(&first, &third) && third.pool.database() == 2);
}

#[test]
fn states_follow_the_chain_and_the_offsets() {
    use SyncState::{InSync, Lagging, LinkDown};

    let (mut membership, server_settings) = (Membership::default(), server_settings());
    let (master, middle, leaf) = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1");
    membership.adopt(described(&[master, middle, leaf], &[]), &server_settings).unwrap();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let say = |membership: &Membership, at: u64, is_up: bool, offsets: [u64; 3]| {
        tell(membership, master, info("master", offsets[0], ""), after(at));
        tell(membership, middle, info("slave", offsets[1], &linked(master, is_up)), after(at));
        tell(membership, leaf, info("slave", offsets[2], &linked(middle, true)), after(at));
    };
    let timeline = Timeline::default();
    let limit = Some(Duration::from_secs(10));
    let record = |at: u64, offset: u64| timeline.record(after(at), after(at), position(offset));
    say(&membership, 0, true, [100, 100, 100]);
    record(0, 100);
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, InSync, InSync]);
    say(&membership, 1, false, [200, 100, 100]);
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, LinkDown, LinkDown], "the leaf says that it is up");
    say(&membership, 2, true, [200, 200, 100]);
    record(2, 200);
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, InSync, InSync], "it may still come");
    say(&membership, 11, true, [200, 200, 100]);
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, InSync, InSync]);
    say(&membership, 12, true, [200, 200, 100]);
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, InSync, Lagging]);
    assert_eq!(states(&mut membership, &timeline, None), [InSync, InSync, InSync], "it is off");
    say(&membership, 13, true, [200, 100, 200]);
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, Lagging, Lagging], "the leaf cannot have more");
    membership.servers().next().unwrap().record_silence(Silence::Unreachable, after(14));
    membership.servers().skip(1).for_each(|server| {
        let report = info("slave", 100, &linked(master, false));
        server.record_report(report, after(15));
    });
    assert_eq!(states(&mut membership, &timeline, limit), [InSync, InSync, InSync], "the master is dead");
}

#[test]
fn nodes_that_name_each_other_as_their_master_hang_nobody() {
    let (mut membership, server_settings) = (Membership::default(), server_settings());
    let (master, one, other) = ("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1");
    membership.adopt(described(&[master, one, other], &[]), &server_settings).unwrap();
    let now = Instant::now();
    tell(&membership, master, info("master", 1, ""), now);
    tell(&membership, one, info("slave", 1, &linked(other, true)), now);
    tell(&membership, other, info("slave", 1, &linked(one, true)), now);
    assert_eq!(states(&mut membership, &Timeline::default(), None), [SyncState::InSync; 3]);
}

#[test]
fn nodes_that_nobody_has_reached_come_after_those_of_their_rank() {
    let (mut membership, server_settings) = (Membership::default(), server_settings());
    let nodes = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "unresolved:1"];
    membership.adopt(described(&nodes, &[]), &server_settings).unwrap();
    let timeline = Timeline::default();
    let terms = Terms { round: Duration::from_secs(1), is_monitored: true, timeline: &timeline, lag_limit: None };
    let topology = Topology::new(membership.draw(terms).servers, 1, true);
    let candidates = |now: Instant| -> Vec<String> {
        let criteria = Criteria {
            is_read: true,
            read_from: ReadFrom::ReplicaPreferred,
            may_fall_back: true,
            presumes_master: false,
            excludes_for_good: false,
        };
        let likelihood = |_: &Assigned| Likelihood::Likely;
        let selection = decide(&topology.contenders(), criteria, ServerMask::default(), likelihood, now).unwrap();
        selection.candidates.iter().map(|node| node.addr().to_string()).collect()
    };
    let now = Instant::now();
    assert_eq!(candidates(now), nodes[1..3], "they have some time to answer; a name without addresses has none");
    let later = now + Duration::from_millis(150);
    assert_eq!(candidates(later), nodes[1..], "none of them was reached");
    membership.servers().nth(1).unwrap().record_greeting(None);
    assert_eq!(candidates(later), nodes[1..2]);
    membership.servers().nth(3).unwrap().record_answer(true);
    assert_eq!(candidates(later), [nodes[1], nodes[3]]);
    // Before the master all the same, which is another rank.
    let reached = membership.servers().skip(1).step_by(2);
    reached.for_each(|server| server.record_failure(Outcome::Unreachable, None, now));
    assert_eq!(candidates(later), nodes[2..3]);
}
