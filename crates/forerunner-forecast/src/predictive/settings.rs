//! What can be set about the predictive policy, and rarely should be.

use serde::{Deserialize, Serialize};

use crate::{Error, hold::MAX_HOLD_S, window::DEFAULT_WINDOW_S};

/// Settings of [`Predictive`](crate::Predictive). The defaults are meant to be left alone: the objective is what an operator sets.
///
/// Margin and hold are two ways to buy punctuality. Measured on recorded loads without bursts, at cold starts of 2 to 30 s,
/// margin is the cheaper one: 0.9 times the quantile held for 5 s has 0.7 % late tasks, 0.6 times held for 90 s has 1.1 %
/// and costs a tenth more. So the hold is short, and grows only with caution: on bursts it is what helps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictiveSettings {
    /// Seconds of history, at least 300.
    pub window_s: u32,
    /// Safety margin when bold, as a share of the normal quantile of the objective; above 0, at most 10.
    pub margin_bold: f64,
    /// The same when careful.
    pub margin_careful: f64,
    /// Seconds a need is held before the pool shrinks, when bold; above 0, at most 3600.
    pub hold_bold_s: f64,
    /// The same when careful.
    pub hold_careful_s: f64,
    /// Caution at the start, 0 (bold) to 1 (careful).
    pub caution: f64,
    /// Whether caution follows the share of tasks that were late, where observations tell it.
    pub adapt: bool,
}

impl Default for PredictiveSettings {
    fn default() -> Self {
        Self {
            window_s: DEFAULT_WINDOW_S,
            margin_bold: 0.7,
            margin_careful: 3.0,
            hold_bold_s: 5.0,
            hold_careful_s: 120.0,
            caution: 0.28,
            adapt: true,
        }
    }
}

impl PredictiveSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |key, value, allowed| Err(Error::Setting { policy: "predictive", key, value, allowed });
        if self.window_s < DEFAULT_WINDOW_S {
            return wrong("window_s", f64::from(self.window_s), "at least 300");
        }
        for (key, margin) in [("margin_bold", self.margin_bold), ("margin_careful", self.margin_careful)] {
            if !(margin > 0.0 && margin <= 10.0) {
                return wrong(key, margin, "above 0 and at most 10");
            }
        }
        for (key, hold_s) in [("hold_bold_s", self.hold_bold_s), ("hold_careful_s", self.hold_careful_s)] {
            if !(hold_s > 0.0 && hold_s <= MAX_HOLD_S) {
                return wrong(key, hold_s, "above 0 and at most 3600");
            }
        }
        if !(0.0..=1.0).contains(&self.caution) {
            return wrong("caution", self.caution, "0 to 1");
        }
        Ok(())
    }
}
