//! `sentinel`: the set as Sentinels see it, whatever becomes of some of them.

use std::time::Duration;

use redis_replicated::testing::{ReplicaSet, Sentinels, free_port};
use redis_replicated::{Error, ErrorKind, NodeAddr, ReplicatedClient};

use crate::support::{addrs, follow, set_with_key, wait_until, wait_until_set_is};

#[test]
fn the_set_is_found_though_some_sentinels_are_dead_and_one_hangs() {
    let servers = set_with_key(2);
    let mut sentinels = Sentinels::start(&servers, 3).unwrap();
    let nobody = format!("redis://127.0.0.1:{}", free_port().unwrap());
    sentinels.sentinel_mut(0).stop();
    sentinels.sentinels()[1].pause().unwrap();
    let all = std::iter::once(nobody).chain(sentinels.urls());
    let client = ReplicatedClient::builder().sentinel("main", all).build().unwrap();
    client.set("k", "v").unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    wait_until("a refresh succeeds", || client.refresh().is_ok());
    // The others hang or are dead now, the one that hung is back.
    sentinels.sentinels()[2].pause().unwrap();
    sentinels.sentinels()[1].resume().unwrap();
    wait_until("a refresh succeeds", || client.refresh().is_ok());
    sentinels.sentinels()[1].pause().unwrap();
    // What one of them said last counts for a while.
    wait_until("nobody answers any more", || client.refresh().is_err_and(|error| error.kind() == ErrorKind::Topology));
    for _ in 0..10 {
        assert_eq!(client.get::<String>("k").unwrap(), "v", "the last good topology stays");
    }
    client.set("k", "v").unwrap();
    sentinels.sentinels()[1].resume().unwrap();
    wait_until("a refresh succeeds", || client.refresh().is_ok());
}

#[test]
fn what_is_wrong_with_the_sentinels_is_said() {
    let servers = set_with_key(0);
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let check = |service: &str, url: String, is_right: fn(&Error) -> bool| {
        let client = ReplicatedClient::builder().sentinel(service, [url]).deadline(Duration::from_secs(1)).build();
        let client = client.unwrap();
        let call = client.set("k", "v").unwrap_err();
        assert_eq!((call.kind(), call.may_have_executed()), (ErrorKind::Unavailable, false), "{call}");
        // A slow machine may say at first that nobody answers.
        wait_until("the right cause is told", || {
            let error = client.refresh().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Topology);
            assert!(!format!("{error:?}").contains("wrong@"), "{error:?}");
            is_right(&error)
        });
    };
    let url = sentinels.urls().remove(0);
    check("other", url.clone(), |error| {
        error.to_string().contains("no Sentinel that answers knows the service \"other\"")
    });
    check("main", url.replace("redis://", "redis://:wrong@"), |error| error.as_redis().is_some());
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    check("main", nobody, |error| error.node().is_some() && error.as_redis().is_some());
    // A data node is no Sentinel.
    let is_unknown = |error: &Error| error.as_redis().is_some_and(|cause| cause.code() == Some("ERR"));
    check("main", servers.master().url(), is_unknown);
}

#[test]
fn sentinels_and_servers_have_passwords_of_their_own() {
    let servers = ReplicaSet::setup().replicas(1).password("of servers").start().unwrap();
    let sentinels = Sentinels::start(&servers, 2).unwrap();
    for sentinel in sentinels.sentinels() {
        let mut connection = sentinel.connection().unwrap();
        let mut set = redis::cmd("ACL");
        set.arg("SETUSER").arg("default").arg("resetpass").arg(">of-sentinels").exec(&mut connection).unwrap();
    }
    let urls = || sentinels.urls().into_iter().map(|url| url.replace("redis://", "redis://:of-sentinels@"));
    let login = redis::RedisConnectionInfo::default().set_password("of servers");
    let client = ReplicatedClient::builder().sentinel("main", urls()).login(login).build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let nobody = ReplicatedClient::builder().sentinel("main", urls()).deadline(Duration::from_secs(1)).build().unwrap();
    wait_until("the right cause is told", || {
        let error = nobody.set("k", "v").unwrap_err();
        assert!(!error.may_have_executed());
        error.as_redis().is_some_and(|cause| cause.code() == Some("NOAUTH"))
    });
}

#[test]
fn a_replica_that_comes_later_is_found() {
    let servers = set_with_key(1);
    let late = ReplicaSet::start(0).unwrap();
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let mut urls = sentinels.urls();
    urls.extend(sentinels.urls());
    let client = ReplicatedClient::builder().sentinel("main", urls).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    follow(late.master(), servers.master());
    wait_until_set_is(&client, &servers.master().addr(), &[servers.replica(0).addr(), late.master().addr()]);
}

#[test]
fn addresses_that_sentinels_give_are_translated() {
    let servers = set_with_key(1);
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let map = |addr: &NodeAddr| NodeAddr::tcp("localhost", addr.port().unwrap());
    let client = ReplicatedClient::builder().sentinel("main", sentinels.urls()).map_address(map).build().unwrap();
    wait_until_set_is(&client, &map(&servers.master().addr()), &[map(&servers.replica(0).addr())]);
    assert_eq!(client.get::<String>("k").unwrap(), "v");
}

#[test]
fn sentinels_are_asked_by_calls_where_no_monitor_runs() {
    let servers = set_with_key(1);
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let builder = ReplicatedClient::builder().sentinel("main", sentinels.urls()).monitor_interval(Duration::ZERO);
    let client = builder.build().unwrap();
    assert_eq!(client.get::<String>("k").unwrap(), "v");
    client.set("k", "v").unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
}
