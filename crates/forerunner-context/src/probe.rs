//! How large a fresh base would be.

use crate::{Codec, Error, Frame, Snapshot};

/// A base is encoded for its size at least every this many turns.
const MAX_TURNS: u32 = 16;

/// Estimates the size of a fresh base for the compaction rule, by encoding one now and then.
///
/// Scaling the size of an old base instead costs up to three times the optimum: ratios improve as contexts grow. So a
/// base is encoded, and dropped, when the snapshot's size has changed by a quarter or after 16 turns; in between the
/// last one is scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaseProbe {
    frame_bytes: usize,
    snapshot_bytes: usize,
    turns: u32,
}

impl BaseProbe {
    /// Starts from a base that was written.
    pub fn new(base: &Frame, snapshot: &Snapshot) -> Self {
        Self { frame_bytes: base.as_bytes().len(), snapshot_bytes: snapshot.size_bytes(), turns: 0 }
    }

    /// Starts from the sizes in bytes of a base that is stored and of the snapshot that it yields.
    pub const fn of_sizes(frame_bytes: usize, snapshot_bytes: usize) -> Self {
        Self { frame_bytes, snapshot_bytes, turns: 0 }
    }

    /// Counts a turn and returns the size in bytes that a full frame of `next` would have.
    ///
    /// # Errors
    /// As [`Codec::full`], when a base is encoded.
    pub fn fresh_base_bytes(&mut self, codec: &Codec, next: &Snapshot) -> Result<usize, Error> {
        self.count_turn();
        if self.is_due(next.size_bytes()) {
            *self = Self::new(&codec.full(next)?, next);
        }
        Ok(self.estimate(next.size_bytes()))
    }

    /// Counts a turn, for callers that probe outside of the turn.
    pub const fn count_turn(&mut self) {
        self.turns += 1;
    }

    /// Returns the size in bytes that a full frame of a snapshot of `now_bytes` would have, by the last base.
    pub fn estimate(&self, now_bytes: usize) -> usize {
        let scale = now_bytes as f64 / self.snapshot_bytes.max(1) as f64;
        (self.frame_bytes as f64 * scale) as usize
    }

    /// Returns whether a base should be encoded: the estimate is from one that is too old or of another size.
    pub const fn is_due(&self, now_bytes: usize) -> bool {
        self.turns >= MAX_TURNS || now_bytes.abs_diff(self.snapshot_bytes) * 4 > self.snapshot_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A snapshot of `bytes` that do not pack well.
    fn snapshot(bytes: usize) -> Snapshot {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let mut snapshot = Snapshot::new();
        snapshot.push(&noise).unwrap();
        snapshot
    }

    #[test]
    fn a_base_is_encoded_when_the_size_changed_or_time_passed() {
        let codec = Codec::default();
        let first = snapshot(8_000);
        let written = BaseProbe::new(&codec.full(&first).unwrap(), &first);
        // A probe that is off by half shows whether it was replaced.
        let stale = BaseProbe { frame_bytes: written.frame_bytes / 2, ..written };
        let estimate =
            |bytes: usize, turns: u32| BaseProbe { turns, ..stale }.fresh_base_bytes(&codec, &snapshot(bytes)).unwrap();
        assert!(estimate(9_900, 0) < 5_000);
        assert!(estimate(6_100, 14) < 5_000);
        assert!(estimate(10_100, 0) > 10_000);
        assert!((5_900..6_000).contains(&estimate(5_900, 0)) || estimate(5_900, 0) > 5_900);
        assert!(estimate(8_000, 15) > 8_000);
    }
}
