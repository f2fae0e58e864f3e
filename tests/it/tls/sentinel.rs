//! A failover that Sentinels make, all of it over TLS.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::TlsMode;
use redis_replicated::ReplicatedClient;
use redis_replicated::testing::Sentinels;

use super::Stage;
use crate::support::{Load, wait_until};

/// Ends the session's thread, also where the test fails: its scope would wait for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What a session's reads came to.
#[derive(Default)]
struct Reads {
    right: AtomicU64,
    wrong: AtomicU64,
    told: AtomicU64,
}

/// Counts up in a session of its own, and reads what it wrote, until it is stopped.
fn count(client: &ReplicatedClient, reads: &Reads, stop: &AtomicBool) {
    let session = client.session();
    let mut seen = 0;
    while !stop.load(Ordering::SeqCst) {
        if let Ok(written) = session.incr("n") {
            seen = written;
        }
        match session.get::<Option<i64>>("n") {
            Ok(value) if value.unwrap_or(0) >= seen => _ = reads.right.fetch_add(1, Ordering::SeqCst),
            Ok(_) => _ = reads.wrong.fetch_add(1, Ordering::SeqCst),
            // What was lost is told, and is not expected any more.
            Err(_) => {
                seen = 0;
                reads.told.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[test]
fn a_failover_fails_no_read_and_no_session_reads_wrongly() {
    let Some(mut stage) = Stage::new(2) else { return };
    let sentinels = Sentinels::start(&stage.servers, 3).unwrap();
    let builder = ReplicatedClient::builder().sentinel("main", sentinels.urls()).tls(TlsMode::Secure);
    let builder = builder.tls_certificates(stage.authority.certificates(None)).deadline(Duration::from_secs(20));
    let client = builder.build().unwrap();
    assert!(sentinels.urls().iter().all(|url| url.starts_with("rediss://")));
    client.set("n", 0).unwrap();
    let (reads, stop) = (Reads::default(), AtomicBool::new(false));
    let old = stage.servers.master().addr();
    let ((), failed) = std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| count(&client, &reads, &stop));
        Load::run(&client, 4, |load| {
            load.flow(500);
            stage.servers.master_mut().stop();
            // A busy machine may need a second vote; and who elected the new master knows it before the others do.
            let mut last = None;
            let mut writes = || client.set("w", 1).map_err(|error| last = Some(error)).is_ok();
            assert!((0..6).any(|_| writes()), "no write succeeded: {last:?}");
            wait_until("the Sentinels name another master", || sentinels.master().unwrap() != old);
            load.flow(2000);
            let before = reads.right.load(Ordering::SeqCst);
            wait_until("session reads flow", || reads.right.load(Ordering::SeqCst) > before + 50);
        })
    });
    let [right, wrong, told] = [&reads.right, &reads.wrong, &reads.told].map(|count| count.load(Ordering::SeqCst));
    println!("{} failed reads; session reads: {right} right, {wrong} wrong, {told} told", failed.len());
    assert_eq!((failed, wrong), (Vec::<String>::new(), 0));
}
