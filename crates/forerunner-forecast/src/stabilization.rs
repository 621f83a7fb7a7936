//! Stabilization window: the greatest need of the recent past, which keeps a pool from shrinking in a short lull.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Longest stabilization window, in seconds.
pub const MAX_STABILIZATION_S: f64 = 3600.0;

/// A sliding maximum over time.
///
/// Keeps only needs that a later, greater one has not made irrelevant (the monotonic queue), so adding and asking cost
/// constant time on average. Of needs that fall within a second only the first is stored, which bounds the length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlidingMaximum {
    /// Times and needs; times rise, needs fall.
    peaks: VecDeque<(f64, f64)>,
}

impl SlidingMaximum {
    /// More entries than the longest window has seconds.
    const MAX_ENTRIES: usize = 4096;

    /// Adds the need at time `t`, which never decreases.
    pub fn push(&mut self, t: f64, need: f64) {
        while self.peaks.back().is_some_and(|&(_, smaller)| smaller <= need) {
            self.peaks.pop_back();
        }
        if self.peaks.back().is_none_or(|&(at, _)| at <= t - 1.0) {
            self.peaks.push_back((t, need));
        }
        while self.peaks.len() > Self::MAX_ENTRIES
            || self.peaks.front().is_some_and(|&(at, _)| at < t - MAX_STABILIZATION_S)
        {
            self.peaks.pop_front();
        }
    }

    /// Drops needs from before `since`.
    pub fn forget_before(&mut self, since: f64) {
        while self.peaks.front().is_some_and(|&(at, _)| at < since) {
            self.peaks.pop_front();
        }
    }

    /// Greatest need that is not forgotten.
    pub fn greatest(&self) -> Option<f64> {
        self.peaks.front().map(|&(_, need)| need)
    }

    /// Greatest need since `since`, with its time; `None` if there was none.
    pub fn greatest_since(&self, since: f64) -> Option<(f64, f64)> {
        let first = self.peaks.partition_point(|&(at, _)| at < since);
        self.peaks.get(first).copied()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.peaks.len() <= Self::MAX_ENTRIES && self.peaks.iter().all(|(t, need)| t.is_finite() && need.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_need_of_the_window_counts() {
        let mut needs = SlidingMaximum::default();
        for (t, need) in [(0.0, 5.0), (1.0, 9.0), (2.0, 3.0), (3.0, 4.0)] {
            needs.push(t, need);
        }
        assert_eq!(needs.greatest_since(0.0), Some((1.0, 9.0)));
        assert_eq!(needs.greatest_since(1.5), Some((3.0, 4.0)));
        assert_eq!(needs.greatest_since(3.5), None);
    }

    #[test]
    fn old_needs_are_dropped() {
        let mut needs = SlidingMaximum::default();
        needs.push(0.0, 9.0);
        needs.push(MAX_STABILIZATION_S + 1.0, 1.0);
        assert_eq!(needs.greatest_since(0.0), Some((MAX_STABILIZATION_S + 1.0, 1.0)));
    }
}
