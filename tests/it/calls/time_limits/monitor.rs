//! The monitor and `refresh` are bounded, too: no node keeps them from asking the others.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault};
use redis_replicated::{ReplicatedClient, Result};

use super::lateness::{Calls, SLACK, assert_back_in_time};
use super::peers::{drip, dripping_greeting};
use crate::support::{Fake, follow, promote, read_chunk, set_with_key, wait_until};

const DEADLINE: Duration = Duration::from_millis(200);

/// A replica that takes this long for the answer to a login, and to each other question.
fn slow_replica(login: Duration, question: Duration) -> Fake {
    Fake::raw(move |mut stream| {
        while let Some(chunk) = read_chunk(&mut stream) {
            let chunk = String::from_utf8_lossy(&chunk).into_owned();
            let (pause, answer) = if chunk.contains("HELLO") {
                (login, "*2\r\n$4\r\nrole\r\n$7\r\nreplica\r\n".to_owned())
            } else {
                let info = "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:1\r\nmaster_link_status:up\r\n";
                (question, format!("${}\r\n{info}\r\n", info.len()))
            };
            // A node that takes its time: that is what is tested.
            thread::sleep(pause);
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn refresh(client: &ReplicatedClient) -> Result<()> {
    client.refresh()
}

#[test]
fn a_refresh_is_back_in_time_though_each_step_takes_its_part_of_it() {
    let servers = set_with_key(0);
    let millis = Duration::from_millis;
    let slow = [(90, 90), (90, 190), (190, 90), (190, 190)]
        .map(|(login, question)| slow_replica(millis(login), millis(question)));
    // A new client for each: connections that are open already save steps.
    let refresh_once = |interval: Duration| {
        let client = builder_of(servers.master().url(), &slow).monitor_interval(interval).build().unwrap();
        let start = Instant::now();
        let _ = client.deadline(DEADLINE).refresh();
        start.elapsed()
    };
    for interval in [Duration::ZERO, Duration::from_secs(1)] {
        let took: Vec<_> = (0..8).map(|_| refresh_once(interval)).collect();
        println!("refresh, slow steps: {took:?}");
        assert!(took.iter().all(|took| *took <= DEADLINE + SLACK), "{took:?}");
        // Two ends in a row are late each time, a busy machine is not.
        assert!(took.iter().min().unwrap() < &(DEADLINE + SLACK / 5), "{took:?}");
    }
}

fn builder_of(master: String, replicas: &[Fake]) -> redis_replicated::Builder {
    ReplicatedClient::builder().master(master).replicas(replicas.iter().map(Fake::url))
}

#[test]
fn a_refresh_is_back_in_time_though_a_replica_drips() {
    let servers = set_with_key(0);
    let report = Fake::start("replica", |mut stream| {
        if read_chunk(&mut stream).is_some() {
            drip(&mut stream, b"$1000000\r\nrole:slave\r\n", b'x');
        }
    });
    let dripping = [report, dripping_greeting()];
    let client = builder_of(servers.master().url(), &dripping).build().unwrap();
    assert_back_in_time("refresh, dripping replicas", Calls { threads: 1, ..Calls::FEW }, client, refresh);
}

#[test]
fn a_dripping_master_is_replaced_within_three_seconds_of_the_promotion() {
    let servers = set_with_key(2);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let builder = ReplicatedClient::builder()
        .master(proxy.url())
        .replicas(servers.replicas().iter().map(|replica| replica.url()));
    let client = builder.deadline(Duration::from_millis(500)).build().unwrap();
    client.set("n", "old").unwrap();
    servers.wait_until_in_sync().unwrap();
    proxy.set(NetworkFault::SlowBytes(Duration::from_millis(50))).unwrap();
    let _ = client.set("n", "in doubt");
    // Everybody waits for the master's next byte by then.
    thread::sleep(Duration::from_secs(1));
    promote(servers.replica(0));
    let promoted = Instant::now();
    follow(servers.replica(1), servers.replica(0));
    let end = promoted + Duration::from_secs(15);
    while client.set("n", "new").is_err() {
        assert!(Instant::now() < end, "no write in 15 s:\n{}", client.snapshot());
    }
    let took = promoted.elapsed();
    println!("the first write after {took:?}");
    let mut connection = servers.replica(0).connection().unwrap();
    assert_eq!(redis::cmd("GET").arg("n").query::<String>(&mut connection).unwrap(), "new");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn nodes_behind_a_dripping_one_are_still_watched() {
    let mut servers = set_with_key(2);
    let dripping = dripping_greeting();
    let builder = servers.client_builder().replica(dripping.url());
    let client = builder.monitor_interval(Duration::from_millis(50)).build().unwrap();
    let ejected = |index: usize| client.snapshot().nodes[index].ejected;
    wait_until("it is known", || client.snapshot().nodes[1].replication.is_some());
    servers.replica_mut(0).stop();
    wait_until("a stopped replica is noticed", || ejected(1));
    servers.replica_mut(0).restart().unwrap();
    wait_until("it is noticed when it is back", || !ejected(1));
}
