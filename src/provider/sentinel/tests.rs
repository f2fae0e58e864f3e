use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Answer, SentinelGroup};
use crate::endpoint::{AddressMap, Endpoint};
use crate::pool::Resolver;
use crate::provider::fake::{Fake, frozen, sentinel, start, wait_until};
use crate::replication::MOST_FOLLOWERS;
use crate::strategy::MOST_NODES;
use crate::topology::TopologyProvider;

const LIMIT: Duration = Duration::from_secs(1);

fn group(names: &[&str], port: u16, resolver: Resolver) -> SentinelGroup {
    let named: Vec<Endpoint> = names.iter().map(|name| Endpoint::from((*name, port))).collect();
    SentinelGroup::new("main".to_owned(), &named, AddressMap::default(), resolver.into(), LIMIT).unwrap()
}

/// The port of the master that the group names.
fn master(group: &SentinelGroup) -> Option<u16> {
    group.describe(Instant::now() + 10 * LIMIT).ok()?.master_addr()?.port()
}

fn addresses(of: &[Fake]) -> Vec<SocketAddr> {
    of.iter().map(|fake| fake.addr).collect()
}

#[test]
fn a_name_of_three_sentinels_is_three_the_first_of_which_may_be_frozen() {
    let fakes = start(vec![frozen(), sentinel(1, 4), sentinel(2, 5)]);
    let all = addresses(&fakes);
    let found = Arc::new(Mutex::new(all.clone()));
    let now = Arc::clone(&found);
    let resolver = Resolver::with(move |_| Ok(now.lock().clone()));
    let group = group(&["sentinels"], all[0].port(), resolver);
    wait_until("the highest epoch of all three counts", || master(&group) == Some(2));
    assert!(fakes.iter().all(|fake| fake.connections.load(Ordering::SeqCst) > 0), "all were asked");
    // Those that the name does not stand for any more are left out.
    *found.lock() = all[..2].to_vec();
    wait_until("they are looked up again", || {
        let _ = master(&group);
        group.sentinels.lock().len() == 2
    });
}

#[test]
fn a_name_whose_look_up_hangs_or_fails_delays_no_sentinel_that_answers() {
    let fakes = start(vec![sentinel(3, 1)]);
    let addr = fakes[0].addr;
    let resolver = Resolver::with(move |host| match host {
        "hanging" => loop {
            std::thread::park();
        },
        "unknown" => Err(io::Error::other("no such name")),
        _ => Ok(vec![addr]),
    });
    let group = group(&["hanging", "unknown", "known"], addr.port(), resolver.clone());
    let begun = Instant::now();
    assert_eq!(master(&group), Some(3));
    assert!(begun.elapsed() < 5 * LIMIT, "half of the time that it may take, at most");
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(master(&group), Some(3));
        assert!(begun.elapsed() < LIMIT, "the one that hangs is not waited for");
    }
}

#[test]
fn what_is_wrong_with_the_names_is_said() {
    let resolver = Resolver::with(|_| Err(io::Error::other("no such name")));
    let error = group(&["sentinels"], 7, resolver).describe(Instant::now() + LIMIT).unwrap_err();
    assert_eq!(error.node().unwrap().to_string(), "sentinels:7");
    assert!(error.as_redis().unwrap().to_string().contains("no such name"), "{error:?}");
}

#[test]
fn what_sentinels_named_is_not_remembered_without_end() {
    let group = group(&["127.0.0.1"], 1, Resolver::new());
    for index in 0..2000 {
        // Rights may keep it from listing the replicas, so that none of those that were named before is forgotten for that.
        let master = [format!("host-{index}"), "1".to_owned()];
        let master = master.map(|text| redis::Value::BulkString(text.into_bytes())).to_vec();
        let answer = Answer::read(&[Ok(redis::Value::Array(master))]).unwrap();
        assert!(group.remember(&answer, Instant::now()).unwrap().len() < MOST_NODES);
    }
    let memory = group.memory.lock();
    assert_eq!(memory.named.len(), MOST_FOLLOWERS);
    assert_eq!(memory.named.last().unwrap().0.host(), Some("host-1999"));
}
