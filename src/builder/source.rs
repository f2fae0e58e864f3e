//! The source of the nodes of a set: named one by one, or found by a provider.

use std::sync::Arc;

use crate::endpoint::{AddressMap, Endpoint, Manner, Place};
use crate::error::{Error, Result};
use crate::pool::{Limits, Network};
use crate::provider::{Discovery, Fixed, SentinelGroup};
use crate::replication::Role;
use crate::strategy::MOST_NODES;
use crate::topology::{Description, TopologyProvider};

/// The settings about the nodes.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) masters: Vec<Endpoint>,
    pub(super) replicas: Vec<Endpoint>,
    pub(super) seeds: Option<Vec<Endpoint>>,
    pub(super) sentinel: Option<(String, Vec<Endpoint>)>,
    pub(super) provider: Option<Arc<dyn TopologyProvider>>,
    pub(super) map: AddressMap,
    pub(super) manner: Manner,
}

/// A provider, and the description of the set before its first answer.
pub(super) struct Supply {
    pub(super) provider: Arc<dyn TopologyProvider>,
    pub(super) first: Description,
    /// The provider, if the nodes are named.
    pub(super) fixed: Option<Arc<Fixed>>,
    /// The answer of the provider may change.
    pub(super) asks_provider: bool,
    pub(super) manner: Manner,
    pub(super) map: AddressMap,
}

impl Source {
    pub(super) fn supply(self, limits: Limits, network: &Network) -> Result<Supply> {
        let network = network.clone();
        let is_named = !self.masters.is_empty() || !self.replicas.is_empty();
        let sources = [is_named, self.seeds.is_some(), self.sentinel.is_some(), self.provider.is_some()];
        if sources.into_iter().filter(|used| *used).count() > 1 {
            let text = "nodes from two sources: use either master() and replica(), or one of discover(), sentinel() and provider()";
            return Err(Error::config(text));
        }
        if is_named && (self.manner.login.is_some() || self.manner.tls.is_some()) {
            let text = "login and tls are for nodes that are found: those that are named by master() and replica() have them in their address";
            return Err(Error::config(text));
        }
        if let Some(mode) = self.manner.tls {
            network.tls.check_mode(mode)?;
        }
        let Self { masters, replicas, seeds, sentinel, provider, map, manner } = self;
        let found = |provider: Arc<dyn TopologyProvider>| {
            let (manner, map) = (manner.clone(), map.clone());
            Supply { provider, first: Description::new(), fixed: None, asks_provider: true, manner, map }
        };
        if let Some(seeds) = seeds {
            return Ok(found(Arc::new(Discovery::new(&seeds, manner.clone(), map.clone(), network, limits)?)));
        }
        if let Some((service, sentinels)) = sentinel {
            let group = SentinelGroup::new(service, &sentinels, map.clone(), network, limits.connect)?;
            return Ok(found(Arc::new(group)));
        }
        if let Some(provider) = provider {
            return Ok(found(provider));
        }
        let fixed = Arc::new(Fixed::new(named(masters, replicas)?, network.resolver, limits.connect));
        let (first, asks_provider) = (fixed.as_named(), fixed.has_names());
        let provider = Arc::<Fixed>::clone(&fixed);
        // The address of a named node contains its login and its TLS.
        Ok(Supply { provider, first, fixed: Some(fixed), asks_provider, manner: Manner::default(), map })
    }
}

/// Returns the nodes with their roles, the master first. Checks that they can form one set.
fn named(masters: Vec<Endpoint>, replicas: Vec<Endpoint>) -> Result<Vec<(Role, Endpoint)>> {
    match masters.len() {
        1 => {}
        0 => {
            return Err(Error::config(
                "no master: name it by master(), or have the set found by discover() or sentinel()",
            ));
        }
        count => return Err(Error::config(format!("{count} masters: a set has one"))),
    }
    let count = 1 + replicas.len();
    if count > MOST_NODES {
        return Err(Error::config(format!("{count} nodes: a set has at most {MOST_NODES}")));
    }
    let mut places: Vec<Place> = Vec::with_capacity(count);
    for endpoint in masters.iter().chain(&replicas) {
        let place = endpoint.place()?;
        if places.iter().any(|other| other.addr == place.addr) {
            return Err(Error::config("this node is named twice").on(&place.addr));
        }
        if places.iter().any(|other| other.database() != place.database()) {
            return Err(Error::config("this node is to use another database than the master").on(&place.addr));
        }
        places.push(place);
    }
    let roles = std::iter::once(Role::Master).chain(std::iter::repeat(Role::Replica));
    Ok(roles.zip(masters.into_iter().chain(replicas)).collect())
}
