//! The strategy of a client, and the candidates from which it picks.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::strategy::{self, LatencyWindow, Strategy, ZoneAffinity};

/// A strategy, or the name of one, which [`Builder::build`](crate::Builder::build) resolves.
#[derive(Debug)]
pub(super) enum Chosen {
    Made(Box<dyn Strategy>),
    Named { name: String, seed: Option<u64> },
}

/// The limits to the candidates from which the strategy picks.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    pub(super) zone: Option<String>,
    pub(super) window: Option<Duration>,
}

impl Chosen {
    /// Returns the strategy.
    pub(super) fn made(self) -> Result<Box<dyn Strategy>> {
        match self {
            Self::Made(strategy) => Ok(strategy),
            Self::Named { name, seed } => named(&name, seed),
        }
    }
}

impl Narrowing {
    /// Wraps the strategy: first the zone, then the near nodes of the zone.
    pub(super) fn around(self, strategy: Box<dyn Strategy>, pool_size: u32) -> Box<dyn Strategy> {
        let near: Box<dyn Strategy> = match self.window {
            Some(window) => Box::new(LatencyWindow::new(strategy).within(window)),
            None => strategy,
        };
        match self.zone {
            Some(zone) => Box::new(ZoneAffinity::new(zone, near).saturated_at(pool_size)),
            None => near,
        }
    }
}

fn named(name: &str, seed: Option<u64>) -> Result<Box<dyn Strategy>> {
    strategy::by_name(name, seed).ok_or_else(|| {
        let (name, known) = (name.escape_debug(), strategy::names().join(", "));
        Error::config(format!("unknown strategy \"{name}\": expected one of {known}"))
    })
}
