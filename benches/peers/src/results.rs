//! The turns of all arms, and medians and ratios of them.

use std::collections::BTreeMap;

use crate::arm::Arm;
use crate::turn::Turn;

/// The turns, by callers and arm.
#[derive(Debug, Default)]
pub struct Results {
    turns: BTreeMap<(usize, Arm), Vec<Turn>>,
}

/// A figure of a turn.
pub type Figure = fn(&Turn) -> f64;

/// The ratio of two medians, and the least and the greatest ratio of turns of one round.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub of_medians: f64,
    pub least: f64,
    pub greatest: f64,
}

pub fn throughput(turn: &Turn) -> f64 {
    turn.calls_per_second
}

/// Of client and servers.
pub fn cpu(turn: &Turn) -> f64 {
    turn.client_cpu + turn.server_cpu
}

pub fn client_cpu(turn: &Turn) -> f64 {
    turn.client_cpu
}

pub fn server_cpu(turn: &Turn) -> f64 {
    turn.server_cpu
}

pub fn p50(turn: &Turn) -> f64 {
    turn.p50
}

pub fn p99(turn: &Turn) -> f64 {
    turn.p99
}

impl Results {
    pub fn add(&mut self, callers: usize, arm: Arm, turn: Turn) {
        self.turns.entry((callers, arm)).or_default().push(turn);
    }

    /// Forgets an arm that could not run to the end with so many callers.
    pub fn remove(&mut self, callers: usize, arm: Arm) {
        self.turns.remove(&(callers, arm));
    }

    pub fn has(&self, arm: Arm) -> bool {
        self.turns.keys().any(|(_, of)| *of == arm)
    }

    pub fn turns(&self, callers: usize, arm: Arm) -> &[Turn] {
        self.turns.get(&(callers, arm)).map_or(&[], Vec::as_slice)
    }

    /// Returns the median over the turns; `None` if there were none.
    pub fn median(&self, callers: usize, arm: Arm, figure: Figure) -> Option<f64> {
        let figures = self.turns(callers, arm).iter().map(figure);
        median(figures.collect())
    }

    /// Returns the turns of all arms.
    pub fn all(&self) -> Vec<&Turn> {
        self.turns.values().flatten().collect()
    }

    pub fn failed(&self, callers: usize, arm: Arm) -> u64 {
        self.turns(callers, arm).iter().map(|turn| turn.failed).sum()
    }

    pub fn ratio(&self, callers: usize, (a, b): (Arm, Arm), figure: Figure) -> Option<Ratio> {
        let of_medians = self.median(callers, a, figure)? / self.median(callers, b, figure)?;
        let rounds = self.turns(callers, a).iter().zip(self.turns(callers, b));
        let ratios: Vec<_> = rounds.map(|(a, b)| figure(a) / figure(b)).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        Some(Ratio { of_medians, least, greatest: ratios.into_iter().fold(0.0, f64::max) })
    }
}

pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { upper } else { (figures[middle - 1] + upper) / 2.0 })
}
