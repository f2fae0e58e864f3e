//! Random numbers of a simulation: the same seed gives the same sequence.

/// A SplitMix64 generator.
pub struct Random(u64);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Returns a number of the exponential distribution of this mean, as between the arrivals of strangers.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        // In (0, 1]: the logarithm of 0 is none.
        let unit = ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -mean * unit.ln()
    }
}
