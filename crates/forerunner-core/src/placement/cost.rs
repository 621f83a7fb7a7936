//! What a placement costs, in seconds.

use serde::{Deserialize, Serialize};

/// The time to restore a context into an agent: a fixed part, and one that grows with the missing bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RestoreCost {
    /// Seconds of any restore, however small.
    pub fixed_s: f64,
    /// Seconds for each byte.
    pub s_per_byte: f64,
}

impl RestoreCost {
    /// Seconds to restore so many bytes; 0 for none.
    pub fn seconds(&self, bytes: u64) -> f64 {
        if bytes == 0 { 0.0 } else { self.fixed_s + bytes as f64 * self.s_per_byte }
    }
}

/// What is known of a pool's pace: measured, not set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The cost of restoring.
    pub restore: RestoreCost,
    /// Mean seconds of a task on its agent.
    pub service_s: f64,
    /// Mean seconds from one use of a context to the next.
    pub return_s: f64,
}

impl Default for Rates {
    /// Nothing is known yet: restoring is free, and every context counts as used again.
    fn default() -> Self {
        Self { restore: RestoreCost::default(), service_s: 0.0, return_s: f64::INFINITY }
    }
}

impl Rates {
    /// Share of a context's value `age_s` after its last use, from 1 to 0: `1 ÷ (1 + age ÷ return)`.
    ///
    /// Times between two uses have heavy tails: most are seconds, some are a lunch break. Under a Lomax distribution of
    /// shape 1 (Lomax 1954) with scale `return_s` this is the probability that a context has not been used again by
    /// then.
    pub fn freshness(&self, age_s: f64) -> f64 {
        1.0 / (1.0 + age_s / self.return_s)
    }

    /// Chance that a context last used `age_s` ago is asked for within the time of one task: under the same distribution,
    /// `service ÷ (service + age + return)`.
    pub fn chance(&self, age_s: f64) -> f64 {
        if self.service_s == 0.0 { 0.0 } else { self.service_s / (self.service_s + age_s + self.return_s) }
    }

    /// Expected seconds until a task ends that has run for `ran_s`, by the mean.
    ///
    /// Never less than 0.3 of the mean: a task that has outlived the mean is a long one.
    pub fn remaining_s(&self, ran_s: f64) -> f64 {
        (self.service_s - ran_s).max(0.3 * self.service_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_costs_nothing() {
        let rates = Rates::default();
        assert_eq!((rates.restore.seconds(1 << 30), rates.freshness(1e9), rates.remaining_s(3.0)), (0.0, 1.0, 0.0));
        assert_eq!(rates.chance(0.0), 0.0);
    }

    #[test]
    fn nothing_missing_costs_nothing_and_age_takes_worth_away() {
        let rates =
            Rates { restore: RestoreCost { fixed_s: 0.005, s_per_byte: 2e-6 }, service_s: 10.0, return_s: 60.0 };
        assert_eq!(rates.restore.seconds(0), 0.0);
        assert!((rates.restore.seconds(500_000) - 1.005).abs() < 1e-12);
        assert_eq!((rates.freshness(0.0), rates.freshness(60.0), rates.freshness(180.0)), (1.0, 0.5, 0.25));
        assert_eq!((rates.chance(0.0), rates.chance(70.0)), (1.0 / 7.0, 1.0 / 14.0));
        assert_eq!((rates.remaining_s(2.0), rates.remaining_s(50.0)), (8.0, 3.0));
    }
}
