//! The strategies by their names in a configuration.

use super::contract::Strategy;
use super::least_outstanding::LeastOutstanding;
use super::peak_ewma::PeakEwma;
use super::power_of_two_choices::PowerOfTwoChoices;
use super::random::Random;
use super::rendezvous::Rendezvous;
use super::round_robin::RoundRobin;
use super::weighted_round_robin::WeightedRoundRobin;
use crate::spelling::alike;

/// The names of the strategies in [`Config`](crate::Config).
pub(crate) const NAMES: [&str; 7] = [
    "peak_ewma",
    "round_robin",
    "random",
    "least_outstanding",
    "power_of_two_choices",
    "weighted_round_robin",
    "rendezvous",
];

/// Makes the strategy of a name in [`NAMES`], in any spelling. Without a seed, it seeds itself at random.
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
