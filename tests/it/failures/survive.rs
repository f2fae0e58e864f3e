//! One bad replica of three: no read fails, none goes to the master, and the replica comes back gently.

use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Server};
use redis_replicated::{Builder, ErrorKind, NodeSnapshot, ReplicatedClient, SyncState};

use crate::support::{Load, set_with_key, wait_until};

const THREADS: usize = 8;

/// A set with three replicas, the first of them behind a proxy.
struct Three {
    servers: ReplicaSet,
    proxy: FaultProxy,
    client: ReplicatedClient,
}

impl Three {
    fn start() -> Self {
        Self::of(set_with_key(3), |builder| builder)
    }

    fn of(servers: ReplicaSet, set_up: impl Fn(Builder) -> Builder) -> Self {
        let proxy = FaultProxy::start(&servers.replica(0).addr()).unwrap();
        let builder = ReplicatedClient::builder()
            .master(servers.master().url())
            .replica(proxy.url())
            .replicas(servers.replicas()[1..].iter().map(Server::url))
            .response_timeout(Duration::from_millis(500));
        let client = set_up(builder).build().unwrap();
        Self { servers, proxy, client }
    }

    /// The replica behind the proxy, as the client sees it.
    fn bad(&self) -> NodeSnapshot {
        self.client.snapshot().nodes.swap_remove(1)
    }

    fn wait_until_out(&self) {
        wait_until("it is out", || self.bad().ejected || self.bad().sync_state != SyncState::InSync);
    }

    fn wait_until_it_serves(&self) {
        let before = self.bad().answered;
        wait_until("it serves again", || !self.bad().ejected && self.bad().answered > before + 10);
    }
}

/// Breaks the first replica under load, and mends it; returns how many attempts on it failed.
fn survives(what: &str, break_it: impl Fn(&mut Three), mend: impl Fn(&mut Three)) -> u64 {
    let mut three = Three::start();
    let client = three.client.clone();
    let (failed, failures) = Load::run(&client, THREADS, |load| {
        let before = three.bad().failed;
        break_it(&mut three);
        three.wait_until_out();
        load.flow(3000);
        let failed = three.bad().failed - before;
        mend(&mut three);
        three.wait_until_it_serves();
        failed
    });
    assert!(failures.is_empty(), "{what}: {} reads failed: {}", failures.len(), failures[0]);
    let on_master = three.servers.master().calls("GET").unwrap();
    assert_eq!(on_master, 0, "{what}: reads reached the master\n{}", three.client.snapshot());
    println!("{what}: {failed} attempts failed");
    failed
}

fn survives_fault(fault: NetworkFault) -> u64 {
    let mend = |three: &mut Three| three.proxy.set(NetworkFault::None).unwrap();
    survives(&format!("{fault:?}"), |three| three.proxy.set(fault).unwrap(), mend)
}

/// Each thread may have been waiting for it when it fell silent; the first verdict may overtake three more.
const MOST_WAITS: u64 = THREADS as u64 + 3;

#[test]
fn no_read_fails_while_a_replica_is_killed_and_restarted() {
    let mend = |three: &mut Three| three.servers.replica_mut(0).restart().unwrap();
    survives("kill -9", |three| three.servers.replica_mut(0).stop(), mend);
}

#[test]
fn no_read_fails_while_a_replica_is_stopped() {
    let mend = |three: &mut Three| three.servers.replica(0).resume().unwrap();
    let failed = survives("SIGSTOP", |three| three.servers.replica(0).pause().unwrap(), mend);
    assert!(failed <= MOST_WAITS, "{failed}");
}

#[test]
fn no_read_fails_while_a_replica_is_black_holed() {
    let failed = survives_fault(NetworkFault::BlackHole);
    assert!(failed <= MOST_WAITS, "{failed}");
}

#[test]
fn no_read_fails_while_a_replica_refuses() {
    survives_fault(NetworkFault::Refuse);
}

#[test]
fn no_read_fails_while_a_replica_resets() {
    survives_fault(NetworkFault::Reset);
}

#[test]
fn no_read_fails_while_a_replica_closes_half_way() {
    survives_fault(NetworkFault::HalfClose);
}

#[test]
fn no_read_fails_while_replies_of_a_replica_are_cut_short() {
    [0, 3].into_iter().for_each(|bytes| _ = survives_fault(NetworkFault::Truncate(bytes)));
}

