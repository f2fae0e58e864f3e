//! Calls are back by their deadline, whatever a server does to a handshake.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use redis_replicated::{ReplicatedClient, Result, Target};

use super::authority::Authority;
use crate::calls::time_limits::lateness::{Calls, assert_each_back_in_time};
use crate::support::{Fake, never_answer, read_some};

/// The beginning of a record of 16 000 bytes, with a message of the handshake that is as long as that.
const BEGINNING: [u8; 9] = [22, 3, 3, 0x3e, 0x80, 2, 0, 0x3e, 0x7c];
/// Ten at a time, each by a client that has no connection yet. The bench `deadlines` makes more of them.
const CALLS: Calls = Calls { deadline: Duration::from_millis(200), threads: 10, each: 12 };

fn drip(mut stream: TcpStream, beginning: &[u8]) {
    if read_some(&mut stream) == 0 {
        return;
    }
    for byte in beginning.iter().chain(std::iter::repeat(&3)) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        // A handshake that drips: that is what is tested.
        thread::sleep(Duration::from_millis(20));
    }
}

fn check(what: &str, peer: &Fake) {
    let certificates = Authority::without_server().certificates(None);
    let url = format!("rediss://127.0.0.1:{}", peer.port);
    let client = move || {
        let builder = ReplicatedClient::builder().master(url.clone()).pool_size(64).max_connecting(64);
        let builder = builder.tls_certificates(certificates.clone());
        builder.monitor_interval(Duration::ZERO).build().unwrap()
    };
    let get = |client: &ReplicatedClient| -> Result<()> { client.get::<Option<String>>("k").map(drop) };
    let errors = assert_each_back_in_time(what, CALLS, client.clone(), get);
    assert!(errors.iter().all(Option::is_some), "{what}: a call was answered");
    let dedicated = |client: &ReplicatedClient| -> Result<()> { client.dedicated(Target::Master).map(drop) };
    let calls = Calls { each: 3, ..CALLS };
    let errors = assert_each_back_in_time(&format!("{what}, dedicated"), calls, client, dedicated);
    assert!(errors.iter().all(Option::is_some), "{what}: a dedicated connection was opened");
}

#[test]
fn a_handshake_that_stalls_holds_no_call() {
    if !super::has_openssl() {
        return;
    }
    check("a handshake that stalls", &Fake::raw(never_answer));
}

#[test]
fn a_handshake_that_drips_holds_no_call() {
    if !super::has_openssl() {
        return;
    }
    check("a handshake that drips", &Fake::raw(|stream| drip(stream, &BEGINNING)));
}

#[test]
fn a_server_that_hangs_after_the_handshake_holds_no_call() {
    let Some(stage) = super::Stage::new(0) else { return };
    let client = stage.client();
    client.set("k", "v").unwrap();
    stage.servers.master().pause().unwrap();
    let calls = Calls { deadline: Duration::from_millis(200), threads: 10, each: 5 };
    let get = |client: &ReplicatedClient| -> Result<()> { client.get::<Option<String>>("k").map(drop) };
    let client = || client.clone();
    let errors = assert_each_back_in_time("a server that hangs", calls, client, get);
    stage.servers.master().resume().unwrap();
    assert!(errors.iter().all(Option::is_some));
}
