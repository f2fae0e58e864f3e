//! The strategies that are compared, and what they are told.

use redis_replicated::strategy::{
    LatencyWindow, LeastOutstanding, PeakEwma, PowerOfTwoChoices, Random, Rendezvous, RoundRobin, Strategy,
    WeightedRoundRobin, ZoneAffinity,
};

use super::scenario::{HOME, MS, nanos};

/// A strategy with the name under which its figures are printed.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    pub name: &'static str,
    /// Makes one from a seed.
    pub make: fn(u64) -> Box<dyn Strategy>,
    pub weights: Weights,
}

/// What the nodes of an arm weigh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weights {
    /// All the same: nobody knows which server is slow.
    Equal,
    /// As much as their servers can do: somebody has measured it before.
    Speed,
}

pub const ARMS: [Arm; 9] = [
    arm("RoundRobin", |seed| Box::new(RoundRobin::seeded(seed))),
    arm("Random", |seed| Box::new(Random::seeded(seed))),
    arm("LeastOutstanding", |seed| Box::new(LeastOutstanding::seeded(seed))),
    arm("PowerOfTwoChoices", |seed| Box::new(PowerOfTwoChoices::seeded(seed))),
    arm("PeakEwma", |seed| Box::new(PeakEwma::seeded(seed))),
    Arm { weights: Weights::Speed, ..arm("WeightedRoundRobin", |seed| Box::new(WeightedRoundRobin::seeded(seed))) },
    arm("Rendezvous", |seed| Box::new(Rendezvous::seeded(seed))),
    // Half of the way to the far zone.
    arm("LatencyWindow<PeakEwma>", |seed| Box::new(LatencyWindow::new(PeakEwma::seeded(seed)).within(nanos(MS / 2)))),
    arm("ZoneAffinity<PeakEwma>", |seed| Box::new(ZoneAffinity::new(HOME, PeakEwma::seeded(seed)))),
];

const fn arm(name: &'static str, make: fn(u64) -> Box<dyn Strategy>) -> Arm {
    Arm { name, make, weights: Weights::Equal }
}
