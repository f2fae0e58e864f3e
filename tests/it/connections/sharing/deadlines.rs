//! A caller leaves by its deadline, whatever becomes of the others on its connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{ReplicaSet, Server};
use redis_replicated::{ErrorKind, ReplicatedClient};

use super::{
    Crowd, LONG, Lateness, MANY, assert_none_failed, begin_to_share, clients, in_use, own, read_own, set_with_own_keys,
    shared,
};
use crate::support::{Sleepers, wait_until};

/// How late a call may be in a test: other tests use the same processors.
const SLACK: Duration = Duration::from_millis(100);

/// Callers of which every other one has little time, while the server stands still a few times.
fn stand_still(servers: &ReplicaSet, stand_still: impl Fn(&Server)) {
    let master = servers.master();
    let client = servers.client_builder().response_timeout(LONG).deadline(LONG).build().unwrap();
    let (left, written) = (AtomicUsize::new(0), (0..MANY).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
    let lateness = Lateness::start();
    let hasty = |caller: usize| {
        let deadline = Duration::from_millis(50 + 5 * caller as u64);
        let start = Instant::now();
        let result = read_own(&client.deadline(deadline), caller);
        if let Err(error) = result {
            let kinds = [ErrorKind::Interrupted, ErrorKind::Checkout, ErrorKind::Unavailable];
            assert!(kinds.contains(&error.kind()), "{error}");
            lateness.record(start, deadline);
            left.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    let patient = |caller: usize| {
        client.incr(format!("n:{caller}"))?;
        written[caller].fetch_add(1, Ordering::SeqCst);
        read_own(&client, caller)
    };
    let ((), failed, latest) = Crowd::run(
        MANY,
        |caller| if caller % 2 == 0 { hasty(caller) } else { patient(caller) },
        |crowd| {
            crowd.share(&client, &master.addr());
            for _ in 0..5 {
                let before = left.load(Ordering::SeqCst);
                stand_still(master);
                wait_until("callers have left", || left.load(Ordering::SeqCst) > before);
                crowd.flow();
            }
        },
    );
    println!("{} left; the others took {latest:?} at most", left.load(Ordering::SeqCst));
    assert_none_failed(&failed);
    lateness.assert_at_most(SLACK, 100);
    for (caller, written) in written.iter().enumerate().filter(|(caller, _)| caller % 2 == 1) {
        let counted: usize = client.get(format!("n:{caller}")).unwrap();
        assert_eq!(counted, written.load(Ordering::SeqCst), "writes of caller {caller}");
    }
    wait_until("the node serves", || !client.snapshot().nodes[0].ejected);
}

#[test]
fn callers_with_little_time_leave_a_stopped_server_and_the_others_get_their_replies() {
    let servers = set_with_own_keys(0, MANY);
    stand_still(&servers, |server| {
        server.pause().unwrap();
        thread::sleep(Duration::from_millis(350));
        server.resume().unwrap();
    });
}

#[test]
fn callers_with_little_time_leave_a_paused_server_and_the_others_get_their_replies() {
    let servers = set_with_own_keys(0, MANY);
    stand_still(&servers, |server| {
        let mut connection = server.connection().unwrap();
        redis::cmd("CLIENT").arg("PAUSE").arg(350).arg("ALL").exec(&mut connection).unwrap();
        thread::sleep(Duration::from_millis(350));
    });
}

#[test]
fn a_connection_without_replies_for_the_response_limit_takes_nothing_new_and_is_closed() {
    let servers = set_with_own_keys(0, MANY);
    let master = servers.master();
    let limit = Duration::from_millis(300);
    let client = servers.client_builder().response_timeout(limit).deadline(LONG).build().unwrap();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| read_own(&client, caller),
        |crowd| {
            crowd.share(&client, &master.addr());
            wait_until("few connections are in use", || in_use(master, &["get"]).len() == 1);
            let before = in_use(master, &["get"]);
            master.pause().unwrap();
            thread::sleep(Duration::from_millis(700));
            assert_eq!(shared(&client, &master.addr()), 0, "it takes nothing new");
            master.resume().unwrap();
            wait_until("it is closed", || clients(master).keys().all(|id| !before.contains(id)));
            wait_until("calls share another one", || shared(&client, &master.addr()) == 1);
            crowd.flow();
        },
    );
    assert_none_failed(&failed);
}

/// Two that have waited too long are no reason to eject the node, which would end all calls.
#[test]
fn each_caller_waits_its_own_response_limit() {
    let servers = set_with_own_keys(0, MANY);
    let master = servers.master();
    let limit = Duration::from_secs(1);
    let builder = servers.client_builder().response_timeout(limit).monitor_interval(Duration::ZERO);
    let client = builder.deadline(LONG).build().unwrap();
    let sleepers = Sleepers::start();
    let write = |caller, delay| {
        thread::sleep(delay);
        let start = Instant::now();
        (client.set(own(caller), own(caller)).err(), start.elapsed())
    };
    begin_to_share(&client, &master.addr());
    let (early, late): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        master.pause().unwrap();
        let write = &write;
        let begin = |caller, delay| scope.spawn(move || write(caller, delay));
        let early: Vec<_> = (0..2).map(|caller| begin(caller, Duration::ZERO)).collect();
        let late: Vec<_> = (2..MANY).map(|caller| begin(caller, limit / 2)).collect();
        wait_until("the first have gone", || early.iter().all(thread::ScopedJoinHandle::is_finished));
        assert_eq!(shared(&client, &master.addr()), 0, "it takes nothing new");
        master.resume().unwrap();
        let ends =
            |calls: Vec<thread::ScopedJoinHandle<'_, _>>| calls.into_iter().map(|call| call.join().unwrap()).collect();
        (ends(early), ends(late))
    });
    let asleep = sleepers.finish();
    for (error, took) in &early {
        let error = error.as_ref().unwrap();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{error}");
        assert!((limit..limit + SLACK + 4 * asleep).contains(took), "{took:?}, a sleeper {asleep:?}: {error}");
    }
    let in_doubt = late.iter().filter(|(error, _)| error.is_some()).count();
    println!("{in_doubt} of the later writes are in doubt; a thread that slept was {asleep:?} late");
    assert!(in_doubt == 0 || asleep > Duration::from_millis(100), "{in_doubt}: {late:?}");
}

/// The one that leaves may be the one that writes or reads for all.
#[test]
fn callers_that_leave_all_the_time_keep_no_reply_from_others() {
    let servers = set_with_own_keys(0, MANY);
    let client: ReplicatedClient = servers.client_builder().deadline(LONG).build().unwrap();
    let ((), failed, _) = Crowd::run(
        MANY,
        |caller| {
            if caller % 4 == 0 {
                return read_own(&client, caller);
            }
            let _ = read_own(&client.deadline(Duration::from_micros(1100 + 50 * caller as u64)), caller);
            Ok(())
        },
        |crowd| {
            crowd.share(&client, &servers.master().addr());
            (0..100).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
}
