//! Sums that forget: what happened in about the last hour and the last four.

use serde::{Deserialize, Serialize};

use crate::rate::sane;

/// Time constants, in seconds.
pub(crate) const WINDOWS_S: [f64; 2] = [3600.0, 14_400.0];

/// How much of a sum is left after `dt` seconds, for each window.
pub(crate) fn keep(dt: f64) -> [f64; 2] {
    WINDOWS_S.map(|tau_s| (-dt.max(0.0) / tau_s).exp())
}

/// One decayed sum a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums([f64; 2]);

impl Sums {
    /// Forgets by `keep` and adds `more`.
    pub fn add(&mut self, keep: [f64; 2], more: f64) {
        for (sum, keep) in self.0.iter_mut().zip(keep) {
            *sum = sane(*sum * keep + more).max(0.0);
        }
    }

    /// Sum of the shorter window.
    pub fn short(&self) -> f64 {
        self.0[0]
    }

    /// Sum of the longer window.
    pub fn long(&self) -> f64 {
        self.0[1]
    }

    pub fn is_sound(&self) -> bool {
        self.0.iter().all(|sum| sum.is_finite() && *sum >= 0.0)
    }
}

/// What a rule would have cost, and how many tasks it would have started late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub cost_s: Sums,
    pub late: Sums,
}
