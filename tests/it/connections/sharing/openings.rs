//! Opening the connection that callers share: where it fails, calls go on with what they have.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redis_replicated::{ReadFrom, ReplicatedClient};

use super::{Crowd, LONG, MANY, assert_none_failed};
use crate::support::{Fake, never_answer, read_command, wait_until};

/// A master that answers on the connections it has, and no longer greets new ones once it is told so.
struct Aloof {
    fake: Fake,
    hangs: Arc<AtomicBool>,
    /// Connections that were not greeted.
    turned_away: Arc<AtomicUsize>,
}

impl Aloof {
    fn start() -> Self {
        let (hangs, turned_away) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_aloof, count) = (Arc::clone(&hangs), Arc::clone(&turned_away));
        let fake = Fake::raw(move |stream| {
            if is_aloof.load(Ordering::SeqCst) {
                count.fetch_add(1, Ordering::SeqCst);
                never_answer(stream);
            } else {
                answer(stream);
            }
        });
        Self { fake, hangs, turned_away }
    }
}

fn answer(mut output: TcpStream) {
    let mut input = BufReader::new(output.try_clone().unwrap());
    while let Some(words) = read_command(&mut input) {
        let reply: &[u8] = match words[0].as_str() {
            "HELLO" => b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n",
            "INCR" => {
                // Long enough for several calls to be under way.
                thread::sleep(Duration::from_millis(2));
                b":1\r\n"
            }
            _ => b"-ERR not here\r\n",
        };
        if output.write_all(reply).is_err() {
            return;
        }
    }
}

#[test]
fn calls_go_on_with_their_own_connections_where_no_shared_one_can_be_opened() {
    if std::env::var_os("REDIS_REPLICATED_SHARES_FROM").is_some() {
        println!("left out: with every call on a shared connection, the pool stays empty");
        return;
    }
    let aloof = Aloof::start();
    let builder = ReplicatedClient::builder().master(aloof.fake.url()).monitor_interval(Duration::ZERO);
    let builder = builder.pool_size(4).connect_timeout(Duration::from_millis(100)).response_timeout(LONG);
    let client = builder.read_from(ReadFrom::Master).deadline(LONG).build().unwrap();
    // As many as the pool has connections: too few to share.
    let ((), failed, _) = Crowd::run(
        4,
        |_| client.incr("n").map(drop),
        |crowd| {
            wait_until("the pool is open", || client.snapshot().nodes[0].connections_in_use == 4);
            crowd.flow();
        },
    );
    assert_none_failed(&failed);
    aloof.hangs.store(true, Ordering::SeqCst);
    let ((), failed, _) = Crowd::run(
        MANY,
        |_| client.incr("n").map(drop),
        |crowd| {
            wait_until("a shared connection is tried", || aloof.turned_away.load(Ordering::SeqCst) > 0);
            (0..10).for_each(|_| crowd.flow());
        },
    );
    assert_none_failed(&failed);
    let node = &client.snapshot().nodes[0];
    assert!(!node.ejected && node.failed == 0 && node.shared_connections == 0, "{node:?}");
}
