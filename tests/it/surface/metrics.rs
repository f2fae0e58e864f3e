//! What `MetricsObserver` counts, against what real servers count themselves.

mod names;
mod recorder;

use std::thread;
use std::time::Duration;

use redis_replicated::observe::{Interest, MetricsGroups, MetricsObserver, Observer};
use redis_replicated::testing::ReplicaSet;
use redis_replicated::{ErrorKind, NodeAddr, ReplicatedClient};

use self::recorder::{Seen, observed};
use crate::support::{Load, addrs, calls_on_replicas, follow, promote, set_with_key, wait_until, wait_until_set_is};

const DURATION: &str = "db.client.operation.duration";
const ERRORS: &str = "redis.client.errors";
const CONNECTIONS: &str = "db.client.connection.count";
const WAIT_TIME: &str = "db.client.connection.wait_time";
const TIMEOUTS: &str = "db.client.connection.timeouts";
const CLOSED: &str = "redis.client.connection.closed";
const READS: &str = "redis.client.routing.reads";
const FALLBACKS: &str = "redis.client.routing.fallback_reads";
const RETRIES: &str = "redis.client.routing.retries";
const EJECTIONS: &str = "redis.client.routing.ejections";
const EJECTION_DURATION: &str = "redis.client.routing.ejection.duration";
const PROBES: &str = "redis.client.routing.probes";
const AVAILABLE: &str = "redis.client.routing.available";
const FAILOVERS: &str = "redis.client.routing.failovers";
const FAILOVER_DURATION: &str = "redis.client.routing.failover.duration";
const STALENESS: &str = "redis.client.routing.staleness";
const LAG: &str = "redis.client.routing.replication.lag";

/// A client whose monitor looks ten times a second.
fn client(servers: &ReplicaSet, observer: MetricsObserver) -> ReplicatedClient {
    let builder = servers.client_builder().observer(observer).monitor_interval(Duration::from_millis(100));
    let client = builder.deadline(Duration::from_secs(10)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    client
}

/// The attributes of a node.
fn at(node: &NodeAddr) -> [(&'static str, &'static str); 2] {
    let port = node.port().unwrap().to_string().leak();
    [("server.address", "127.0.0.1"), ("server.port", port)]
}

fn with(node: &NodeAddr, label: &'static str, value: &'static str) -> [(&'static str, &'static str); 3] {
    let [host, port] = at(node);
    [host, port, (label, value)]
}

fn available(seen: Seen, node: &NodeAddr, role: &'static str) -> Option<f64> {
    seen.gauge(AVAILABLE, &with(node, "redis.client.routing.role", role))
}

#[test]
fn each_call_is_in_the_histogram_and_the_sums_are_those_of_the_servers() {
    let servers = set_with_key(2);
    let (observer, seen) = observed("sums");
    let client = client(&servers, observer);
    servers.servers().iter().for_each(|server| server.reset_counts().unwrap());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(client.get::<String>("k").unwrap(), "v")));
        }
    });
    (0..50).for_each(|number| client.set("other", number).unwrap());
    let wrong = client.query::<()>(redis::cmd("LPUSH").arg("k").arg(1)).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Server);
    let mut pipe = redis::pipe();
    pipe.get("k").get("k");
    client.query_pipeline::<Vec<String>>(&pipe).unwrap();
    let of = |operation| [("db.operation.name", operation), ("redis.client.operation.retry_attempts", "0")];
    assert_eq!(seen.count(DURATION, &of("GET")), 600);
    assert_eq!(seen.count(DURATION, &of("PIPELINE")), 1);
    assert_eq!(seen.count(DURATION, &[("db.namespace", "0")]), 600 + 50 + 1 + 1);
    assert_eq!(seen.count(WAIT_TIME, &[]), 600 + 50 + 1 + 1);
    // Two more are in the pipeline.
    assert_eq!(servers.master().calls("GET").unwrap() + calls_on_replicas(&servers, "GET"), 600 + 2);
    assert_eq!(seen.count(READS, &[]), 600 + 1);
    for replica in servers.replicas() {
        let reads = seen.count(DURATION, &with(&replica.addr(), "db.operation.name", "GET"));
        let in_pipelines = 2 * seen.count(DURATION, &with(&replica.addr(), "db.operation.name", "PIPELINE"));
        assert_eq!(reads + in_pipelines, replica.calls("GET").unwrap());
        assert!(reads > 0, "{}", replica.addr());
    }
    assert_eq!(seen.count(READS, &[("redis.client.routing.role", "replica")]), 600 + 1);
    assert_eq!(seen.count(DURATION, &of("SET")), servers.master().calls("SET").unwrap());
    let failed = with(&servers.master().addr(), "db.response.status_code", "WRONGTYPE");
    assert_eq!(
        (seen.count(DURATION, &failed), seen.count(ERRORS, &failed)),
        (1, servers.master().errors("WRONGTYPE").unwrap())
    );
    assert_eq!(
        seen.count(ERRORS, &[("redis.client.errors.internal", "false"), ("redis.client.errors.category", "server")]),
        1
    );
    assert_eq!(seen.count(ERRORS, &[]), 1);
    assert!(seen.values(DURATION, &[]).iter().all(|seconds| (1e-6..10.0).contains(seconds)));
    names::check_series(seen);
    names::check_descriptions();
}

