//! Random numbers for many threads at once, without a lock: the same seed gives the same sequence.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash::mix;
use crate::lanes::Lanes;

/// A SplitMix64 generator whose state is one atomic counter. The generators of `rand` need `&mut`, and so a lock. Each lane of
/// threads has a counter; with a seed, all threads share one, and so one sequence.
pub(super) struct Dice(Lanes<AtomicU64>);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Default for Dice {
    /// Seeded at random.
    fn default() -> Self {
        Self(Lanes::new(|_| AtomicU64::new(rand::random())))
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where a sequence is says nothing to a reader.
        f.debug_struct("Dice").finish_non_exhaustive()
    }
}

impl Dice {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(Lanes::new(|_| AtomicU64::new(seed)).shared())
    }

    /// Returns a number below `sides`, each with the same probability; 0 if there are no sides.
    pub(super) fn roll(&self, sides: usize) -> usize {
        let bits = mix(self.0.own().fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP));
        // The high half of the product: even to one part in 2^52 for the 64 × 63 pairs of nodes.
        ((u128::from(bits) * sides as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_rolls_the_same_numbers_evenly() {
        let (a, b) = (Dice::seeded(7), Dice::seeded(7));
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            let rolled = a.roll(5);
            assert_eq!(rolled, b.roll(5));
            counts[rolled] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!(a.roll(1), 0);
    }
}
