//! Kept handles of one metric, by what differs between their series.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use arc_swap::ArcSwap;

use super::labels::Labels;
use crate::hash::mix;

/// What differs between the series of one metric.
pub(super) trait SeriesKey: Copy + Debug + Eq + Hash {
    /// What records values.
    type Handle: Clone + Debug;
    /// The most series that are kept beside those of [`shortened`](Self::shortened) keys.
    const MOST: usize;

    /// Returns one of few keys, under which values are recorded when there are too many series.
    fn shortened(self) -> Self;

    /// Registers the series.
    fn register(self, labels: &Labels) -> Self::Handle;
}

/// Kept handles. Whoever uses one that is there only reads: no lock, no allocation.
#[derive(Debug)]
pub(super) struct Family<K: SeriesKey> {
    labels: Labels,
    kept: ArcSwap<Kept<K>>,
}

type Kept<K> = HashMap<K, <K as SeriesKey>::Handle, BuildHasherDefault<KeyHasher>>;

impl<K: SeriesKey> Family<K> {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, kept: ArcSwap::default() }
    }

    /// Uses the handle of this series.
    #[inline]
    pub(super) fn with(&self, key: K, record: impl FnOnce(&K::Handle)) {
        if let Some(handle) = self.kept.load().get(&key) {
            return record(handle);
        }
        record(&self.add(key));
    }

    #[cold]
    fn add(&self, key: K) -> K::Handle {
        let kept = self.kept.load_full();
        let is_full = kept.len() >= K::MOST;
        let key = if is_full { key.shortened() } else { key };
        if let Some(handle) = kept.get(&key) {
            return handle.clone();
        }
        // No lock is held: a recorder may use the client.
        let handle = key.register(&self.labels);
        self.kept.rcu(|kept| {
            let mut kept = Kept::<K>::clone(kept);
            // Others may have filled it. Then the series is registered again next time.
            if is_full || kept.len() < K::MOST {
                kept.insert(key, handle.clone());
            }
            kept
        });
        handle
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.load().len()
    }
}

/// Hashes keys of a few words. What is hashed comes from this crate, so nobody can choose keys that collide.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl KeyHasher {
    fn feed(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for KeyHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.feed(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.feed(byte.into());
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.feed(word);
    }

    #[inline]
    fn write_isize(&mut self, word: isize) {
        self.feed(word.cast_unsigned() as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        mix(self.0)
    }
}