#[test]
fn invented_commands_and_codes_make_no_series() {
    let servers = set_with_key(2);
    let (observer, seen) = observed("invented");
    let client = client(&servers, observer);
    for number in 0..500 {
        let name = format!("INVENTED{number}");
        let error = client.query::<()>(redis::cmd(&name).arg("secret")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        let script = format!("return redis.error_reply('CODE{number} said a script')");
        client.query::<()>(redis::cmd("EVAL").arg(script).arg(0)).unwrap_err();
        client.get::<String>("k").unwrap();
        client.set("k", "v").unwrap();
    }
    wait_until("gauges were set", || available(seen, &servers.master().addr(), "master") == Some(1.0));
    wait_until("lags were read", || servers.replicas().iter().all(|node| seen.gauge(LAG, &at(&node.addr())).is_some()));
    let all = seen.all();
    assert!(all.len() <= 40, "{} series: {all:#?}", all.len());
    let texts = format!("{all:?}");
    assert!(!texts.contains("INVENTED") && !texts.contains("CODE1") && !texts.contains("secret"), "{texts}");
    assert_eq!(seen.count(DURATION, &[("db.operation.name", "OTHER"), ("db.response.status_code", "ERR")]), 500);
    assert_eq!(seen.count(ERRORS, &[("error.type", "OTHER"), ("db.response.status_code", "OTHER")]), 500);
    names::check_series(seen);
}

#[test]
fn a_killed_replica_is_counted_with_its_reasons_until_it_is_back() {
    let mut servers = set_with_key(2);
    let (observer, seen) = observed("killed");
    let client = client(&servers, observer);
    let (replica, pool) = (servers.replica(0).addr(), servers.replica(0).addr().to_string());
    wait_until("it is available", || available(seen, &replica, "replica") == Some(1.0));
    let ((), failures) = Load::run(&client, 4, |load| {
        servers.replica_mut(0).stop();
        wait_until("it is ejected", || available(seen, &replica, "replica") == Some(0.0));
        load.flow(500);
        wait_until("a probe fails", || seen.count(PROBES, &with(&replica, "redis.client.routing.result", "fails")) > 0);
        servers.replica_mut(0).restart().unwrap();
        wait_until("it is back", || available(seen, &replica, "replica") == Some(1.0));
        load.flow(500);
    });
    assert_eq!(failures, Vec::<String>::new());
    let ejections = seen.count(EJECTIONS, &with(&replica, "error.type", "unreachable"));
    assert_eq!((ejections, seen.count(EJECTIONS, &[])), (1, 1));
    assert_eq!(seen.count(PROBES, &with(&replica, "redis.client.routing.result", "serves")), 1);
    let out = seen.values(EJECTION_DURATION, &at(&replica));
    assert_eq!(out.len(), 1);
    assert!(out[0] > 0.0 && out[0] < 20.0, "{out:?}");
    // A retry handled each failed attempt, and no caller got an error.
    let handled = seen.count(ERRORS, &with(&replica, "redis.client.errors.internal", "true"));
    assert!(handled > 0);
    assert_eq!((handled, handled), (seen.count(ERRORS, &[]), seen.count(RETRIES, &[])));
    assert_eq!(seen.count(ERRORS, &[("redis.client.errors.category", "network")]), handled);
    let closed = |reason| {
        let reason = ("redis.client.connection.close.reason", reason);
        seen.count(CLOSED, &[("db.client.connection.pool.name", &pool), reason])
    };
    assert!(
        closed("server_close") + closed("error") + closed("healthcheck_failed") > 0,
        "{:?}",
        seen.find(CLOSED, &[])
    );
    assert_eq!(closed("application_close") + closed("pool_eviction_idle"), 0, "{:?}", seen.find(CLOSED, &[]));
    // A call that waits counts once; a retry counts only at its call.
    assert_eq!(seen.count(DURATION, &[]), seen.count(READS, &[]));
    names::check_series(seen);
}

#[test]
fn a_failover_is_counted_once_and_roles_that_are_no_more_are_set_to_zero() {
    let mut servers = set_with_key(2);
    let (observer, seen) = observed("failover");
    let client = client(&servers, observer);
    let (old, new) = (servers.master().addr(), servers.replica(0).addr());
    wait_until("the roles are shown", || {
        available(seen, &old, "master") == Some(1.0) && available(seen, &new, "replica") == Some(1.0)
    });
    wait_until("the lag is shown", || seen.gauge(LAG, &at(&new)).is_some());
    assert_eq!((seen.count(FAILOVERS, &[]), seen.count(FAILOVER_DURATION, &[])), (0, 0));
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    // The first one may be in doubt.
    wait_until("a write is answered", || client.set("k", "v").is_ok());
    wait_until_set_is(&client, &new, &[old.clone(), servers.replica(1).addr()]);
    wait_until("the duration is known", || seen.count(FAILOVER_DURATION, &[]) == 1);
    assert_eq!(seen.count(FAILOVERS, &[]), 1);
    let took = seen.values(FAILOVER_DURATION, &[]);
    assert!(took[0] > 0.0 && took[0] < 20.0, "{took:?}");
    wait_until("the roles are shown", || {
        let master = (available(seen, &old, "master"), available(seen, &new, "master"));
        let replica = (available(seen, &old, "replica"), available(seen, &new, "replica"));
        (master, replica) == ((Some(0.0), Some(1.0)), (Some(0.0), Some(0.0)))
    });
    assert_eq!(seen.gauge(LAG, &at(&new)), Some(0.0));
    client.remove_replica(&old).unwrap();
    let idle = [("db.client.connection.pool.name", &*old.to_string().leak()), ("db.client.connection.state", "idle")];
    wait_until("its gauges are zero", || seen.gauge(CONNECTIONS, &idle) == Some(0.0));
    names::check_series(seen);
}

#[test]
fn a_client_that_meets_every_trouble_has_every_metric() {
    let mut servers = set_with_key(2);
    let (observer, seen) = observed("all");
    let builder = servers.client_builder().observer(observer).monitor_interval(Duration::from_millis(100));
    let builder = builder.pool_size(1).shared_connections(0).response_timeout(Duration::from_secs(30));
    let client = builder.deadline(Duration::from_secs(5)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let session = client.session();
    session.set("k", "v").unwrap();
    assert_eq!(session.get::<String>("k").unwrap(), "v");
    servers.wait_until_in_sync().unwrap();
    // At first the master serves: what replicas had when is not known yet.
    let bounded = client.max_staleness(Duration::from_secs(60));
    wait_until("a bound is proven", || bounded.get::<String>("k").is_ok() && seen.count(STALENESS, &[]) > 0);
    // One write waits for the server, and others for the only connection.
    servers.master().pause_writes(Duration::from_secs(20)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| client.deadline(Duration::from_secs(30)).set("a", 1));
        let impatient = client.deadline(Duration::from_millis(50));
        wait_until("a wait is too long", || impatient.set("b", 1).is_err() && seen.count(TIMEOUTS, &[]) > 0);
        servers.master().unpause().unwrap();
    });
    let replicas = addrs(servers.replicas());
    (0..2).for_each(|replica| servers.replica_mut(replica).stop());
    wait_until("the master serves", || client.get::<String>("k").is_ok() && seen.count(FALLBACKS, &[]) > 0);
    assert_eq!(seen.count(FALLBACKS, &[("redis.client.routing.result", "refused")]), 0);
    (0..2).for_each(|replica| servers.replica_mut(replica).restart().unwrap());
    let is_back = |node: &NodeAddr| available(seen, node, "replica") == Some(1.0);
    wait_until("the replicas are back", || replicas.iter().all(is_back));
    servers.master_mut().stop();
    promote(servers.replica(0));
    // The first one may be in doubt.
    wait_until("a write is answered", || client.set("k", "v").is_ok());
    wait_until("the failover is over", || seen.count(FAILOVER_DURATION, &[]) == 1);
    names::check_that_all_are_there(seen);
    names::check_series(seen);
}

