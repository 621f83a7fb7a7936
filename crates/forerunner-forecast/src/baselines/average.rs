//! Means over sliding windows.

use std::collections::VecDeque;

/// Mean of the samples of the last seconds. Constant time a sample; memory for one window of samples.
#[derive(Debug, Clone)]
pub(crate) struct Average {
    window_s: f64,
    samples: VecDeque<(f64, f64)>,
    sum: f64,
}

impl Average {
    /// A mean over `window_s` seconds, above 0.
    pub fn new(window_s: f64) -> Self {
        Self { window_s, samples: VecDeque::new(), sum: 0.0 }
    }

    /// Adds `value`, a count, at time `t`, which never decreases. Samples that are a whole window old are dropped.
    pub fn push(&mut self, t: f64, value: f64) {
        self.samples.push_back((t, value));
        self.sum += value;
        // A millisecond of slack, since times are sums of intervals that are not exact in binary.
        while let Some(&(at, old)) = self.samples.front().filter(|(at, _)| *at <= t - self.window_s + 1e-3) {
            debug_assert!(at <= t);
            self.samples.pop_front();
            self.sum -= old;
        }
    }

    /// The mean; 0 without samples.
    pub fn mean(&self) -> f64 {
        self.sum.max(0.0) / self.samples.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_leave_the_window_when_it_has_passed() {
        let mut average = Average::new(6.0);
        assert_eq!(average.mean(), 0.0);
        let means: Vec<f64> = [0.0, 2.0, 4.0, 6.0, 8.0]
            .map(|t| {
                average.push(t, t);
                average.mean()
            })
            .to_vec();
        assert_eq!(means, [0.0, 1.0, 2.0, 4.0, 6.0], "three samples of two seconds fill six");
    }

    #[test]
    fn the_last_sample_is_always_kept() {
        let mut average = Average::new(1.0);
        average.push(0.0, 3.0);
        average.push(100.0, 7.0);
        assert_eq!(average.mean(), 7.0);
    }
}
