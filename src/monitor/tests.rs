use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Monitor;
use crate::endpoint::{AddressMap, Manner};
use crate::error::{Error, Result};
use crate::pool::{Housekeeping, Limits, Network, Resolver};
use crate::topology::{Description, RefreshTrigger, ServerSettings, TopologyProvider, TopologyStore};

/// Counts how often it is asked, and keeps what it can fire.
#[derive(Debug, Default)]
struct Counting {
    asked: AtomicU32,
    trigger: parking_lot::Mutex<Option<RefreshTrigger>>,
}

impl TopologyProvider for Counting {
    fn describe(&self, _: Instant) -> Result<Description> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::topology("not yet")),
            _ => Ok(Description::new().master("127.0.0.1:1")),
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn watch(&self, trigger: RefreshTrigger) {
        *self.trigger.lock() = Some(trigger);
    }
}

fn monitor(interval: Duration) -> (Arc<Monitor>, Arc<Counting>) {
    let server_settings = ServerSettings {
        limits: Limits::default(),
        client_name: None,
        housekeeping: Housekeeping::start().unwrap(),
        is_monitored: !interval.is_zero(),
        is_timed: true,
        network: Network::from(Resolver::new()),
        map: AddressMap::default(),
        lag_limit: None,
        observers: crate::observe::Observers::default(),
    };
    let store = TopologyStore::new(&Description::new(), Manner::default(), server_settings, interval).unwrap();
    let provider = Arc::new(Counting::default());
    (Monitor::new(Arc::new(store), Arc::<Counting>::clone(&provider)), provider)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn with_an_interval_of_zero_a_fault_leads_to_one_round_and_the_worker_ends() {
    let (monitor, provider) = monitor(Duration::ZERO);
    monitor.start(true).unwrap();
    let runs = || monitor.state.lock().runs_since.is_some();
    assert!(!runs());
    monitor.suspect();
    monitor.suspect();
    wait_until("the round is over", || !runs());
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1, "the second fault came too soon after the first");
    assert!(monitor.failure().is_some() && provider.trigger.lock().is_none());
    monitor.state.lock().suspected = None;
    monitor.suspect();
    wait_until("the round is over", || !runs());
    assert_eq!(provider.asked.load(Ordering::SeqCst), 2);
    assert!(monitor.failure().is_none() && monitor.store.current().master().is_some());
}

#[test]
fn at_intervals_the_provider_is_asked_at_once_and_on_request_until_the_monitor_is_dropped() {
    let (monitor, provider) = monitor(Duration::from_secs(3600));
    monitor.start(true).unwrap();
    wait_until("it is asked", || provider.asked.load(Ordering::SeqCst) > 0);
    let trigger = provider.trigger.lock().clone().unwrap();
    monitor.ask_provider_at_intervals().unwrap();
    let server = || monitor.store.servers().first().cloned();
    wait_until("it is asked more often without a master", || server().is_some());
    let server = server().unwrap();
    wait_until("the node is asked", || monitor.store.has_asked_all_since(Instant::now() - Duration::from_secs(20)));
    assert!(trigger.is_alive() && !server.take_worker(), "it has one");
    drop(monitor);
    wait_until("the workers end", || !trigger.is_alive() && Arc::strong_count(&server) == 1);
}
