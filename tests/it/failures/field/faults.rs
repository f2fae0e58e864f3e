//! Variants that the client did not bear when they were written.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet};
use redis_replicated::{Description, ErrorKind, NodeAddr, ReplicatedClient, Result, SyncState, TopologyProvider};

use super::{Ended, MILLI, SECOND, own, spawn};
use crate::support::{Fake, follow, places, promote, read_command, set_with_key, wait_until};

fn proxies(servers: &ReplicaSet) -> Vec<FaultProxy> {
    servers.servers().iter().map(|server| FaultProxy::start(&server.addr()).unwrap()).collect()
}

fn behind(proxies: &[FaultProxy]) -> redis_replicated::Builder {
    ReplicatedClient::builder().master(proxies[0].url()).replicas(proxies[1..].iter().map(FaultProxy::url))
}

fn wait_until_known(client: &ReplicatedClient) {
    wait_until("all are known", || client.snapshot().nodes.iter().all(|node| node.replication.is_some()));
}

#[test]
fn a_caller_in_a_hurry_ejects_no_node_that_is_far_away() {
    let servers = set_with_key(1);
    let proxies = proxies(&servers);
    let client = behind(&proxies).build().unwrap();
    wait_until_known(&client);
    proxies.iter().for_each(|proxy| proxy.set(NetworkFault::Delay(20 * MILLI)).unwrap());
    let hurried = client.deadline(5 * MILLI);
    for _ in 0..4 {
        assert!(hurried.set("k", "v").is_err() && hurried.get::<String>("k").is_err());
        assert!(client.snapshot().nodes.iter().all(|node| !node.ejected), "{}", client.snapshot());
        // All others are served.
        client.set("k", "v").unwrap();
        client.get::<String>("k").unwrap();
    }
}

#[test]
fn callers_in_a_hurry_cut_no_patient_call_off() {
    let servers = set_with_key(0);
    let client = servers.client_builder().response_timeout(10 * SECOND).deadline(20 * SECOND).build().unwrap();
    client.set("k", "v").unwrap();
    let mut direct = servers.master().connection().unwrap();
    redis::cmd("CLIENT").arg("PAUSE").arg(3000).arg("ALL").exec(&mut direct).unwrap();
    let patient = client.clone();
    let patient = spawn(move || patient.incr("n"));
    wait_until("it is sent", || client.snapshot().nodes[0].connections_in_use > 0);
    let hurried = client.deadline(100 * MILLI);
    let (_, done) = loop {
        let _ = hurried.set("k", "w");
        if let Ok(ended) = patient.try_recv() {
            break ended;
        }
    };
    assert_eq!(done.unwrap(), 1);
}

