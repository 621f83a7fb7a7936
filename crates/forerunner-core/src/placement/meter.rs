//! Averages that follow what is measured.

use super::RestoreCost;

/// A mean that follows its newest samples: plain over the first hundred, exponential after.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RunningMean {
    samples: u32,
    value: f64,
}

impl RunningMean {
    const WINDOW: u32 = 100;

    /// Adds a sample. It ignores values that are not finite or below 0.
    pub fn add(&mut self, sample: f64) {
        if !(sample.is_finite() && sample >= 0.0) {
            return;
        }
        self.samples = (self.samples + 1).min(Self::WINDOW);
        self.value += (sample - self.value) / f64::from(self.samples);
    }

    /// Returns the mean, if there was a sample.
    pub fn get(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.value)
    }
}

/// Measures [`RestoreCost`]: least squares over (bytes, seconds), where each sample counts 0.98 of the one after it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RestoreMeter {
    weight: f64,
    bytes: f64,
    seconds: f64,
    bytes_bytes: f64,
    bytes_seconds: f64,
}

impl RestoreMeter {
    const FORGET: f64 = 0.98;
    /// Below this share of the squared mean, sizes are too similar to separate the fixed part from the rest.
    const SPREAD: f64 = 1e-3;

    /// Adds a restore. One of no bytes is ignored.
    pub fn add(&mut self, bytes: u64, seconds: f64) {
        if bytes == 0 || !(seconds.is_finite() && seconds >= 0.0) {
            return;
        }
        let x = bytes as f64;
        let keep = |sum: f64, new: f64| sum * Self::FORGET + new;
        self.weight = keep(self.weight, 1.0);
        self.bytes = keep(self.bytes, x);
        self.seconds = keep(self.seconds, seconds);
        self.bytes_bytes = keep(self.bytes_bytes, x * x);
        self.bytes_seconds = keep(self.bytes_seconds, x * seconds);
    }

    /// Returns the cost of restoring: nothing before the first sample. Neither part is below 0.
    pub fn cost(&self) -> RestoreCost {
        if self.weight == 0.0 {
            return RestoreCost::default();
        }
        let (x, y) = (self.bytes / self.weight, self.seconds / self.weight);
        let variance = self.bytes_bytes / self.weight - x * x;
        let slope = (self.bytes_seconds / self.weight - x * y) / variance;
        let through_origin = RestoreCost { fixed_s: 0.0, s_per_byte: self.bytes_seconds / self.bytes_bytes };
        if variance <= Self::SPREAD * x * x || slope * x > y {
            return through_origin;
        }
        let s_per_byte = slope.max(0.0);
        RestoreCost { fixed_s: y - s_per_byte * x, s_per_byte }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mean_is_plain_first_and_follows_later() {
        let mut mean = RunningMean::default();
        assert_eq!(mean.get(), None);
        [1.0, 3.0, f64::NAN, -1.0].into_iter().for_each(|sample| mean.add(sample));
        assert_eq!(mean.get(), Some(2.0));
        (0..1_000).for_each(|_| mean.add(9.0));
        assert!((mean.get().unwrap() - 9.0).abs() < 0.01);
    }

    #[test]
    fn both_parts_of_the_cost_are_found() {
        let mut meter = RestoreMeter::default();
        assert_eq!(meter.cost(), RestoreCost::default());
        meter.add(1_000, 0.5);
        assert_eq!(meter.cost(), RestoreCost { fixed_s: 0.0, s_per_byte: 5e-4 }, "one size tells one number");
        for bytes in [100_000, 2_000_000, 400_000, 900_000].repeat(200) {
            meter.add(bytes, 0.005 + bytes as f64 * 2e-6);
        }
        let cost = meter.cost();
        assert!((cost.fixed_s - 0.005).abs() < 1e-4 && (cost.s_per_byte - 2e-6).abs() < 1e-8, "{cost:?}");
    }

    proptest! {
        #[test]
        fn no_measurements_make_a_cost_below_zero(samples in prop::collection::vec((0_u64..1 << 40, 0.0..1e4), 0..50)) {
            let mut meter = RestoreMeter::default();
            samples.iter().for_each(|(bytes, seconds)| meter.add(*bytes, *seconds));
            let cost = meter.cost();
            prop_assert!(cost.fixed_s >= 0.0 && cost.fixed_s.is_finite(), "{cost:?}");
            prop_assert!(cost.s_per_byte >= 0.0 && cost.s_per_byte.is_finite(), "{cost:?}");
        }
    }
}
