//! Nodes that take their time at an unexpected moment.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use redis::ConnectionLike;
use redis_replicated::testing::{FaultProxy, NetworkFault, Sentinels};
use redis_replicated::{ErrorKind, ReadFrom, ReplicatedClient};

use super::{MILLI, SECOND, SLACK, in_time, master, own};
use crate::support::{Fake, never_answer, places, set_with_key, wait_until};

const DRIPS: NetworkFault = NetworkFault::SlowBytes(std::time::Duration::from_millis(20));

#[test]
fn a_pipeline_whose_last_reply_drips_is_back_in_time() {
    let peer = master(|_, number, stream| {
        if number % 40 != 0 {
            return stream.write_all(b"+v\r\n").is_ok();
        }
        while stream.write_all(b"+").is_ok() {
            // A node that drips: that is what is tested.
            thread::sleep(20 * MILLI);
        }
        false
    });
    let client = ReplicatedClient::builder().master(peer.url()).deadline(300 * MILLI).build().unwrap();
    let (mut reads, mut writes) = (redis::pipe(), redis::pipe());
    (0..40).for_each(|key| _ = (reads.get(key), writes.set(key, key)));
    let mut atomic = writes.clone();
    for (what, pipeline, writes) in
        [("reads", reads, false), ("writes", writes.clone(), true), ("atomic", atomic.atomic().clone(), true)]
    {
        let client = client.clone();
        let done = in_time(what, 300 * MILLI, move || client.query_pipeline::<Vec<String>>(&pipeline));
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, writes), "{error}");
    }
}

#[test]
fn a_large_pipeline_of_reads_to_a_peer_that_never_reads_is_back_in_time() {
    let peer = Fake::start("master", |stream| {
        // A node that does not read: longer than the deadline.
        thread::sleep(5 * SECOND);
        never_answer(stream);
    });
    let builder = ReplicatedClient::builder().master(peer.url()).deadline(400 * MILLI);
    let client = builder.response_timeout(20 * SECOND).build().unwrap();
    let (mut pipeline, key) = (redis::pipe(), "x".repeat(1 << 20));
    (0..24).for_each(|_| _ = pipeline.get(&key));
    let packed = pipeline.get_packed_pipeline();
    let call = move || client.connection().req_packed_commands(&packed, 0, 24).map_err(own);
    let error = in_time("24 MB of reads", 400 * MILLI, call).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, false), "{error}");
}

#[test]
fn a_write_whose_reply_ends_after_its_first_byte_is_sent_once() {
    let sent = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&sent);
    let peer = master(move |words, _, stream| {
        if words[0] == "SET" {
            return stream.write_all(b"+OK\r\n").is_ok();
        }
        seen.fetch_add(usize::from(words[0] == "INCR"), Ordering::SeqCst);
        // The connection ends here.
        stream.write_all(b":").is_err()
    });
    let client = ReplicatedClient::builder().master(peer.url()).deadline(600 * MILLI).build().unwrap();
    client.set("k", "v").unwrap();
    for calls in 1..=3 {
        let error = client.incr("n").unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{error}");
        assert_eq!(sent.load(Ordering::SeqCst), calls);
    }
}

#[test]
fn an_exec_whose_reply_drips_is_back_in_time_and_in_doubt() {
    let servers = set_with_key(0);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = ReplicatedClient::builder().master(proxy.url()).deadline(400 * MILLI).build().unwrap();
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    (0..10).for_each(|_| redis::cmd("INCR").arg("n").exec(&mut connection).unwrap());
    proxy.set(DRIPS).unwrap();
    let exec = move || redis::cmd("EXEC").exec(&mut connection).map_err(own);
    let error = in_time("EXEC", 400 * MILLI, exec).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{error}");
    let mut direct = servers.master().connection().unwrap();
    assert_eq!(redis::cmd("GET").arg("n").query::<i64>(&mut direct).unwrap(), 10, "executed once");
}

