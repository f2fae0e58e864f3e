//! Strategies: which of the acceptable nodes serves a read.
//!
//! | strategy | picks | good for |
//! |---|---|---|
//! | [`PeakEwma`] (default) | the one that is likely to answer soonest, by latency, requests in flight and weight | replicas of unequal or changing speed |
//! | [`RoundRobin`] | one after the other, exactly even | equal replicas |
//! | [`Random`] | any, evenly in the long run | many processes that should not move in step |
//! | [`LeastOutstanding`] | the one with the fewest requests of this process in flight, for its weight | replicas of unequal speed |
//! | [`PowerOfTwoChoices`] | the better of two drawn at random, in the same sense | the same, with very many threads or nodes |
//! | [`WeightedRoundRobin`] | one after the other, the heavier ones more often, exactly by weight | replicas of known unequal size |
//! | [`Rendezvous`] | the same one for the same key | replicas that each hold a part of the keys in memory |
//! | [`LatencyWindow`] | by another strategy, among the near ones | several zones or regions |
//! | [`ZoneAffinity`] | by another strategy, in one's own zone while that can serve | zones |
//!
//! Simulated, four replicas at 70 % load, p99 in ms where nothing else is said (`cargo bench --bench simulation`):
//!
//! | | equal replicas | one 4 × slower | one stalls for 50 ms of 500 (p99.9) | one 1 ms away | one fails at once: calls that it gets |
//! |---|---|---|---|---|---|
//! | PeakEwma | 0.296 | 0.554 | 1.066 | 1.109 | 0.003 % |
//! | RoundRobin | 0.318 | overload | 49.6 | 1.255 | 25 % |
//! | Random | 0.420 | overload | 49.7 | 1.320 | 24.9 % |
//! | LeastOutstanding | 0.289 | 1.249 | 0.613 | 1.150 | 29.8 % |
//! | PowerOfTwoChoices | 0.307 | 1.530 | 0.682 | 1.157 | 28.6 % |
//! | WeightedRoundRobin, told the speeds | 0.318 | 0.874 | 49.6 | 1.255 | 25 % |
//! | Rendezvous | 0.412 | overload | 49.5 | 1.311 | 24.7 % |
//! | LatencyWindow, ZoneAffinity of PeakEwma | 0.296 | 0.554, 0.555 | 1.045, 0.713 | 0.761, 0.683 | 0.003, 0.070 % |
//!
//! A strategy only ever sees candidates that are all acceptable: eligible by role and read preference, healthy, not
//! tried before in this round of the call. So a strategy can be bad, but never unsafe.

use std::fmt;
use std::sync::Arc;

use crate::node::Node;
use crate::spelling::alike;

mod candidates;
mod dice;
mod latency_window;
mod least_outstanding;
mod load;
mod peak_ewma;
mod power_of_two_choices;
mod random;
mod rendezvous;
mod round_robin;
mod weighted_round_robin;
mod zone_affinity;

pub use self::candidates::Candidates;
pub(crate) use self::candidates::MOST_NODES;
pub use self::latency_window::LatencyWindow;
pub use self::least_outstanding::LeastOutstanding;
pub use self::peak_ewma::PeakEwma;
pub use self::power_of_two_choices::PowerOfTwoChoices;
pub use self::random::Random;
pub use self::rendezvous::Rendezvous;
pub use self::round_robin::RoundRobin;
pub use self::weighted_round_robin::WeightedRoundRobin;
pub use self::zone_affinity::ZoneAffinity;

/// Chooses the node for one attempt of a read.
///
/// Runs on the caller's thread, on every read: no I/O, no blocking lock, no allocation. The feature `testing` has a suite
/// for strategies of your own: `testing::strategy_conformance`.
///
/// ```
/// use redis_replicated::strategy::{Candidates, Random, Strategy};
/// use redis_replicated::Node;
///
/// /// Prefers the own zone; leaves the choice among several nodes to another strategy.
/// #[derive(Debug)]
/// struct ZoneFirst(&'static str, Random);
///
/// impl Strategy for ZoneFirst {
///     fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
///         let local = candidates.narrow(|node| node.zone() == Some(self.0));
///         self.1.pick(local.as_ref().unwrap_or(candidates))
///     }
/// }
/// ```
pub trait Strategy: fmt::Debug + Send + Sync + 'static {
    /// Returns the node to try; asked again, without that node, if the attempt fails.
    ///
    /// Not called where there is only one candidate. A node that is not one of the candidates is not used: the first
    /// candidate is taken instead.
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node;

    /// Tells whether it goes by [`Node::latency_at`]: then one call in four is timed, and every one that comes a millisecond or
    /// more after the last; else one in eight. Default: yes.
    fn needs_latency(&self) -> bool {
        true
    }
}

impl<S: Strategy + ?Sized> Strategy for Box<S> {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        (**self).pick(candidates)
    }

    fn needs_latency(&self) -> bool {
        (**self).needs_latency()
    }
}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn pick<'a>(&self, candidates: &Candidates<'a>) -> &'a Node {
        (**self).pick(candidates)
    }

    fn needs_latency(&self) -> bool {
        (**self).needs_latency()
    }
}

/// The names under which [`Config`](crate::Config) knows the strategies.
pub(crate) const NAMES: [&str; 7] = [
    "peak_ewma",
    "round_robin",
    "random",
    "least_outstanding",
    "power_of_two_choices",
    "weighted_round_robin",
    "rendezvous",
];

/// Makes a strategy by its name in [`NAMES`]; seeded, if a seed is given.
pub(crate) fn by_name(name: &str, seed: Option<u64>) -> Option<Box<dyn Strategy>> {
    let name = NAMES.into_iter().find(|known| alike(known, name))?;
    Some(match name {
        "peak_ewma" => Box::new(seed.map_or_else(PeakEwma::new, PeakEwma::seeded)),
        "round_robin" => Box::new(seed.map_or_else(RoundRobin::new, RoundRobin::seeded)),
        "random" => Box::new(seed.map_or_else(Random::new, Random::seeded)),
        "least_outstanding" => Box::new(seed.map_or_else(LeastOutstanding::new, LeastOutstanding::seeded)),
        "power_of_two_choices" => Box::new(seed.map_or_else(PowerOfTwoChoices::new, PowerOfTwoChoices::seeded)),
        "weighted_round_robin" => Box::new(seed.map_or_else(WeightedRoundRobin::new, WeightedRoundRobin::seeded)),
        "rendezvous" => Box::new(seed.map_or_else(Rendezvous::new, Rendezvous::seeded)),
        _ => return None,
    })
}
