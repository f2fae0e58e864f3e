//! One call, driven without I/O: the tests play the servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value, parse_redis_value};

use super::around::{Around, Plain};
use super::machine::{Call, Next, Stop, Wait};
use super::router::{CallOptions, Router};
use crate::addr::NodeAddr;
use crate::classification::{Classifier, Request};
use crate::endpoint::{Endpoint, Manner};
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Monitor;
use crate::observe::Observers;
use crate::replication::{Report, Role};
use crate::retry::{Budget, Fault, Reply, Stage};
use crate::selection::{Affinity, Likelihood, Permits, ReadFrom, Selector};
use crate::strategy::RoundRobin;
use crate::topology::fake::server_settings;
use crate::topology::{Assigned, Description, Topology, TopologyProvider, TopologyStore};

mod changes;

const DEADLINE: Duration = Duration::from_secs(3);
const MASTER: &str = "10.0.0.1:1";

/// A provider that always describes the same nodes.
#[derive(Debug)]
struct Named;

impl TopologyProvider for Named {
    fn describe(&self, _: Instant) -> Result<Description> {
        let guess = |all: Description, (role, node): (Role, &str)| all.guess(Some(role), Endpoint::from(node));
        let nodes = [(Role::Master, MASTER), (Role::Replica, "10.0.0.2:1"), (Role::Replica, "10.0.0.3:1")];
        Ok(nodes.into_iter().fold(Description::new(), guess))
    }
}

/// A master and two replicas, all of which have answered the monitor.
fn router() -> Router {
    let first = Named.describe(Instant::now()).unwrap();
    let interval = Duration::from_secs(1);
    let store = Arc::new(TopologyStore::new(&first, Manner::default(), server_settings(), interval).unwrap());
    let router = Router {
        monitor: Monitor::new(Arc::clone(&store), Arc::new(Named)),
        store,
        classifier: Classifier::new(),
        selector: Selector {
            strategy: Box::new(RoundRobin::seeded(0)),
            permits: Permits::new(Some(1), Duration::from_millis(250)),
        },
        budget: Budget::new(Instant::now()),
        observers: Observers::default(),
    };
    observe(&router, &["master", "slave", "slave"]);
    router
}

/// Records these roles, as the monitor would.
fn observe(router: &Router, roles: &[&str]) {
    for (server, role) in router.store.servers().iter().zip(roles) {
        let id = "0101010101010101010101010101010101010101";
        let info = format!("role:{role}\r\nmaster_replid:{id}\r\nmaster_link_status:up\r\n");
        router.store.observe_answer(server, Ok(Report::of_info(&info)), Instant::now());
    }
}

/// What a call does next, in a form that tests can compare.
#[derive(Debug, PartialEq)]
enum Step {
    Attempt(String, Role),
    Wait(&'static str),
    Done(ErrorKind),
}

/// A call and the attempt that it is about to make.
struct Scene<'c> {
    call: Call<'c>,
    selected: Option<crate::selection::Selected<'c>>,
    now: Instant,
}

impl<'c> Scene<'c> {
    fn new(router: &'c Router, request: &'c Request<'c>, read_from: ReadFrom) -> Self {
        let (now, options) = (Instant::now(), CallOptions { read_from, deadline: DEADLINE });
        Self { call: Call::new(router, request, options, Affinity::Any, now, None), selected: None, now }
    }

    fn next(&mut self) -> Step {
        self.next_around(&Plain)
    }

    fn next_around(&mut self, around: &impl Around) -> Step {
        match self.call.next(around, self.now) {
            Next::Attempt(selected) => {
                let server = self.call.server(&selected);
                let step = Step::Attempt(server.node.addr().to_string(), server.assigned_role);
                self.selected = Some(selected);
                step
            }
            Next::Wait(Wait::Topology(_)) => Step::Wait("topology"),
            Next::Wait(Wait::Permit(_)) => Step::Wait("permit"),
            Next::Wait(Wait::Pause(_)) => Step::Wait("pause"),
            Next::Done(error) => Step::Done(error.kind()),
        }
    }

    fn record(&mut self, attempt: Result<Reply, Fault>) -> Option<Result<Reply, Stop>> {
        let now = self.now;
        self.call.record(self.selected.take().unwrap(), attempt, || now)
    }

    fn fails(&mut self, stage: Stage) {
        assert!(self.record(Err(Fault::new(stage, None))).is_none(), "{stage:?} ends the call");
    }

    /// Returns the replica to which the next attempt goes.
    fn replica(&mut self) -> String {
        match self.next() {
            Step::Attempt(addr, Role::Replica) => addr,
            other => panic!("{other:?}"),
        }
    }
}

fn error(line: &str) -> Reply {
    Reply::One(parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap())
}

fn on_master(step: &Step) -> bool {
    *step == Step::Attempt(MASTER.to_owned(), Role::Master)
}

/// Runs `test` with a read and with a write.
fn with_requests(test: impl FnOnce(&Request<'_>, &Request<'_>)) {
    let (get, set) = (Cmd::get("k").get_packed_command(), Cmd::set("k", "v").get_packed_command());
    let classifier = Classifier::new();
    test(&Request::command(&get, &classifier).unwrap(), &Request::command(&set, &classifier).unwrap());
}