#[test]
fn only_the_groups_that_are_wanted_are_counted() {
    let servers = set_with_key(1);
    let (observer, seen) = observed("groups");
    let observer = observer.groups(MetricsGroups::COMMAND);
    assert!(!observer.interest().intersects(Interest::ATTEMPTS | Interest::NODES | Interest::CONNECTIONS));
    let client = client(&servers, observer);
    client.get::<String>("k").unwrap();
    assert_eq!(seen.count(DURATION, &[]), 1);
    assert!(seen.all().iter().all(|series| series.name == DURATION), "{:?}", seen.all());
}

#[test]
fn the_gauges_of_a_client_that_ended_are_zero() {
    let servers = set_with_key(1);
    let (observer, seen) = observed("ended");
    let client = client(&servers, observer);
    let master = servers.master().addr();
    wait_until("gauges were set", || available(seen, &master, "master") == Some(1.0));
    client.set("k", "v").unwrap();
    let idle =
        [("db.client.connection.pool.name", &*master.to_string().leak()), ("db.client.connection.state", "idle")];
    wait_until("a connection is shown", || seen.gauge(CONNECTIONS, &idle).is_some_and(|count| count > 0.0));
    drop(client);
    wait_until("it is no more", || available(seen, &master, "master") == Some(0.0));
    wait_until("it has no connections", || seen.gauge(CONNECTIONS, &idle) == Some(0.0));
    assert_eq!(available(seen, &servers.replica(0).addr(), "replica"), Some(0.0));
}

#[test]
fn a_fallback_read_that_is_not_allowed_is_refused_and_one_that_fails_is_not() {
    let mut servers = set_with_key(1);
    let (observer, seen) = observed("refused");
    let builder =
        servers.client_builder().observer(observer).fallback_limit(1).monitor_interval(Duration::from_millis(100));
    let client = builder.deadline(Duration::from_secs(5)).checkout_timeout(Duration::from_millis(50)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    servers.replica_mut(0).stop();
    wait_until("the master serves", || client.get::<String>("k").is_ok() && seen.count(FALLBACKS, &[]) > 0);
    servers.master().pause().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| client.deadline(Duration::from_millis(500)).get::<String>("k").unwrap_err());
        wait_until("a fallback read is under way", || client.snapshot().fallback.in_flight == 1);
        client.get::<String>("k").unwrap_err();
    });
    servers.master().resume().unwrap();
    let refused = client.snapshot().fallback.refused;
    assert!(refused >= 1);
    assert_eq!(seen.count(FALLBACKS, &[("redis.client.routing.result", "refused")]), 1, "of {refused} waits");
}
