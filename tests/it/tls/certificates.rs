//! A bad certificate is told at once, with its reason and whose it is.

use std::time::{Duration, Instant};

use redis_replicated::testing::Setup;
use redis_replicated::{Builder, Error, ErrorKind, ReplicatedClient, Target};

use super::authority::{Authority, Valid};
use super::{Stage, show};
use crate::support::{Load, wait_until};

/// Long, so that an error that comes at once is told from one that comes at the end.
const DEADLINE: Duration = Duration::from_secs(20);

/// Reads, writes and dedicated connections fail at once and say this, and so does the snapshot.
fn check(what: &str, said: &str, builder: impl Fn() -> Builder) {
    for interval in [Duration::from_secs(1), Duration::ZERO] {
        let client = builder().deadline(DEADLINE).monitor_interval(interval).build().unwrap();
        let addr = client.snapshot().nodes[0].addr.to_string();
        let says = |call: &dyn Fn() -> Result<(), Error>| {
            let start = Instant::now();
            let error = call().unwrap_err();
            let text = error.to_string();
            println!("{what}: {text}");
            assert!(start.elapsed() < DEADLINE / 2, "{what}: {text} came after {:?}", start.elapsed());
            assert!(text.contains(said) && text.contains(&addr), "{what}: {text} does not say {said:?}");
            assert_eq!((error.kind(), error.may_have_executed()), (ErrorKind::Checkout, false), "{what}: {text}");
        };
        says(&|| client.get::<Option<String>>("k").map(drop));
        says(&|| client.set("k", "w"));
        says(&|| client.dedicated(Target::Master).map(drop));
        wait_until("the node is ejected, with its reason", || {
            let node = client.snapshot().nodes.remove(0);
            node.ejected && node.reason.is_some_and(|reason| reason.contains(said))
        });
        assert!(client.snapshot().to_string().contains(said));
    }
}

#[test]
fn what_is_wrong_with_the_servers_certificate_is_told() {
    let Some(stage) = Stage::new(0) else { return };
    let other = Authority::without_server();
    let url = stage.servers.master().url();
    let builder = |certificates| ReplicatedClient::builder().master(url.clone()).tls_certificates(certificates);
    check("unknown authority", "unknown CA", || builder(other.certificates(None)));
    for (name, names, valid, said) in [
        (
            "elsewhere",
            "DNS:elsewhere.example",
            Valid::Now,
            "not for the name 127.0.0.1 (wrong name); it is for: elsewhere.example",
        ),
        ("expired", "IP:127.0.0.1", Valid::Before, "the server's certificate has expired"),
        ("early", "IP:127.0.0.1", Valid::Later, "the server's certificate is not valid yet"),
    ] {
        show(stage.servers.master(), &stage.authority.identity(name, names, valid));
        check(name, said, || builder(stage.authority.certificates(None)));
    }
}

#[test]
fn what_is_wrong_with_the_clients_certificate_is_told() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let setup = |setup: Setup| setup.setting("tls-auth-clients", "yes").setting("tls-protocols", version);
        let Some(stage) = Stage::with(0, setup) else { return };
        let other = Authority::without_server();
        let stranger = other.identity("stranger", "DNS:stranger", Valid::Now);
        let expired = stage.authority.identity("expired", "DNS:expired", Valid::Before);
        let required = if version == "TLSv1.2" { "certificate is required" } else { "none was given" };
        for (what, own, said) in [
            ("no certificate", None, required),
            ("a stranger's", Some(&stranger), "the server refused the client certificate"),
            ("an expired one", Some(&expired), "the server refused the client certificate"),
        ] {
            let said = if own.is_none() { required } else { said };
            check(&format!("{version}, {what}"), said, || {
                let builder = ReplicatedClient::builder().master(stage.servers.master().url());
                builder.tls_certificates(stage.authority.certificates(own))
            });
        }
    }
}

#[test]
fn tls_and_plain_ports_are_told_apart() {
    let Some(stage) = Stage::new(0) else { return };
    let url = stage.servers.master().url().replace("rediss://", "redis://");
    let client = ReplicatedClient::builder().master(url).deadline(DEADLINE).build().unwrap();
    let start = Instant::now();
    let error = client.set("k", "v").unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("speaks TLS on this port") && start.elapsed() < DEADLINE / 2, "{error}");
    // A server without TLS waits for the rest of a command.
    let plain = crate::support::set_with_key(0);
    let url = plain.master().url().replace("redis://", "rediss://");
    let builder = ReplicatedClient::builder().master(url).deadline(Duration::from_secs(2));
    let client = builder.tls_certificates(stage.authority.certificates(None)).build().unwrap();
    let error = client.set("k", "v").unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("perhaps this port does not speak TLS"), "{error}");
}

#[test]
fn one_bad_certificate_among_good_ones_fails_no_read() {
    let Some(stage) = Stage::new(3) else { return };
    let good = stage.authority.identity("good", "IP:127.0.0.1", Valid::Now);
    let expired = stage.authority.identity("expired", "IP:127.0.0.1", Valid::Before);
    let bad = stage.servers.replica(1);
    show(bad, &expired);
    for interval in [Duration::from_millis(100), Duration::ZERO] {
        let client = stage.builder().monitor_interval(interval).build().unwrap();
        let is_out = || client.snapshot().nodes.iter().any(|node| node.addr == bad.addr() && node.ejected);
        let (_, failed) = Load::run(&client, 4, |load| {
            wait_until("the node is ejected", is_out);
            load.flow(2000);
        });
        assert_eq!(failed, Vec::<String>::new());
        let snapshot = client.snapshot();
        let reason = snapshot.nodes.iter().find(|node| node.addr == bad.addr()).unwrap().reason.clone();
        assert!(reason.is_some_and(|reason| reason.contains("has expired")), "{snapshot}");
        if !interval.is_zero() {
            show(bad, &good);
            wait_until("the node is back", || !is_out());
            assert!(client.snapshot().nodes.iter().all(|node| node.reason.is_none()));
            show(bad, &expired);
        }
    }
}
