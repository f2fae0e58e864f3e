//! Strategies: which of the candidates serves a read.
//!
//! | strategy | picks | good for |
//! |---|---|---|
//! | [`PeakEwma`] (default) | the candidate that will probably answer first, by latency, requests in flight and weight | replicas of unequal or changing speed |
//! | [`RoundRobin`] | one after the other, exactly evenly | equal replicas |
//! | [`Random`] | any candidate, evenly in the long run | many processes that should not move in step |
//! | [`LeastOutstanding`] | the one with the fewest requests of this process in flight, for its weight | replicas of unequal speed |
//! | [`PowerOfTwoChoices`] | of two random candidates, the one with fewer requests of this process in flight, for its weight | the same, with very many threads or nodes |
//! | [`WeightedRoundRobin`] | one after the other, exactly by weight | replicas of known unequal size |
//! | [`Rendezvous`] | the same one for the same key | replicas that each keep a part of the keys in memory |
//! | [`LatencyWindow`] | by another strategy, among the near candidates | several zones or regions |
//! | [`ZoneAffinity`] | by another strategy, in the client's zone while that can serve | zones |
//!
//! Simulated with four replicas at 70 % load (`cargo bench --bench simulation`). Figures are p99 in ms unless stated otherwise:
//!
//! | | equal replicas | one 4 × slower | one stalls for 50 ms of 500 (p99.9) | one 1 ms away | one fails immediately: its share of the calls |
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
//! A strategy only sees candidates that are all acceptable: eligible by role and read preference, healthy, and not tried before
//! in this round of the call. So a strategy can be bad, but never unsafe.

mod contract;
mod dice;
mod latency_window;
mod least_outstanding;
mod load;
mod named;
mod peak_ewma;
mod power_of_two_choices;
mod random;
mod rendezvous;
mod round_robin;
mod turns;
mod weighted_round_robin;
mod zone_affinity;

pub(crate) use self::contract::MOST_NODES;
pub use self::contract::{Candidates, Strategy};
pub use self::latency_window::LatencyWindow;
pub use self::least_outstanding::LeastOutstanding;
pub(crate) use self::named::{by_name, names};
pub use self::peak_ewma::PeakEwma;
pub use self::power_of_two_choices::PowerOfTwoChoices;
pub use self::random::Random;
pub use self::rendezvous::Rendezvous;
pub use self::round_robin::RoundRobin;
pub use self::weighted_round_robin::WeightedRoundRobin;
pub use self::zone_affinity::ZoneAffinity;
