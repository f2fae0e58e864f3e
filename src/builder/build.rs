//! Checks the settings and makes the client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settings::{Builder, FallbackLimit};
use crate::call::{CallOptions, Router};
use crate::classification::Classifier;
use crate::client::{Options, ReplicatedClient, Shared};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, cannot_start};
use crate::observe::Observers;
use crate::pool::{Housekeeping, Limits, Network};
use crate::retry::Budget;
use crate::selection::{Permits, Selector};
use crate::topology::{ServerSettings, TopologyStore};

/// The longest time of a setting.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 86_400);
/// The largest `pool_size`. A server accepts 10 000 clients by default.
const LARGEST_POOL: u32 = 10_000;

impl Builder {
    /// Checks the settings and makes the client. Does not connect: nodes that are down neither make it fail nor delay it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), for
    ///
    /// - an address that cannot be read, no master, several masters, nodes from two sources, a node that is named twice, nodes
    ///   of different databases, or more than 64 nodes;
    /// - a login or a TLS mode for nodes that are named;
    /// - a size, limit or weight of zero, a limit of more than a year, or more than 10 000 connections to a node;
    /// - an unknown strategy, a command name that cannot be overridden, or a client name with spaces;
    /// - TLS without the feature or the crypto provider that it needs, or certificates that cannot be read;
    /// - a system that starts no thread.
    pub fn build(self) -> Result<ReplicatedClient> {
        self.check()?;
        let classifier = self.classifier()?;
        let network = Network { resolver: self.resolver, tls: self.tls.read()? };
        let supply = self.source.supply(self.limits, &network)?;
        let strategy = self.narrowing.around(self.strategy.made()?, self.limits.size);
        let observers = Observers::new(self.observers, self.slow_call);
        let server_settings = ServerSettings {
            limits: self.limits,
            client_name: self.client_name,
            network,
            housekeeping: Housekeeping::start().map_err(|cause| cannot_start(&cause))?,
            is_monitored: !self.monitor_interval.is_zero(),
            is_timed: strategy.needs_latency(),
            map: supply.map,
            lag_limit: self.lag_limit,
            observers: observers.clone(),
        };
        let limit = match self.fallback_limit {
            FallbackLimit::HalfOfPool => Some((self.limits.size / 2).max(1)),
            FallbackLimit::Fixed(limit) => Some(limit),
            FallbackLimit::Off => None,
        };
        let store = TopologyStore::new(&supply.first, supply.manner, server_settings, self.monitor_interval)?;
        let store = Arc::new(store);
        let monitor = Monitor::new(Arc::clone(&store), supply.provider);
        monitor.start(supply.asks_provider)?;
        let budget = Budget::new(Instant::now());
        let permits = Permits::new(limit, self.limits.checkout);
        let (session_mode, fixed) = (self.session_mode, supply.fixed);
        let selector = Selector { strategy, permits };
        let router = Router { store, monitor, classifier, selector, budget, observers };
        let shared = Shared { router, session_mode, fixed };
        let call = CallOptions { read_from: self.read_from, deadline: self.deadline };
        let options = Options { call, end: None, guarantees: None };
        Ok(ReplicatedClient { shared: Arc::new(shared), options })
    }

    fn classifier(&self) -> Result<Classifier> {
        self.overrides.iter().try_fold(Classifier::new(), |classifier, (command, class)| {
            classifier.with_override(command, *class).ok_or_else(|| {
                let command = command.escape_debug();
                Error::config(format!("classify: \"{command}\" cannot be declared a {class}: it takes one or two words, and a Cursor takes a known scan"))
            })
        })
    }

    fn check(&self) -> Result<()> {
        let Limits { size, connecting, connect, checkout, response, idle, shared, .. } = self.limits;
        let times = [
            ("connect_timeout", connect),
            ("checkout_timeout", checkout),
            ("response_timeout", response),
            ("idle_timeout", idle),
            ("lag_limit", self.lag_limit.unwrap_or(LONGEST_TIME)),
            ("slow_call", self.slow_call.unwrap_or(LONGEST_TIME)),
        ];
        let others = [("deadline", self.deadline), ("monitor_interval", self.monitor_interval)];
        if let Some((name, _)) = times.iter().chain(&others).find(|(_, time)| *time > LONGEST_TIME) {
            return Err(Error::config(format!("{name} is longer than a year")));
        }
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(Error::config(format!("{name} is 0: it has to be longer")));
        }
        if size > LARGEST_POOL {
            return Err(Error::config(format!("pool_size is {size}: at most {LARGEST_POOL} make sense")));
        }
        if shared > LARGEST_POOL {
            return Err(Error::config(format!("shared_connections is {shared}: at most {LARGEST_POOL} make sense")));
        }
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let is_short = !self.monitor_interval.is_zero() && self.monitor_interval < Duration::from_millis(10);
        let wrong = [
            (size == 0, "pool_size is 0: no call could ever get a connection"),
            (connecting == 0, "max_connecting is 0: no connection could ever be made"),
            (self.deadline <= Duration::from_millis(1), "deadline is 1 ms or less: no call could ever succeed"),
            (is_short, "monitor_interval is less than 10 ms: zero switches the monitor off"),
            (
                self.fallback_limit == FallbackLimit::Fixed(0),
                "fallback_limit is 0: ReadFrom::Replica keeps reads from the master",
            ),
            (
                !self.client_name.as_deref().is_none_or(is_name),
                "client_name is empty, or has spaces or special characters: Redis refuses that",
            ),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, text)) => Err(Error::config(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