/// A master that begins a reply, or pushes messages, for ever, while a command blocks.
fn chatty(beat: &'static str, is_demoted: Arc<AtomicBool>, is_asked: Arc<AtomicBool>) -> Fake {
    Fake::raw(move |mut output| {
        let mut input = std::io::BufReader::new(output.try_clone().unwrap());
        while let Some(words) = read_command(&mut input) {
            let role = if is_demoted.load(Ordering::SeqCst) { "slave" } else { "master" };
            let info = format!("role:{role}\r\nmaster_link_status:up\r\n");
            let reply = match words[0].as_str() {
                "HELLO" => format!("%1\r\n$4\r\nrole\r\n${}\r\n{role}\r\n", role.len()),
                "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                "SET" => "+OK\r\n".to_owned(),
                _ => {
                    is_asked.store(true, Ordering::SeqCst);
                    let _ = output.write_all(if beat.len() == 1 { b"$1000000\r\n" } else { b"" });
                    while output.write_all(beat.as_bytes()).is_ok() {
                        // A node that goes on talking: that is what is tested.
                        thread::sleep(100 * MILLI);
                    }
                    return;
                }
            };
            if output.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_call_that_blocks_on_a_chatty_master_ends_once_another_took_over() {
    for beat in [">2\r\n+message\r\n+nobody asked\r\n", "x"] {
        let (is_demoted, is_asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let old = chatty(beat, Arc::clone(&is_demoted), Arc::clone(&is_asked));
        let servers = ReplicaSet::start(1).unwrap();
        let builder = ReplicatedClient::builder().master(format!("{}?protocol=resp3", old.url()));
        let client = builder.replica(servers.replica(0).url()).build().unwrap();
        client.set("k", "v").unwrap();
        let blocked = client.clone();
        let blocked: Ended<Result<redis::Value>> = spawn(move || blocked.query(redis::cmd("BLPOP").arg("jobs").arg(0)));
        wait_until("it is there", || is_asked.load(Ordering::SeqCst));
        is_demoted.store(true, Ordering::SeqCst);
        promote(servers.replica(0));
        wait_until("it is known", || places(&client).0 == Some(servers.replica(0).addr()));
        let (_, done) = blocked.recv_timeout(3 * SECOND).expect("not back in time");
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{error}");
    }
}

#[test]
fn a_write_that_found_the_master_ejected_and_busy_waits_when_it_is_back() {
    let servers = set_with_key(0);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = ReplicatedClient::builder().master(proxy.url()).pool_size(1).build().unwrap();
    let mut held = client.connection();
    redis::cmd("WATCH").arg("k").exec(&mut held).unwrap();
    proxy.set(NetworkFault::Refuse).unwrap();
    wait_until("it is ejected", || client.snapshot().nodes[0].ejected);
    let patient = client.deadline(20 * SECOND);
    let writes: Vec<_> = (0..10)
        .map(|turn| {
            let patient = patient.clone();
            spawn(move || {
                // One after the other, so that some of them wait at any moment.
                thread::sleep(10 * turn * MILLI);
                patient.incr("n")
            })
        })
        .collect();
    proxy.set(NetworkFault::None).unwrap();
    wait_until("it is back", || !client.snapshot().nodes[0].ejected);
    // Longer than a write looks at a node that is ejected.
    thread::sleep(300 * MILLI);
    drop(held);
    for write in writes {
        write.recv_timeout(20 * SECOND).unwrap().1.unwrap();
    }
}

#[test]
fn a_replica_behind_one_that_is_frozen_is_not_in_sync() {
    let servers = ReplicaSet::start(2).unwrap();
    let (parent, leaf) = (servers.replica(0), servers.replica(1));
    follow(leaf, parent);
    let link = || leaf.info("replication", "master_link_status").unwrap();
    wait_until("the chain is up", || link().as_deref() == Some("up"));
    let client = servers.client_builder().monitor_interval(50 * MILLI).build().unwrap();
    client.set("k", "v").unwrap();
    servers.wait_until_in_sync().unwrap();
    wait_until_known(&client);
    parent.pause().unwrap();
    wait_until("it is ejected", || client.snapshot().nodes[1].ejected);
    client.set("k", "w").unwrap();
    let read = client.get::<String>("k").unwrap();
    let state = client.snapshot().nodes[2].sync_state;
    parent.resume().unwrap();
    assert!(read == "w" && state != SyncState::InSync, "{read} from a leaf that is {state}");
}

/// Names a set that changes.
#[derive(Clone, Debug)]
struct Moving(Arc<Mutex<(String, String)>>);

impl TopologyProvider for Moving {
    fn describe(&self, _: Instant) -> Result<Description> {
        let (master, replica) = self.0.lock().unwrap().clone();
        Ok(Description::new().master(&*master).replica(&*replica))
    }

    fn interval(&self) -> Duration {
        50 * MILLI
    }
}

#[test]
fn a_session_write_that_was_cut_off_is_in_doubt_for_the_session_too() {
    let servers = set_with_key(2);
    let (next, other) = (servers.replica(0), servers.replica(1));
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let provider = Moving(Arc::new(Mutex::new((proxy.url(), other.url()))));
    let builder = ReplicatedClient::builder().provider(provider.clone());
    let client = builder.response_timeout(20 * SECOND).deadline(20 * SECOND).build().unwrap();
    let session = client.session();
    session.set("x", 1).unwrap();
    proxy.set(NetworkFault::Delay(60 * SECOND)).unwrap();
    let writer = session.clone();
    let write = spawn(move || writer.incr("x"));
    let mut direct = other.connection().unwrap();
    wait_until("it is executed", || redis::cmd("GET").arg("x").query::<i64>(&mut direct).unwrap() == 2);
    promote(next);
    follow(other, next);
    *provider.0.lock().unwrap() = (next.url(), other.url());
    let error = write.recv_timeout(10 * SECOND).unwrap().1.unwrap_err();
    assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Interrupted, true), "{error}");
    wait_until("the replica is in sync", || {
        let snapshot = client.snapshot();
        let is_it = |addr: NodeAddr| {
            snapshot.nodes.iter().any(|node| node.addr == addr && node.sync_state == SyncState::InSync)
        };
        places(&client).0 == Some(next.addr()) && is_it(other.addr())
    });
    let decision = session.explain(redis::cmd("GET").arg("x"));
    assert_eq!(decision.candidates(), [next.addr()], "only the master knows: {decision}");
}

#[test]
fn one_connection_that_was_closed_early_does_not_change_the_protocol() {
    let servers = set_with_key(0);
    let target = servers.master().addr();
    let is_first = AtomicBool::new(true);
    // Closes its first connection, as a balancer does whose backend is not up yet.
    let relay = Fake::raw(move |mut client| {
        if is_first.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut server = std::net::TcpStream::connect(target.to_string()).unwrap();
        let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut client, &mut server);
    });
    let builder = ReplicatedClient::builder().master(format!("{}?protocol=resp3", relay.url()));
    let client = builder.client_name("tester").monitor_interval(Duration::ZERO).build().unwrap();
    (0..3).for_each(|_| client.set("k", "v").unwrap());
    let all: String = redis::cmd("CLIENT").arg("LIST").query(&mut servers.master().connection().unwrap()).unwrap();
    let own: Vec<_> = all.lines().filter(|line| line.contains("name=tester")).collect();
    assert!(own.iter().all(|line| line.contains("resp=3")), "{own:?}");
}

#[test]
fn a_blocking_call_is_served_by_a_full_server_to_which_idle_connections_are_open() {
    let servers = set_with_key(0);
    let mut direct = servers.master().connection().unwrap();
    let client = servers.client_builder().build().unwrap();
    wait_until_known(&client);
    (0..3).for_each(|_| client.set("k", "v").unwrap());
    let all: String = redis::cmd("CLIENT").arg("LIST").query(&mut direct).unwrap();
    redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(all.lines().count()).exec(&mut direct).unwrap();
    let popped = client.query::<Option<(String, String)>>(redis::cmd("BLPOP").arg("jobs").arg(1));
    assert_eq!(popped.unwrap(), None);
}

#[test]
fn a_frozen_master_is_replaced_soon_though_replies_may_take_long() {
    let servers = set_with_key(1);
    let client = servers.client_builder().response_timeout(8 * SECOND).deadline(SECOND).build().unwrap();
    wait_until_known(&client);
    servers.master().pause().unwrap();
    promote(servers.replica(0));
    let start = Instant::now();
    wait_until("writes go on", || client.set("k", "v").is_ok());
    let took = start.elapsed();
    servers.master().resume().unwrap();
    assert!(took < 4 * SECOND, "{took:?}");
}

#[test]
fn errors_within_a_transaction_by_hand_repeat_no_argument() {
    const SECRET: &str = "pa$$word";
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap();
    let mut connection = client.connection();
    redis::cmd("MULTI").exec(&mut connection).unwrap();
    redis::cmd("ACL").arg("SETUSER").arg("app").arg(format!("<{SECRET}")).exec(&mut connection).unwrap();
    let error = redis::cmd("EXEC").query::<Vec<redis::Value>>(&mut connection).unwrap_err();
    assert!(!format!("{error} {error:?} {:?}", error.detail()).contains(SECRET), "{error}");
}

#[test]
fn a_master_whose_logins_take_a_while_is_written_to_soon_after_it_is_back() {
    let servers = set_with_key(0);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = ReplicatedClient::builder().master(proxy.url()).build().unwrap();
    client.set("k", "v").unwrap();
    proxy.set(NetworkFault::Refuse).unwrap();
    wait_until("it is ejected", || client.snapshot().nodes[0].ejected);
    proxy.set(NetworkFault::Delay(150 * MILLI)).unwrap();
    let start = Instant::now();
    client.deadline(10 * SECOND).set("k", "v").unwrap();
    // Half a second of pause, and two logins of 300 ms.
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
}

#[test]
fn a_watch_without_any_time_left_is_refused() {
    let servers = set_with_key(0);
    let client = servers.client_builder().build().unwrap().deadline(Duration::ZERO);
    let error = redis::cmd("WATCH").arg("k").exec(&mut client.connection()).map_err(own).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkout, "{error}");
}
