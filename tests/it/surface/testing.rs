//! The tools for tests: each fault shows what it promises, Sentinels fail over, replicas sync anew.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use redis_replicated::testing::{FaultProxy, NetworkFault, ReplicaSet, Sentinels};

use crate::support::{Fake, read_some, set_with_key, wait_until};

const SHORT: Duration = Duration::from_millis(100);

/// A proxy before a server that sends back what it gets.
fn echo() -> (Fake, FaultProxy) {
    let server = Fake::raw(|mut stream| {
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    });
    let proxy = FaultProxy::start(&format!("127.0.0.1:{}", server.port).parse().unwrap()).unwrap();
    (server, proxy)
}

fn connect(proxy: &FaultProxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.addr().port().unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn exchange(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text.as_bytes());
}

fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(stream.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_delay_holds_each_reply_equally_long() {
    let (_server, proxy) = echo();
    let mut stream = connect(&proxy);
    exchange(&mut stream, "before");
    proxy.set(NetworkFault::Delay(3 * SHORT)).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sent = thread::spawn(move || {
        let send = |byte: u8| {
            let time = Instant::now();
            sender.write_all(&[byte]).unwrap();
            // The pace of the sender: each byte is a reply of its own.
            thread::sleep(Duration::from_millis(10));
            time
        };
        (0..40).map(send).collect::<Vec<_>>()
    });
    let mut receive = |expected: u8| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [expected]);
        Instant::now()
    };
    let received: Vec<_> = (0..40).map(&mut receive).collect();
    for (sent, received) in sent.join().unwrap().iter().zip(&received) {
        assert!(*received - *sent >= 3 * SHORT);
    }
    assert!(received[39] - received[0] < 40 * SHORT, "40 delays one after the other would be 12 s");
}

#[test]
fn a_black_hole_holds_all_bytes_until_it_ends() {
    let (server, proxy) = echo();
    let mut old = connect(&proxy);
    exchange(&mut old, "before");
    proxy.set(NetworkFault::Delay(SHORT)).unwrap();
    old.write_all(b"held").unwrap();
    proxy.set(NetworkFault::BlackHole).unwrap();
    let mut new = connect(&proxy);
    new.write_all(b"new").unwrap();
    old.write_all(b" here").unwrap();
    assert_silent(&mut old);
    assert_silent(&mut new);
    wait_until("it accepts", || proxy.connections() == 2);
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    proxy.set(NetworkFault::None).unwrap();
    let mut answer = [0; 9];
    old.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held here");
    new.read_exact(&mut answer[..3]).unwrap();
    assert_eq!(&answer[..3], b"new");
}

#[test]
fn a_reset_comes_when_the_client_sends() {
    let (_server, proxy) = echo();
    let mut old = connect(&proxy);
    exchange(&mut old, "before");
    proxy.set(NetworkFault::Reset).unwrap();
    let mut new = connect(&proxy);
    assert_silent(&mut new);
    for stream in [&mut old, &mut new] {
        stream.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    proxy.set(NetworkFault::None).unwrap();
    exchange(&mut connect(&proxy), "after");
}

#[test]
fn a_refusing_port_refuses_and_comes_back() {
    let (_server, proxy) = echo();
    let port = proxy.addr().port().unwrap();
    for _ in 0..3 {
        let mut old = connect(&proxy);
        exchange(&mut old, "before");
        proxy.set(NetworkFault::Refuse).unwrap();
        assert_eq!(read_to_end(&mut old), b"");
        let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.set(NetworkFault::None).unwrap();
        exchange(&mut connect(&proxy), "after");
    }
}

#[test]
fn replies_are_cut_short() {
    let (_server, proxy) = echo();
    let mut stream = connect(&proxy);
    exchange(&mut stream, "before");
    proxy.set(NetworkFault::Truncate(4)).unwrap();
    for _ in 0..2 {
        stream.write_all(b"truncated").unwrap();
        assert_eq!(read_to_end(&mut stream), b"trun");
        stream = connect(&proxy);
    }
    proxy.set(NetworkFault::HalfClose).unwrap();
    stream.write_all(b"lost").unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    stream.write_all(b"nobody minds").unwrap();
    assert_eq!(read_some(&mut stream), 0);
    proxy.set(NetworkFault::None).unwrap();
    let mut stream = connect(&proxy);
    exchange(&mut stream, "whole");
    proxy.cut();
    assert_eq!(read_to_end(&mut stream), b"");
    assert_eq!(proxy.connections(), 4);
}

#[test]
fn slow_bytes_come_one_by_one() {
    let (_server, proxy) = echo();
    proxy.set(NetworkFault::SlowBytes(SHORT / 5)).unwrap();
    let mut stream = connect(&proxy);
    let start = Instant::now();
    exchange(&mut stream, "0123456789");
    assert!(start.elapsed() >= 9 * SHORT / 5, "{:?}", start.elapsed());
    proxy.set(NetworkFault::SlowBytes(Duration::MAX)).unwrap();
    stream.write_all(b"the fault ends").unwrap();
    assert_silent(&mut stream);
    proxy.set(NetworkFault::None).unwrap();
    stream.read_exact(&mut [0; 14]).unwrap();
}

#[test]
fn a_slow_reader_makes_the_client_wait_and_answers_at_once() {
    let (_server, proxy) = echo();
    proxy.set(NetworkFault::SlowReader { bytes: 2, pause: SHORT / 5 }).unwrap();
    let mut stream = connect(&proxy);
    let start = Instant::now();
    stream.write_all(b"0123456789").unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    let first = start.elapsed();
    stream.read_exact(&mut [0; 8]).unwrap();
    assert!(start.elapsed() >= 4 * SHORT / 5 && first < start.elapsed() / 2, "{first:?} {:?}", start.elapsed());
    proxy.set(NetworkFault::SlowReader { bytes: 0, pause: Duration::MAX }).unwrap();
    let sent = vec![b'x'; 64 << 20];
    stream.set_write_timeout(Some(SHORT)).unwrap();
    assert!(stream.write_all(&sent).is_err(), "nobody takes it");
    proxy.set(NetworkFault::None).unwrap();
    exchange(&mut connect(&proxy), "after");
}

#[test]
fn no_byte_is_lost_or_moved_when_faults_change_while_bytes_flow() {
    let (_server, proxy) = echo();
    let total: usize = 4_000_000;
    let bytes: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
    let mut stream = connect(&proxy);
    let mut sender = stream.try_clone().unwrap();
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            let mut received = vec![0; total];
            stream.read_exact(&mut received).unwrap();
            assert!(received == bytes);
        });
        scope.spawn(|| sender.write_all(&bytes).unwrap());
        let faults = [
            NetworkFault::Delay(Duration::from_millis(3)),
            NetworkFault::BlackHole,
            NetworkFault::SlowReader { bytes: 9, pause: Duration::from_micros(10) },
            NetworkFault::None,
            NetworkFault::SlowBytes(Duration::from_micros(10)),
        ];
        faults.iter().cycle().take_while(|_| !done.is_finished()).for_each(|fault| {
            proxy.set(*fault).unwrap();
            // Each fault lasts for a moment in which bytes flow.
            thread::sleep(Duration::from_millis(2));
        });
    });
}

