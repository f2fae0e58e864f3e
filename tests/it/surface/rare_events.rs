//! Rare events, as observers are told them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis_replicated::observe::{Event, Interest, NodeChange, Observer, TopologyChange};
use redis_replicated::{Description, Error, NodeAddr, ReplicatedClient, Result, SyncState, TopologyProvider};

use crate::support::{addrs, follow_port, set_with_key, wait_until, wait_until_set_is};

/// Keeps sync states, and why the set could not be described.
#[derive(Debug, Default)]
struct Rare {
    sync_states: Mutex<Vec<(NodeAddr, SyncState)>>,
    failures: Mutex<Vec<String>>,
}

impl Observer for Rare {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Node(node) => {
                if let NodeChange::SyncState(state) = node.change() {
                    self.sync_states.lock().unwrap().push((node.node().clone(), state));
                }
            }
            Event::Topology(topology) => {
                if let TopologyChange::ProviderFailed { error, .. } = topology.change() {
                    self.failures.lock().unwrap().push(error.to_string());
                }
            }
            _ => {}
        }
    }

    fn interest(&self) -> Interest {
        Interest::NODES | Interest::TOPOLOGY
    }
}

/// Knows nothing.
#[derive(Debug)]
struct Clueless;

impl TopologyProvider for Clueless {
    fn describe(&self, _: Instant) -> Result<Description> {
        Err(Error::topology("no idea, on purpose"))
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(10)
    }
}

#[test]
fn a_provider_that_fails_is_told_once() {
    let rare = Arc::new(Rare::default());
    let client = ReplicatedClient::builder().provider(Clueless).observer(Arc::clone(&rare)).build().unwrap();
    wait_until("it is told", || !rare.failures.lock().unwrap().is_empty());
    // Each of these asks the provider once more.
    (0..5).for_each(|_| assert!(client.refresh().is_err()));
    let told = rare.failures.lock().unwrap();
    assert!(told.len() == 1 && told[0].contains("no idea"), "{told:?}");
}

#[test]
fn a_link_that_is_down_is_told_once_and_its_return() {
    let servers = set_with_key(1);
    let rare = Arc::new(Rare::default());
    let client = servers.client_builder().observer(Arc::clone(&rare)).build().unwrap();
    wait_until_set_is(&client, &servers.master().addr(), &addrs(servers.replicas()));
    let replica = servers.replica(0).addr();
    follow_port(servers.replica(0), 1);
    let told = || rare.sync_states.lock().unwrap().clone();
    wait_until("it is told", || told().contains(&(replica.clone(), SyncState::LinkDown)));
    follow_port(servers.replica(0), servers.master().addr().port().unwrap());
    wait_until("its return is told", || told().last() == Some(&(replica.clone(), SyncState::InSync)));
    assert_eq!(told().iter().filter(|(_, state)| *state == SyncState::LinkDown).count(), 1, "{:?}", told());
}
