//! What is held at rest, always under the same load: it must not grow.

use std::fmt;

use super::sample::Held;

/// Between the first and the last quarter of the rests, memory may grow by this part and so many MiB: what allocators keep
/// depends on which threads met.
const GROWTH: f64 = 0.1;
const SLACK: f64 = 4.0;
/// With fewer rests, nothing is said about the growth of memory.
const FEWEST: usize = 8;

/// What is held at one rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) held: Held,
    /// The connections of the client that servers know.
    pub(super) connections: usize,
}

/// All rests. The first one is before any load.
#[derive(Clone, Debug, Default)]
pub(super) struct Rests(Vec<Rest>);

impl Rest {
    /// Returns how many descriptors are no connection: a socket that was closed by its server counts until it is dropped.
    pub(super) fn other_descriptors(&self) -> usize {
        self.held.descriptors.saturating_sub(self.connections)
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, descriptors) = (self.held.threads, self.held.descriptors);
        let memory = self.held.mebibytes();
        write!(f, "{threads} threads, {descriptors} descriptors for {} connections, {memory:.1} MiB", self.connections)
    }
}

impl Rests {
    pub(super) fn first(&self) -> Option<Rest> {
        self.0.first().copied()
    }

    pub(super) fn push(&mut self, rest: Rest) {
        self.0.push(rest);
    }

    /// Prints how much it grew; returns whether it is flat.
    pub(super) fn print(&self) -> bool {
        let Some((fresh, rests)) = self.0.split_first() else { return false };
        println!("  before any load: {fresh}");
        if let [first, .., last] = rests {
            println!("  first rest: {first}");
            println!("  last rest: {last}");
        }
        let quarter = rests.len() / 4;
        if rests.len() < FEWEST {
            println!("  {} rests: too few to say how memory grows", rests.len());
            return true;
        }
        let quarters = [&rests[..quarter], &rests[rests.len() - quarter..]];
        let of = |figure: fn(&Rest) -> f64| quarters.map(|rests| median(rests, figure));
        let threads = of(|rest| rest.held.threads as f64);
        let descriptors = of(|rest| rest.other_descriptors() as f64);
        let memory = of(|rest| rest.held.mebibytes());
        println!(
            "  {} rests, medians of the first and the last quarter: threads {} and {}, descriptors beside connections {} and {}, \
             RSS {:.1} and {:.1} MiB (at most + {:.0} % + {SLACK:.0} MiB)",
            rests.len(),
            threads[0],
            threads[1],
            descriptors[0],
            descriptors[1],
            memory[0],
            memory[1],
            100.0 * GROWTH
        );
        threads[0] == threads[1] && descriptors[0] == descriptors[1] && memory[1] <= memory[0] * (1.0 + GROWTH) + SLACK
    }
}

fn median(rests: &[Rest], figure: fn(&Rest) -> f64) -> f64 {
    let mut figures: Vec<f64> = rests.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
