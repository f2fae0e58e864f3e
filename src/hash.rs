//! Hashes that stay what they are: the same on every machine and in every version of this crate.

use std::fmt;

/// FNV-1a with 64 bits.
#[derive(Debug)]
pub(crate) struct Fnv(u64);

impl Fnv {
    /// Hashes `bytes`.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut hash = Self::default();
        hash.feed(bytes);
        hash.0
    }

    /// Hashes the text of `value`, without making it.
    pub(crate) fn of_text(value: &impl fmt::Display) -> u64 {
        let mut hash = Self::default();
        // Feeding cannot fail.
        let _ = fmt::write(&mut hash, format_args!("{value}"));
        hash.0
    }

    #[inline]
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.feed(text.as_bytes());
        Ok(())
    }
}

/// Spreads every bit of `bits` over all of them: the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
#[inline]
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Fnv, mix};

    #[test]
    fn hashes_are_those_of_the_published_tests() {
        assert_eq!(Fnv::of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::of(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::of(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(Fnv::of_text(&"foobar"), Fnv::of(b"foobar"));
        // The first number of SplitMix64 with the seed 0.
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }
}
