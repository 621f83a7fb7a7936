//! Maps whose keys are ids.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map by task, agent or node id, or by the name of a configured pool. Its hash is a few multiplications: no stranger
/// chooses such keys, so nobody can make them collide.
pub type IdMap<K, V> = HashMap<K, V, IdState>;

/// Builds [`IdHasher`]s.
pub type IdState = BuildHasherDefault<IdHasher>;

/// Hashes ids and other short keys that no stranger chooses, eight bytes a multiplication.
#[derive(Debug, Default, Clone)]
pub struct IdHasher(u64);

impl IdHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        /// Odd, with its ones well spread: 2^64 divided by the golden ratio (Knuth, TAOCP 3, §6.4).
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ word) * u128::from(SPREAD);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for IdHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // Ids are whole words, so the rest costs them nothing.
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_usize(&mut self, _length: usize) {
        // The length of an id never differs, so it adds nothing.
    }
}
