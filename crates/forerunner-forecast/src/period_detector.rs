//! What came at the same point of the period before.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Steps that are remembered: four hours of ten seconds.
const KEPT: usize = 1440;
/// Steps between two searches for a period.
const SEARCH_EVERY: u64 = 6;
/// Shortest period, in steps.
const SHORTEST: usize = 12;
/// Least autocorrelation that counts as a period.
const CLEAR: f32 = 0.35;

/// Searches for a period in the counts of the last hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodDetector {
    /// Rates, the newest last; the newest belongs to `newest`.
    rates: VecDeque<f32>,
    newest: u64,
    period: Option<usize>,
    searched: u64,
}

impl PeriodDetector {
    /// A memory of nothing.
    pub fn new() -> Self {
        Self { rates: VecDeque::new(), newest: 0, period: None, searched: 0 }
    }

    /// Observes the rate of a step, in tasks per second. Omitted steps count as the one before.
    pub fn observe(&mut self, step: u64, rate: f64) {
        if self.rates.is_empty() || step > self.newest + 60 {
            *self = Self { newest: step, searched: step, ..Self::new() };
            self.rates.push_back(rate as f32);
            return;
        }
        while self.newest + 1 < step {
            self.newest += 1;
            let last = self.rates.back().copied().unwrap_or(0.0);
            self.rates.push_back(last);
        }
        self.newest = step;
        self.rates.push_back(rate as f32);
        while self.rates.len() > KEPT {
            self.rates.pop_front();
        }
        if step >= self.searched + SEARCH_EVERY {
            self.searched = step;
            self.search();
        }
    }

    /// The mean of what came at the same point of up to three periods before, each the greatest of it and its neighbours.
    pub fn forecast(&self, step: u64) -> Option<f64> {
        let period = self.period?;
        let ahead = step.checked_sub(self.newest)? as usize;
        let (mut sum, mut n) = (0.0, 0);
        for k in 1..=4 {
            let Some(back) = (k * period).checked_sub(ahead) else { continue };
            if back >= self.rates.len() || n == 3 {
                break;
            }
            let index = self.rates.len() - 1 - back;
            let near = (index.saturating_sub(1)..=(index + 1).min(self.rates.len() - 1)).map(|i| self.rates[i]);
            sum += f64::from(near.fold(0.0, f32::max));
            n += 1;
        }
        (n > 0).then(|| sum / f64::from(n))
    }

    /// Finds the lag at which counts are most like themselves.
    fn search(&mut self) {
        let n = self.rates.len();
        if n < 3 * SHORTEST {
            return;
        }
        let rates: Vec<f32> = self.rates.iter().copied().collect();
        let mean = rates.iter().sum::<f32>() / n as f32;
        let centred: Vec<f32> = rates.iter().map(|rate| rate - mean).collect();
        let variance = centred.iter().map(|x| x * x).sum::<f32>() / n as f32;
        if variance <= 0.0 {
            self.period = None;
            return;
        }
        let score = |lag: usize| {
            let m = n - lag;
            let products: f32 = centred[..m].iter().zip(&centred[lag..]).map(|(x, y)| x * y).sum();
            products / m as f32 / variance
        };
        // A period must have been seen one and a half times.
        let longest = n * 2 / 3;
        let mut best = (0.0, None);
        let (mut before, mut here) = (score(SHORTEST - 1), score(SHORTEST));
        for lag in SHORTEST..longest {
            let after = score(lag + 1);
            // Twice a period is a period as well, and can correlate a little better by chance.
            if here > before && here >= after && here > CLEAR && here > best.0 * 1.1 {
                best = (here, Some(lag));
            }
            (before, here) = (here, after);
        }
        self.period = best.1;
    }

    /// Whether this can have come about.
    pub fn is_sound(&self) -> bool {
        self.rates.len() <= KEPT && self.rates.iter().all(|r| r.is_finite()) && self.period.is_none_or(|p| p < KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(steps: u64, rate: impl Fn(u64) -> f64) -> PeriodDetector {
        let mut recall = PeriodDetector::new();
        (0..steps).for_each(|step| recall.observe(step, rate(step)));
        recall
    }

    #[test]
    fn a_spike_every_thirty_steps_is_recalled() {
        let recall = fed(120, |step| if step % 30 < 3 { 9.0 } else { 1.0 });
        assert_eq!(recall.period, Some(30));
        // The newest step is 119; 120 to 122 are the next spike.
        assert_eq!(recall.forecast(121), Some(9.0));
        assert_eq!(recall.forecast(130), Some(1.0));
    }

    #[test]
    fn what_has_no_period_recalls_nothing() {
        assert_eq!(fed(200, |_| 4.0).forecast(205), None);
        // The mixing function of SplitMix64 (Steele, Lea and Flood 2014).
        let mixed = |step: u64| {
            let z = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
        };
        let scattered = fed(400, |step| (mixed(step) % 5) as f64);
        assert_eq!(scattered.forecast(405), None);
    }

    #[test]
    fn a_long_gap_is_forgotten_across() {
        let mut recall = fed(120, |step| if step % 30 < 3 { 9.0 } else { 1.0 });
        recall.observe(5_000, 2.0);
        assert_eq!(recall.rates.len(), 1);
    }
}
