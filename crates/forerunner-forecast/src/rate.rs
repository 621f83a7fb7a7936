//! Smoothers of a rate: exponential averages over irregular intervals, and a damped trend.

use serde::{Deserialize, Serialize};

/// An exponentially weighted average with a time constant.
///
/// An observation over `dt` seconds weighs `1 - exp(-dt / tau)`, which makes two half intervals the same as a whole one
/// (the form of the UNIX load average). The average is divided by the weight gathered so far, as in Adam (Kingma & Ba
/// 2015, §3), so the first observations count in full instead of being drawn towards zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ewma {
    tau_s: f64,
    sum: f64,
    weight: f64,
}

impl Ewma {
    /// Makes an average with time constant `tau_s` seconds, above 0.
    pub fn new(tau_s: f64) -> Self {
        debug_assert!(tau_s > 0.0);
        Self { tau_s, sum: 0.0, weight: 0.0 }
    }

    /// Records that the value was `value` for the last `dt` seconds.
    pub fn observe(&mut self, value: f64, dt: f64) {
        let keep = (-dt.max(0.0) / self.tau_s).exp();
        self.sum = sane(self.sum * keep + value * (1.0 - keep));
        self.weight = sane(self.weight * keep + (1.0 - keep));
    }

    /// The average, `None` before the first observation.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 1e-12).then(|| self.sum / self.weight)
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.tau_s > 0.0 && self.sum.is_finite() && self.weight.is_finite()
    }
}

/// Holt's linear exponential smoothing with a damped trend over equal steps.
///
/// `level' = a y + (1-a)(level + p trend)`, `trend' = b (level' - level) + (1-b) p trend`, and `h` steps ahead
/// `level + (p + p^2 + … + p^h) trend`, here for fractional `h` by the closed sum (Gardner & McKenzie 1985,
/// "Forecasting trends in time series"; Hyndman & Athanasopoulos, "Forecasting", §8.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DampedHolt {
    level: Option<f64>,
    trend: f64,
}

impl DampedHolt {
    /// Smoothing of the level.
    pub const ALPHA: f64 = 0.3;
    /// Smoothing of the trend.
    pub const BETA: f64 = 0.1;
    /// Damping of the trend per step.
    pub const PHI: f64 = 0.95;

    /// Makes a smoother that has seen nothing.
    pub fn new() -> Self {
        Self { level: None, trend: 0.0 }
    }

    /// Records the value of the next step.
    pub fn observe(&mut self, value: f64) {
        let Some(level) = self.level else {
            self.level = Some(sane(value));
            return;
        };
        let damped = Self::PHI * self.trend;
        let next = Self::ALPHA * value + (1.0 - Self::ALPHA) * (level + damped);
        self.trend = sane(Self::BETA * (next - level) + (1.0 - Self::BETA) * damped);
        self.level = Some(sane(next));
    }

    /// The value `steps` steps after the last one, never below 0; `None` before the first.
    pub fn forecast(&self, steps: f64) -> Option<f64> {
        let ahead = Self::PHI * (1.0 - Self::PHI.powf(steps.max(0.0))) / (1.0 - Self::PHI);
        self.level.map(|level| (level + ahead * self.trend).max(0.0))
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.level.is_none_or(f64::is_finite) && self.trend.is_finite()
    }
}

impl Default for DampedHolt {
    fn default() -> Self {
        Self::new()
    }
}

/// `x`, or 0 where arithmetic on extreme inputs left nothing usable. Prevents that one bad number poisons an average.
pub(crate) fn sane(x: f64) -> f64 {
    if x.is_finite() { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_starts_at_its_first_value_and_forgets_with_its_time_constant() {
        let mut ewma = Ewma::new(60.0);
        assert_eq!(ewma.value(), None);
        ewma.observe(4.0, 1.0);
        assert!((ewma.value().expect("one value") - 4.0).abs() < 1e-12);
        let mut settled = Ewma::new(60.0);
        settled.observe(4.0, 1e6);
        settled.observe(0.0, 60.0);
        assert!((settled.value().expect("two values") - 4.0 * (-1.0f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn splitting_an_interval_changes_nothing() {
        let (mut whole, mut halves) = (Ewma::new(15.0), Ewma::new(15.0));
        whole.observe(1.0, 30.0);
        halves.observe(1.0, 30.0);
        whole.observe(7.0, 10.0);
        halves.observe(7.0, 4.0);
        halves.observe(7.0, 6.0);
        assert!((whole.value().expect("set") - halves.value().expect("set")).abs() < 1e-12);
    }

    #[test]
    fn holt_matches_a_hand_worked_case() {
        let mut holt = DampedHolt::new();
        holt.observe(10.0);
        holt.observe(20.0);
        // level = 0.3*20 + 0.7*10 = 13, trend = 0.1*3 = 0.3; one step on: 13 + 0.95*0.3.
        assert!((holt.forecast(1.0).expect("set") - 13.285).abs() < 1e-9);
        assert!((holt.forecast(2.0).expect("set") - (13.0 + (0.95 + 0.9025) * 0.3)).abs() < 1e-9);
    }

    #[test]
    fn holt_follows_a_ramp_and_never_goes_below_zero() {
        let mut up = DampedHolt::new();
        let mut down = DampedHolt::new();
        for i in 0..100 {
            up.observe(f64::from(i));
            down.observe(f64::from(100 - i));
        }
        assert!(up.forecast(3.0).expect("set") > 99.0);
        assert_eq!(down.forecast(60.0), Some(0.0));
    }
}
