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

/// Makes a strategy: of this seed, or of a random one.
type Make = fn(Option<u64>) -> Box<dyn Strategy>;

/// The names of the strategies in [`Config`](crate::Config), and how each is made.
const STRATEGIES: [(&str, Make); 7] = [
    ("peak_ewma", |seed| Box::new(seed.map_or_else(PeakEwma::new, PeakEwma::seeded))),
    ("round_robin", |seed| Box::new(seed.map_or_else(RoundRobin::new, RoundRobin::seeded))),
    ("random", |seed| Box::new(seed.map_or_else(Random::new, Random::seeded))),
    ("least_outstanding", |seed| Box::new(seed.map_or_else(LeastOutstanding::new, LeastOutstanding::seeded))),
    ("power_of_two_choices", |seed| Box::new(seed.map_or_else(PowerOfTwoChoices::new, PowerOfTwoChoices::seeded))),
    ("weighted_round_robin", |seed| Box::new(seed.map_or_else(WeightedRoundRobin::new, WeightedRoundRobin::seeded))),
    ("rendezvous", |seed| Box::new(seed.map_or_else(Rendezvous::new, Rendezvous::seeded))),
];

/// Returns the names of the strategies in [`Config`](crate::Config).
pub(crate) fn names() -> [&'static str; STRATEGIES.len()] {
    STRATEGIES.map(|(name, _)| name)
}

/// Makes the strategy of this name, in any spelling. Without a seed, it seeds itself at random.
pub(crate) fn by_name(name: &str, seed: Option<u64>) -> Option<Box<dyn Strategy>> {
    STRATEGIES.iter().find(|(known, _)| alike(known, name)).map(|(_, make)| make(seed))
}