/// Half a hundred megabytes, which a replica takes half a second to load.
fn fill(servers: &ReplicaSet) {
    let script = "for i = 1, 500 do redis.call('SET', 'fill:' .. ARGV[1] .. ':' .. i, string.rep('x', 10000)) end";
    let mut master = servers.master().connection().unwrap();
    redis::cmd("SET").arg("k").arg("v").exec(&mut master).unwrap();
    (0..10).for_each(|n| redis::cmd("EVAL").arg(script).arg(0).arg(n).exec(&mut master).unwrap());
    for (name, value) in [("loading-process-events-interval-bytes", "1024"), ("key-load-delay", "100")] {
        let mut replica = servers.replica(0).connection().unwrap();
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut replica).unwrap();
    }
    servers.wait_until_in_sync().unwrap();
}

/// Forces a full resync under load; returns how many reads met LOADING.
fn survives_resync(monitor: Duration) -> u64 {
    let servers = ReplicaSet::setup().replicas(3).setting("rdbcompression", "no").start().unwrap();
    fill(&servers);
    let three = Three::of(servers, |builder| builder.monitor_interval(monitor));
    let replica = three.servers.replica(0);
    let (speed, failures) = Load::run(&three.client, THREADS, |load| {
        let (start, before) = (Instant::now(), load.reads());
        replica.force_full_resync().unwrap();
        wait_until("it loads", || replica.info("persistence", "loading").unwrap().as_deref() == Some("1"));
        three.wait_until_out();
        load.flow(1000);
        wait_until("it is in sync", || {
            replica.info("replication", "master_link_status").unwrap().as_deref() == Some("up")
        });
        let speed = (load.reads() - before) as f64 / start.elapsed().as_secs_f64();
        three.wait_until_it_serves();
        speed
    });
    let refused = replica.errors("LOADING").unwrap();
    println!("resync, monitored every {monitor:?}: {speed:.0} reads/s, {refused} met LOADING");
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
    assert_eq!(three.servers.master().calls("GET").unwrap(), 0);
    refused
}

#[test]
fn no_read_fails_while_a_replica_takes_over_all_data_and_loads_it() {
    survives_resync(Duration::from_secs(1));
}

#[test]
fn no_read_fails_while_a_replica_loads_and_nobody_but_the_calls_finds_out() {
    let refused = survives_resync(Duration::ZERO);
    // Then a probe from time to time.
    assert!((1..=THREADS as u64 + 10).contains(&refused), "{refused}");
}

#[test]
fn errors_of_the_application_speak_against_nobody() {
    // A busy machine must not look like a bad node.
    let three = Three::of(set_with_key(3), |builder| builder.response_timeout(Duration::from_secs(20)));
    for _ in 0..1000 {
        let error = three.client.hget::<Option<String>>("k", "field").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        assert_eq!(error.as_redis().unwrap().code(), Some("WRONGTYPE"));
    }
    let snapshot = three.client.snapshot();
    assert!(snapshot.nodes.iter().all(|node| !node.ejected && node.failed == 0 && node.share == 1.0), "{snapshot}");
    assert_eq!(three.servers.master().calls("HGET").unwrap(), 0);
}

#[test]
fn a_replica_that_returns_gets_its_load_back_gradually() {
    let mut three = Three::start();
    let client = three.client.clone();
    let (_, failures) = Load::run(&client, THREADS, |load| {
        three.servers.replica_mut(0).stop();
        three.wait_until_out();
        three.servers.replica_mut(0).restart().unwrap();
        wait_until("it is back", || !three.bad().ejected);
        let (before, reads) = (three.bad(), load.reads());
        load.flow(3000);
        let after = three.bad();
        let (gained, reads) = ((after.answered - before.answered) as f64, (load.reads() - reads) as f64);
        println!("share {:.2} to {:.2}: {gained} of {reads} reads", before.share, after.share);
        assert!(before.share < 1.0, "it begins with {}", before.share);
        // The two others have a share of 1. Shares grow with the time: the last one is the largest.
        let most = reads * after.share / (2.0 + after.share);
        assert!(gained <= 1.5 * most + 100.0, "{gained} of {reads} reads, with a share of {} at last", after.share);
        three.wait_until_it_serves();
    });
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
}

#[test]
fn no_call_is_the_probe_of_an_ejected_replica() {
    let three = Three::start();
    let (_, failures) = Load::run(&three.client, THREADS, |load| {
        three.proxy.set(NetworkFault::Refuse).unwrap();
        wait_until("it is ejected", || three.bad().ejected);
        load.finish_calls();
        let failed = three.bad().failed;
        // Two cool-downs, 0.5 s and 1 s: each ends with a probe.
        thread::sleep(Duration::from_secs(2));
        load.flow(2000);
        assert_eq!(three.bad().failed, failed, "a call was sent to find out whether it is back");
        three.proxy.set(NetworkFault::None).unwrap();
        three.wait_until_it_serves();
    });
    assert!(failures.is_empty(), "{} reads failed: {}", failures.len(), failures[0]);
}