#[test]
fn a_proxy_ends_with_all_its_threads_and_connections() {
    let servers = set_with_key(0);
    let proxy = FaultProxy::start(&servers.master().addr()).unwrap();
    let client = redis::Client::open(proxy.url()).unwrap();
    let mut connections: Vec<_> = (0..3).map(|_| client.get_connection().unwrap()).collect();
    for connection in &mut connections {
        assert_eq!(redis::cmd("GET").arg("k").query::<String>(connection).unwrap(), "v");
    }
    proxy.set(NetworkFault::BlackHole).unwrap();
    let mut held = connect(&proxy);
    held.write_all(b"PING\r\n").unwrap();
    wait_until("it is accepted", || proxy.connections() == 4);
    let port = proxy.addr().port().unwrap();
    drop(proxy);
    assert_eq!(read_to_end(&mut held), b"");
    assert!(redis::cmd("PING").exec(&mut connections[0]).unwrap_err().is_connection_dropped());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn sentinels_fail_over_by_command_and_name_the_new_master() {
    let servers = ReplicaSet::setup().replicas(2).password("pass \"word\" \\").start().unwrap();
    let mut sentinels = Sentinels::start(&servers, 3).unwrap();
    assert_eq!(sentinels.urls().len(), 3);
    assert_eq!((sentinels.service(), sentinels.master().unwrap()), ("main", servers.master().addr()));
    sentinels.sentinel_mut(0).stop();
    sentinels.fail_over().unwrap();
    wait_until("the master changes", || sentinels.master().is_ok_and(|master| master != servers.master().addr()));
    let master = servers.server_at(&sentinels.master().unwrap()).unwrap();
    assert_eq!(master.info("replication", "role").unwrap().as_deref(), Some("master"));
    let other = servers.replicas().iter().find(|replica| replica.addr() != master.addr()).unwrap();
    let port = master.addr().port().unwrap().to_string();
    // Sentinels close the connections of whom they repoint, also one that asks for this.
    let follows = || other.info("replication", "master_port").is_ok_and(|known| known.as_ref() == Some(&port));
    wait_until("the other replica follows", follows);
    redis::cmd("SET").arg("k").arg("v").exec(&mut master.connection().unwrap()).unwrap();
    servers.wait_until_in_sync().unwrap();
    assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut other.connection().unwrap()).unwrap(), "v");
}

#[test]
fn a_forced_resync_is_a_full_one_and_paused_writes_are_not_applied() {
    let servers = set_with_key(1);
    let (master, replica) = (servers.master(), servers.replica(0));
    let full = || master.info("stats", "sync_full").unwrap().unwrap().parse::<u64>().unwrap();
    for syncs in 2..=3 {
        replica.force_full_resync().unwrap();
        assert_eq!(replica.info("replication", "role").unwrap().as_deref(), Some("slave"));
        servers.wait_until_in_sync().unwrap();
        assert_eq!(full(), syncs);
    }
    assert!(master.force_full_resync().is_err());

    let mut connection = replica.connection().unwrap();
    let mut read = || redis::cmd("GET").arg("k").query::<String>(&mut connection).unwrap();
    replica.pause_writes(Duration::MAX).unwrap();
    redis::cmd("SET").arg("k").arg("new").exec(&mut master.connection().unwrap()).unwrap();
    // Nothing tells that the write was not applied: long enough for it.
    thread::sleep(SHORT);
    assert_eq!(read(), "v");
    replica.unpause().unwrap();
    wait_until("the replica applies the write", || read() == "new");
}
