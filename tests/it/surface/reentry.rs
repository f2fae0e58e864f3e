//! Observers that use the client, or end it, while they are told something.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use redis_replicated::ReplicatedClient;
use redis_replicated::observe::{Event, Interest, Observer};

use crate::support::{addrs, follow, promote, set_with_key, wait_until, wait_until_set_is};

/// Uses the client in each event, but not in those that this makes.
#[derive(Debug)]
struct Uses {
    interest: Interest,
    client: OnceLock<ReplicatedClient>,
    /// How long each use took, and what went wrong.
    uses: Mutex<Vec<(String, Duration, Option<String>)>>,
    /// There is no master: writes may fail.
    is_out: AtomicBool,
}

thread_local! {
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

impl Uses {
    fn of(interest: Interest) -> Arc<Self> {
        Arc::new(Self { interest, client: OnceLock::new(), uses: Mutex::default(), is_out: AtomicBool::new(false) })
    }

    /// Returns the uses that failed.
    fn failed(&self) -> Vec<(String, Duration, Option<String>)> {
        self.uses.lock().unwrap().iter().filter(|(_, _, error)| error.is_some()).cloned().collect()
    }

    fn has(&self, text: &str) -> bool {
        self.uses.lock().unwrap().iter().any(|(event, ..)| event.contains(text))
    }
}

impl Observer for Uses {
    fn observe(&self, event: &Event<'_>) {
        let Some(client) = self.client.get() else { return };
        let (text, began) = (format!("{event:?}"), Instant::now());
        if IS_BUSY.replace(true) {
            self.uses.lock().unwrap().push((text, Duration::ZERO, None));
            return;
        }
        let client = client.deadline(Duration::from_millis(800));
        let _ = client.snapshot();
        let mut error = client.set("by an observer", 1).err().map(|error| error.to_string());
        error = error.or(client.get::<Option<String>>("k").err().map(|error| error.to_string()));
        error = error.filter(|_| !self.is_out.load(Ordering::SeqCst));
        self.uses.lock().unwrap().push((text, began.elapsed(), error));
        IS_BUSY.set(false);
    }

    fn interest(&self) -> Interest {
        self.interest
    }
}

#[test]
fn an_observer_may_use_the_client_in_each_event() {
    let mut servers = set_with_key(2);
    let uses = Uses::of(Interest::ALL);
    let builder = servers.client_builder().pool_size(2).max_connecting(1).observer(Arc::clone(&uses));
    let client = builder.build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    uses.client.set(client.clone()).unwrap();
    let session = client.session();
    session.set("k", "v").unwrap();
    assert_eq!(session.get::<String>("k").unwrap(), "v");
    servers.replica_mut(1).stop();
    wait_until("the ejection is told", || uses.has("Ejected"));
    servers.replica_mut(1).restart().unwrap();
    wait_until("the return is told", || uses.has("Returned"));
    uses.is_out.store(true, Ordering::SeqCst);
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    wait_until("a write succeeds", || client.set("k", "w").is_ok());
    wait_until("the failover is told", || uses.has("Failover") && uses.has("WritesResumed"));
    for kind in ["Call", "Attempt", "Opened", "Closed", "Gauges", "Changed", "Proven"] {
        assert!(uses.has(kind), "{kind}");
    }
    assert!(uses.failed().is_empty(), "{:#?}", uses.failed());
}

#[test]
fn an_observer_may_use_the_client_while_a_connection_is_opened_or_closed() {
    let servers = set_with_key(0);
    let uses = Uses::of(Interest::CONNECTIONS);
    let builder = servers.client_builder().pool_size(2).max_connecting(1).shared_connections(0);
    let client = builder.observer(Arc::clone(&uses)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &[]);
    uses.client.set(client.clone()).unwrap();
    // It takes the other slot, while the first one is being filled.
    client.set("k", "v").unwrap();
    assert!(uses.has("Opened") && uses.failed().is_empty(), "{:#?}", uses.failed());
}

#[test]
fn an_observer_finds_the_slots_of_connections_that_end_with_their_generation() {
    let mut servers = set_with_key(0);
    let uses = Uses::of(Interest::CONNECTIONS);
    let builder = servers.client_builder().pool_size(1).shared_connections(0).observer(Arc::clone(&uses));
    let client = builder.monitor_interval(Duration::from_secs(60)).build().unwrap();
    client.set("k", "v").unwrap();
    uses.client.set(client.clone()).unwrap();
    // Another process: the idle connection is closed by the thread that finds that out.
    servers.master_mut().stop();
    servers.master_mut().restart().unwrap();
    client.refresh().unwrap();
    assert!(uses.has("Closed { reason: Unhealthy }"), "{:#?}", uses.uses);
    assert!(uses.failed().is_empty(), "{:#?}", uses.failed());
}

/// Ends the client with its last handle in the first event of a kind.
#[derive(Debug)]
struct Ends {
    interest: Interest,
    client: Mutex<Option<ReplicatedClient>>,
}

impl Observer for Ends {
    fn observe(&self, _: &Event<'_>) {
        let last = self.client.lock().unwrap().take();
        drop(last);
    }

    fn interest(&self) -> Interest {
        self.interest
    }
}

#[test]
fn an_observer_may_drop_the_last_handle() {
    let servers = set_with_key(1);
    for interest in [Interest::NODES, Interest::CALLS, Interest::ATTEMPTS, Interest::CONNECTIONS] {
        let ends = Arc::new(Ends { interest, client: Mutex::default() });
        let client = servers.client_builder().observer(Arc::clone(&ends)).build().unwrap();
        wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
        let routed = client.connection();
        *ends.client.lock().unwrap() = Some(client);
        let mut last = routed;
        let _: Option<String> = redis::cmd("GET").arg("k").query(&mut last).unwrap();
        drop(last);
        wait_until("the client has ended", || ends.client.lock().unwrap().is_none() && Arc::strong_count(&ends) == 1);
    }
}
