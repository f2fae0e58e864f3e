//! The last two minutes, second by second.

use std::collections::VecDeque;

use serde::Serialize;

use crate::stage::REPLICAS;

/// How many seconds are kept.
pub const SECONDS: usize = 120;
pub const NODES: usize = 1 + REPLICAS;

#[derive(Default)]
pub struct History {
    seconds: VecDeque<Second>,
    last: u64,
}

/// One second of the whole set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Second {
    /// Counts from 1.
    pub number: u64,
    /// Milliseconds since the start, at its end.
    pub at: u64,
    /// By node.
    pub reads: [u64; NODES],
    /// By node.
    pub writes: [u64; NODES],
    /// By node, in milliseconds; 0 without a call.
    pub p99: [f64; NODES],
    /// What callers waited for reads, in milliseconds.
    pub read_p50: f64,
    pub read_p99: f64,
    pub write_p99: f64,
    /// Calls that failed.
    pub failed: u64,
}

impl History {
    pub fn push(&mut self, second: Second) {
        self.last += 1;
        self.seconds.push_back(Second { number: self.last, ..second });
        if self.seconds.len() > SECONDS {
            self.seconds.pop_front();
        }
    }

    /// Returns the seconds after that one.
    pub fn after(&self, number: u64) -> Vec<Second> {
        self.seconds.iter().filter(|second| second.number > number).cloned().collect()
    }

    pub fn last(&self) -> Second {
        self.seconds.back().cloned().unwrap_or_default()
    }
}
