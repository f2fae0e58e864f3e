//! Settings of servers for unit tests.

use super::server::ServerSettings;
use crate::endpoint::AddressMap;
use crate::observe::Observers;
use crate::pool::{Housekeeping, Limits, Network, Resolver};

/// Makes servers whose names nobody can look up.
pub(crate) fn server_settings() -> ServerSettings {
    ServerSettings {
        limits: Limits::default(),
        client_name: None,
        housekeeping: Housekeeping::start().unwrap(),
        is_monitored: true,
        is_timed: true,
        network: Network::from(Resolver::with(|_| {
            loop {
                std::thread::park();
            }
        })),
        map: AddressMap::default(),
        lag_limit: None,
        observers: Observers::default(),
    }
}
