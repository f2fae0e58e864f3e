//! Calls while the set changes, and calls for connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::machine::Call;
use super::super::{Around, Unpacked};
use super::{DEADLINE, MASTER, Named, Scene, Step, error, observe, on_master, router, with_requests};
use crate::addr::NodeAddr;
use crate::call::{CallOptions, Router};
use crate::classification::{Block, Classifier, Request};
use crate::endpoint::{Endpoint, Manner};
use crate::error::ErrorKind;
use crate::monitor::Monitor;
use crate::replication::Role;
use crate::retry::{Fault, Reply, Stage};
use crate::selection::{Affinity, Likelihood, ReadFrom};
use crate::topology::fake::server_settings;
use crate::topology::{Assigned, Description, Topology, TopologyStore};

#[test]
fn a_call_with_an_older_topology_adds_nothing_to_the_retry_budget() {
    let router = router();
    with_requests(|read, _| {
        let mut old = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        let servers = router.store.servers();
        (0..100_000).for_each(|_| assert!(!servers[2].node.record_answer()));
        let count =
            |now| (0..).take_while(|_| router.budget.withdraw(|| router.store.current().answered(), now)).count();
        count(old.now);
        let without = Description::new().master(MASTER).replica("10.0.0.2:1");
        router.store.observe_description(&without).unwrap();
        let mut new = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        for scene in [&mut new, &mut old] {
            scene.replica();
            scene.fails(Stage::Connect);
            scene.next();
        }
        let granted = count(old.now);
        assert!(granted < 20, "{granted} retries out of nothing");
    });
}

#[test]
fn a_missing_script_is_asked_for_at_the_master_of_then() {
    let router = router();
    let script = redis::cmd("EVALSHA_RO").arg("abc").arg(1).arg("k").get_packed_command();
    let classifier = Classifier::new();
    let read = Request::command(&script, &classifier).unwrap();
    let mut scene = Scene::new(&router, &read, ReadFrom::ReplicaPreferred);
    let first = scene.replica();
    assert!(scene.record(Ok(error("NOSCRIPT No matching script."))).is_none());
    assert!(on_master(&scene.next()));
    scene.fails(Stage::Connect);
    // The end of the round would return the first answer of a settled set.
    let other = if first == "10.0.0.2:1" { "10.0.0.3:1" } else { "10.0.0.2:1" };
    let roles = if other == "10.0.0.2:1" { ["slave", "master", "slave"] } else { ["slave", "slave", "master"] };
    observe(&router, &roles);
    scene.call.resume(router.store.current());
    assert_eq!(scene.next(), Step::Attempt(other.to_owned(), Role::Master));
}

/// No replica can prove it.
struct OnlyTheMaster;

impl Around for OnlyTheMaster {
    type Evidence = ();

    fn likelihood(&self, _: &Topology, server: &Assigned, _: Instant) -> Likelihood {
        if server.assigned_role == Role::Replica { Likelihood::Impossible } else { Likelihood::Likely }
    }

    fn exchange(
        &self,
        _: &Request<'_>,
        _: &Assigned,
        _: Instant,
        _: crate::pool::Line<'_>,
    ) -> (Block, Result<Unpacked<()>, Fault>) {
        unreachable!("no attempt is made here")
    }

    fn verify(&self, _: &Request<'_>, _: &Assigned, unpacked: Unpacked<()>) -> Result<Reply, Fault> {
        Ok(unpacked.reply)
    }
}

#[test]
fn a_preferred_replica_that_cannot_prove_it_is_not_asked() {
    let router = router();
    let options = CallOptions { read_from: ReadFrom::ReplicaPreferred, deadline: DEADLINE };
    with_requests(|read, _| {
        let (there, now): (NodeAddr, _) = ("10.0.0.3:1".parse().unwrap(), Instant::now());
        let call = Call::new(&router, read, options, Affinity::First(&there), now, None);
        let mut scene = Scene { call, selected: None, now };
        assert!(on_master(&scene.next_around(&OnlyTheMaster)));
    });
}

#[test]
fn a_connection_to_the_master_of_a_set_without_one_fails_at_once() {
    let router = router();
    let first = Description::new().guess(Some(Role::Replica), Endpoint::from("10.0.0.2:1"));
    let store =
        Arc::new(TopologyStore::new(&first, Manner::default(), server_settings(), Duration::from_secs(1)).unwrap());
    let router = Router { monitor: Monitor::new(Arc::clone(&store), Arc::new(Named)), store, ..router };
    observe(&router, &["slave"]);
    assert!(router.store.current().is_settled() && router.store.current().master().is_none());
    let request = Request::for_connection(false);
    let Scene { call, now, .. } = Scene::new(&router, &request, ReadFrom::Master);
    let mut scene = Scene { call: call.connecting(), selected: None, now };
    assert_eq!(scene.next(), Step::Done(ErrorKind::Unavailable));
}

#[test]
fn a_dedicated_connection_to_a_replica_uses_no_retry_budget() {
    let router = router();
    let request = Request::for_connection(true);
    let Scene { call, now, .. } = Scene::new(&router, &request, ReadFrom::Replica);
    let mut scene = Scene { call: call.connecting(), selected: None, now };
    while router.budget.withdraw(|| 0, scene.now) {}
    let first = scene.replica();
    scene.fails(Stage::Connect);
    assert_ne!(scene.replica(), first);
}