#[test]
fn an_answer_ends_the_call() {
    let router = router();
    with_requests(|read, write| {
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        scene.replica();
        assert!(matches!(scene.record(Ok(Reply::One(Value::Nil))), Some(Ok(Reply::One(Value::Nil)))));
        let mut scene = Scene::new(&router, write, ReadFrom::ReplicaPreferred);
        assert!(on_master(&scene.next()));
        assert!(matches!(scene.record(Ok(Reply::One(Value::Okay))), Some(Ok(Reply::One(Value::Okay)))));
    });
}

#[test]
fn a_read_goes_from_a_dead_replica_to_the_other_one_and_then_to_the_master() {
    let router = router();
    with_requests(|read, _| {
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        let first = scene.replica();
        scene.fails(Stage::Connect);
        assert_ne!(scene.replica(), first);
        scene.fails(Stage::Sent);
        assert!(on_master(&scene.next()));
        assert!(scene.record(Ok(Reply::One(Value::Nil))).is_some_and(|end| end.is_ok()));
    });
    let topology = router.store.current();
    let ejected = |at: usize| topology.servers()[at].node.is_ejected();
    assert!(ejected(1) != ejected(2), "one could not be reached; one loss ejects no node");
}

#[test]
fn after_all_servers_failed_the_call_waits_and_starts_over_until_its_deadline() {
    let router = router();
    with_requests(|read, _| {
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        for _ in 0..3 {
            assert!(matches!(scene.next(), Step::Attempt(..)));
            scene.fails(Stage::Connect);
        }
        assert_eq!(scene.next(), Step::Wait("topology"));
        scene.call.resume(router.store.current());
        assert!(matches!(scene.next(), Step::Attempt(..)), "nodes whose connections were killed are alive");
        scene.fails(Stage::Connect);
        scene.now += DEADLINE;
        assert_eq!(scene.next(), Step::Done(ErrorKind::Checkout), "it says what the last attempt came to");
    });
}

#[test]
fn a_refused_write_waits_for_the_next_master() {
    let router = router();
    with_requests(|_, write| {
        let mut scene = Scene::new(&router, write, ReadFrom::ReplicaPreferred);
        assert!(on_master(&scene.next()));
        let demoted = scene.record(Ok(error("READONLY You can't write against a read only replica.")));
        assert!(demoted.is_none());
        assert_eq!(scene.next(), Step::Wait("topology"));
        observe(&router, &["slave", "master", "slave"]);
        assert_eq!(scene.next(), Step::Wait("topology"), "the picture stays as long as the call has not waited");
        scene.call.resume(router.store.current());
        assert_eq!(scene.next(), Step::Attempt("10.0.0.2:1".to_owned(), Role::Master));
    });
}

#[test]
fn a_write_without_a_reply_is_never_sent_again() {
    let router = router();
    with_requests(|_, write| {
        let mut scene = Scene::new(&router, write, ReadFrom::ReplicaPreferred);
        assert!(on_master(&scene.next()));
        let end = scene.record(Err(Fault::new(Stage::Sent, None)));
        let Some(Err(Stop::Error(error))) = end else { panic!("{end:?}") };
        assert!(error.kind() == ErrorKind::Interrupted && error.may_have_executed());
    });
}

#[test]
fn an_attempt_uses_the_topology_of_the_last_wait() {
    let router = router();
    with_requests(|read, _| {
        let mut scene = Scene::new(&router, read, ReadFrom::Master);
        assert!(on_master(&scene.next()));
        observe(&router, &["slave", "master", "slave"]);
        scene.fails(Stage::Connect);
        assert_eq!(scene.next(), Step::Wait("topology"), "not the new master yet");
        scene.call.resume(router.store.current());
        assert_eq!(scene.next(), Step::Attempt("10.0.0.2:1".to_owned(), Role::Master));
    });
}

#[test]
fn the_deadline_ends_a_call_in_every_state() {
    let router = router();
    with_requests(|read, write| {
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        scene.now += DEADLINE;
        assert_eq!(scene.next(), Step::Done(ErrorKind::Checkout), "before the first attempt");

        let mut scene = Scene::new(&router, read, ReadFrom::Replica);
        scene.replica();
        scene.fails(Stage::Sent);
        scene.now += DEADLINE;
        assert_eq!(scene.next(), Step::Done(ErrorKind::Interrupted), "between two attempts");

        let mut scene = Scene::new(&router, write, ReadFrom::ReplicaPreferred);
        assert!(on_master(&scene.next()));
        assert!(scene.record(Ok(error("LOADING x"))).is_none());
        assert_eq!(scene.next(), Step::Wait("topology"));
        scene.call.resume(router.store.current());
        scene.now += DEADLINE;
        assert_eq!(scene.next(), Step::Done(ErrorKind::Server), "after a wait for a master");

        let mut scene = Scene::new(&router, write, ReadFrom::ReplicaPreferred);
        assert!(on_master(&scene.next()));
        assert!(scene.record(Ok(error("BUSY x"))).is_none());
        assert_eq!(scene.next(), Step::Wait("topology"));
        scene.call.resume(router.store.current());
        scene.now += DEADLINE - Duration::from_millis(50);
        assert_eq!(scene.next(), Step::Done(ErrorKind::Server), "too late for another attempt of a write");
    });
}