#[test]
fn reads_that_prove_something_are_served_beside_a_dripping_replica() {
    let servers = set_with_key(2);
    let proxies: Vec<_> = servers.servers().iter().map(|server| FaultProxy::start(&server.addr()).unwrap()).collect();
    let replicas = proxies[1..].iter().map(FaultProxy::url);
    let builder = ReplicatedClient::builder().master(proxies[0].url()).replicas(replicas);
    let client = builder.deadline(400 * MILLI).build().unwrap();
    let session = client.session();
    session.set("k", "v").unwrap();
    assert_eq!(session.get::<String>("k").unwrap(), "v");
    let handles = [session.clone(), client.max_staleness(2 * SECOND), client.clone()];
    for proxy in &proxies[1..] {
        proxy.set(DRIPS).unwrap();
        for handle in handles.iter().cycle().take(60) {
            let handle = handle.clone();
            let read = in_time("read beside one that drips", 400 * MILLI, move || handle.get::<String>("k"));
            assert_eq!(read.unwrap(), "v");
        }
    }
    proxies[0].set(DRIPS).unwrap();
    for handle in handles {
        let confirmed = handle.acknowledged_by(1, 100 * MILLI);
        // Waiting for replicas comes on top.
        let _ = in_time("confirmed write", 500 * MILLI, move || confirmed.incr("n"));
        let (read, refresh) = (handle.clone(), handle.deadline(50 * MILLI));
        let _ = in_time("read where all drip", 400 * MILLI, move || read.get::<String>("k"));
        let _ = in_time("refresh", 50 * MILLI, move || refresh.refresh());
    }
}

#[test]
fn a_scan_over_a_node_that_begins_to_drip_says_so_in_time() {
    let servers = set_with_key(1);
    let mut direct = servers.master().connection().unwrap();
    (0..1000).for_each(|key| redis::cmd("SET").arg(key).arg(key).exec(&mut direct).unwrap());
    servers.wait_until_in_sync().unwrap();
    let proxy = FaultProxy::start(&servers.replica(0).addr()).unwrap();
    let builder = ReplicatedClient::builder().master(servers.master().url()).replica(proxy.url());
    let client = builder.deadline(400 * MILLI).read_from(ReadFrom::Replica).build().unwrap();
    wait_until("it serves", || client.get::<String>("k").is_ok());
    let mut connection = client.connection();
    let (cursor, _): (u64, Vec<String>) = redis::cmd("SCAN").arg(0).query(&mut connection).unwrap();
    proxy.set(DRIPS).unwrap();
    let next = move || redis::cmd("SCAN").arg(cursor).query::<(u64, Vec<String>)>(&mut connection).map_err(own);
    let error = in_time("the second page", 400 * MILLI, next).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, false), "{error}");
}

#[test]
fn a_sentinel_that_answers_is_enough_where_others_drip() {
    let servers = set_with_key(1);
    let sentinels = Sentinels::start(&servers, 3).unwrap();
    let proxies: Vec<_> =
        sentinels.sentinels().iter().map(|sentinel| FaultProxy::start(&sentinel.addr()).unwrap()).collect();
    proxies[..2].iter().for_each(|proxy| proxy.set(DRIPS).unwrap());
    let urls: Vec<_> = proxies.iter().map(FaultProxy::url).collect();
    let client = ReplicatedClient::builder().sentinel(sentinels.service(), urls.clone()).build().unwrap();
    client.set("n", 1).unwrap();
    sentinels.fail_over().unwrap();
    let (old, start) = (servers.master().addr(), Instant::now());
    wait_until("the new master is known", || places(&client).0.is_some_and(|master| master != old));
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    proxies[2].set(DRIPS).unwrap();
    let fresh = ReplicatedClient::builder().sentinel(sentinels.service(), urls).deadline(400 * MILLI).build().unwrap();
    let writer = fresh.clone();
    let error = in_time("all Sentinels drip", 400 * MILLI, move || writer.set("n", 2)).unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Unavailable, false), "{error}");
    let start = Instant::now();
    drop(fresh);
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
}

#[test]
fn several_names_of_one_sentinel_are_one_sentinel() {
    let servers = set_with_key(1);
    let sentinels = Sentinels::start(&servers, 1).unwrap();
    let url = sentinels.urls()[0].clone();
    let names = [url.clone(), url.replace("127.0.0.1", "localhost"), url];
    let client = ReplicatedClient::builder().sentinel(sentinels.service(), names).build().unwrap();
    client.set("n", 1).unwrap();
    let mut direct = sentinels.sentinels()[0].connection().unwrap();
    wait_until("it is listened to", || {
        client.refresh().unwrap();
        let all: String = redis::cmd("CLIENT").arg("LIST").query(&mut direct).unwrap();
        let is_of = |what: &str| all.lines().filter(|line| line.contains(what)).count();
        assert!(is_of("cmd=sentinel") <= 1 && is_of("cmd=subscribe") <= 1, "{all}");
        is_of("cmd=subscribe") == 1
    });
}
