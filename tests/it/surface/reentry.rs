//! Observers that use the client, or end it, while they are told something.

use std::cell::Cell;
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
}

thread_local! {
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

impl Uses {
    fn of(interest: Interest) -> Arc<Self> {
        Arc::new(Self { interest, client: OnceLock::new(), uses: Mutex::default() })
    }

    fn slow(&self) -> Vec<(String, Duration, Option<String>)> {
        let uses = self.uses.lock().unwrap();
        uses.iter().filter(|(_, took, _)| *took > Duration::from_secs(2)).cloned().collect()
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
        let client = client.deadline(Duration::from_secs(4));
        let _ = client.snapshot();
        let mut error = client.set("by an observer", 1).err().map(|error| error.to_string());
        error = error.or(client.get::<String>("k").err().map(|error| error.to_string()));
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
    servers.master_mut().stop();
    promote(servers.replica(0));
    follow(servers.replica(1), servers.replica(0));
    wait_until("a write succeeds", || client.set("k", "w").is_ok());
    wait_until("the failover is told", || uses.has("Failover") && uses.has("WritesResumed"));
    for kind in ["Call", "Attempt", "Opened", "Closed", "Gauges", "Changed", "Proven"] {
        assert!(uses.has(kind), "{kind}");
    }
    assert!(uses.slow().is_empty(), "{:#?}", uses.slow());
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
    let told = uses.uses.lock().unwrap().clone();
    assert!(!told.is_empty() && told.iter().all(|(_, _, error)| error.is_none()), "{told:#?}");
    assert!(uses.slow().is_empty(), "{:#?}", uses.slow());
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
