//! One address behind which several processes answer, as that of a reader service.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use redis_replicated::testing::ReplicaSet;
use redis_replicated::{ReadFrom, ReplicatedClient, redis};

use crate::support::{Fake, wait_until};

const KEYS: usize = 3_000;

/// Leads each new connection to the next of the replicas.
pub fn service(servers: &ReplicaSet) -> Fake {
    let ports: Vec<u16> = servers.replicas().iter().map(|replica| replica.addr().port().unwrap()).collect();
    let turn = AtomicUsize::new(0);
    Fake::raw(move |near| {
        let port = ports[turn.fetch_add(1, Ordering::SeqCst) % ports.len()];
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        thread::spawn(move || copy(&mut from_near, &mut to_far));
        let (mut from_far, mut to_near) = (far, near);
        copy(&mut from_far, &mut to_near);
    })
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let mut buffer = [0; 16384];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Scans all keys; returns how many different ones were seen.
fn scan(client: &ReplicatedClient) -> usize {
    let mut connection = client.connection();
    let mut seen = HashSet::<usize>::new();
    let mut cursor = 0_u64;
    loop {
        let page = redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(20).query(&mut connection);
        let (next, page): (u64, Vec<usize>) = page.unwrap();
        seen.extend(page);
        cursor = next;
        if cursor == 0 {
            return seen.len();
        }
    }
}

/// Starts two replicas behind one name, filled with keys, and a client that reads from them. The name lasts as long as its fake.
fn filled_behind_one_name() -> (ReplicaSet, Fake, ReplicatedClient) {
    let servers = ReplicaSet::start(2).unwrap();
    let mut fill = redis::pipe();
    (0..KEYS).for_each(|key| _ = fill.set(key, key).ignore());
    fill.query::<()>(&mut servers.master().connection().unwrap()).unwrap();
    servers.wait_until_in_sync().unwrap();
    let service = service(&servers);
    let client = ReplicatedClient::builder()
        .master(servers.master().url())
        .replica(service.url())
        .read_from(ReadFrom::Replica)
        .build()
        .unwrap();
    wait_until("it is known that the endpoint is shared", || client.snapshot().nodes[1].shared);
    (servers, service, client)
}

#[test]
fn scans_behind_a_shared_endpoint_see_every_key() {
    let (_servers, _service, client) = filled_behind_one_name();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Others read meanwhile, so that the pool lends now this connection, now that.
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    client.get::<usize>(1).unwrap();
                }
            });
        }
        let seen: Vec<usize> = (0..3).map(|_| scan(&client)).collect();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(seen, [KEYS; 3]);
    });
    assert_eq!(client.snapshot().nodes[1].connections_in_use, 0, "the connection of a finished scan is given back");
}

#[test]
fn a_page_that_the_session_refuses_does_not_end_the_scan() {
    let (servers, _service, client) = filled_behind_one_name();
    let session = client.session();
    let mut connection = session.connection();
    let (cursor, _): (u64, Vec<usize>) = redis::cmd("SCAN").arg(0).query(&mut connection).unwrap();
    let _: redis::Value = redis::pipe().set("x", 1).cmd("MULTI").query(&mut session.connection()).unwrap();
    let doubted = redis::cmd("SCAN").arg(cursor).query::<(u64, Vec<usize>)>(&mut connection).unwrap_err();
    println!("{doubted}");
    session.read_from(ReadFrom::Master).get::<i32>("x").unwrap();
    servers.wait_until_in_sync().unwrap();
    redis::cmd("SCAN").arg(cursor).query::<(u64, Vec<redis::Value>)>(&mut connection).unwrap();
}

#[test]
fn a_refresh_without_a_monitor_keeps_the_shared_endpoint() {
    let servers = ReplicaSet::start(2).unwrap();
    servers.wait_until_in_sync().unwrap();
    let service = service(&servers);
    let client = ReplicatedClient::builder()
        .master(servers.master().url())
        .replica(servers.replicas()[0].url())
        .replica(service.url())
        .monitor_interval(std::time::Duration::ZERO)
        .build()
        .unwrap();
    client.refresh().unwrap();
    println!("{}", client.snapshot());
    assert_eq!(client.snapshot().nodes.len(), 3);
}