#[test]
fn without_a_permit_a_fallback_read_waits_for_one() {
    let router = router();
    with_requests(|read, _| {
        let _taken = router.selector.permits.take(Instant::now()).unwrap();
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        for _ in 0..2 {
            scene.replica();
            scene.fails(Stage::Connect);
        }
        assert_eq!(scene.next(), Step::Wait("permit"));
        scene.call.resume(router.store.current());
        scene.now += Duration::from_millis(250);
        assert_eq!(scene.next(), Step::Done(ErrorKind::Unavailable));
    });
}

#[test]
fn without_retry_budget_a_read_pauses() {
    let router = router();
    with_requests(|read, _| {
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        while router.budget.withdraw(|| 0, scene.now) {}
        scene.replica();
        scene.fails(Stage::Connect);
        assert_eq!(scene.next(), Step::Wait("pause"));
        scene.now += Duration::from_millis(200);
        scene.replica();
    });
}

/// Requires what this replica does not contain yet.
struct NotYetOn(&'static str);

impl Around for NotYetOn {
    type Evidence = ();

    fn likelihood(&self, _: &Topology, server: &Assigned, _: Instant) -> Likelihood {
        if server.node.addr().to_string() == self.0 { Likelihood::Unlikely } else { Likelihood::Likely }
    }

    fn exchange(
        &self,
        _: &Request<'_>,
        _: &Assigned,
        _: Instant,
        _: crate::pool::Line<'_>,
    ) -> (crate::classification::Block, Result<super::Unpacked<()>, Fault>) {
        unreachable!("no attempt is made here")
    }

    fn verify(&self, _: &Request<'_>, _: &Assigned, unpacked: super::Unpacked<()>) -> Result<Reply, Fault> {
        Ok(unpacked.reply)
    }
}

#[test]
fn a_read_passes_over_replicas_that_are_behind_and_no_retry_is_counted() {
    let router = router();
    let behind = || Fault::answered(Stage::Behind, Error::new(ErrorKind::Unavailable, "behind"));
    with_requests(|read, _| {
        let around = NotYetOn("10.0.0.2:1");
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        let other = Step::Attempt("10.0.0.3:1".to_owned(), Role::Replica);
        assert_eq!(scene.next_around(&around), other, "it is asked after the others");
        assert!(scene.record(Err(behind())).is_none());
        assert!(matches!(scene.next_around(&around), Step::Attempt(_, Role::Replica)), "one more replica");
        assert!(scene.record(Err(behind())).is_none());
        assert!(on_master(&scene.next_around(&around)), "the master is asked last");
        assert!(scene.record(Ok(Reply::One(Value::Nil))).is_some_and(|end| end.is_ok()));
    });
    assert!(router.store.current().servers().iter().all(|server| !server.node.is_ejected()));
}

#[test]
fn a_read_that_a_replica_refuses_as_a_write_ends_the_call() {
    let router = router();
    with_requests(|read, _| {
        let mut scene = Scene::new(&router, read, ReadFrom::ReplicaPreferred);
        scene.replica();
        let end = scene.record(Ok(error("READONLY You can't write against a read only replica.")));
        assert!(matches!(end, Some(Err(Stop::IsWrite { position: 0, .. }))), "{end:?}");
    });
}

#[test]
fn a_read_refused_for_lack_of_rights_goes_to_one_other_replica() {
    let router = router();
    let refused = || error("NOPERM this user has no permissions to run the 'get' command");
    with_requests(|read, _| {
        let mut scene = Scene::new(&router, read, ReadFrom::Replica);
        let first = scene.replica();
        assert!(scene.record(Ok(refused())).is_none());
        assert_ne!(scene.replica(), first);
        assert!(matches!(scene.record(Ok(refused())), Some(Ok(Reply::One(Value::ServerError(_))))));
    });
}

#[test]
fn a_call_bound_to_one_server_tries_no_other() {
    let router = router();
    let options = CallOptions { read_from: ReadFrom::ReplicaPreferred, deadline: DEADLINE };
    with_requests(|read, _| {
        let (there, gone): (NodeAddr, NodeAddr) = ("10.0.0.3:1".parse().unwrap(), "10.0.0.9:1".parse().unwrap());
        let now = Instant::now();
        let call = Call::new(&router, read, options, Affinity::Only(&there), now, None);
        let mut scene = Scene { call, selected: None, now };
        assert_eq!(scene.replica(), "10.0.0.3:1");
        scene.fails(Stage::Connect);
        assert_eq!(scene.next(), Step::Wait("topology"));
        let call = Call::new(&router, read, options, Affinity::Only(&gone), now, None);
        let mut scene = Scene { call, selected: None, now };
        assert_eq!(scene.next(), Step::Done(ErrorKind::Unavailable));
    });
}
