//! The load that arrivals offer, as the classical staffing rules measure it.

use crate::{Observation, rate::sane};

/// Decayed mean of the time on an agent.
#[derive(Debug, Clone)]
pub(crate) struct MeanService {
    tau_s: f64,
    sum: f64,
    weight: f64,
    last_t: Option<f64>,
}

impl MeanService {
    /// A mean in which a completion `tau_s` seconds ago weighs 1/e of one now.
    pub fn new(tau_s: f64) -> Self {
        Self { tau_s, sum: 0.0, weight: 0.0, last_t: None }
    }

    /// Adds the completions of an observation.
    pub fn observe(&mut self, seen: &Observation) {
        let dt = self.last_t.map_or(0.0, |last| (seen.t - last).max(0.0));
        self.last_t = Some(seen.t);
        let keep = (-dt / self.tau_s).exp();
        // Weights do not fall to nothing: after a quiet night the last durations known are still the best guess.
        if self.weight * keep > 1e-3 {
            self.sum *= keep;
            self.weight *= keep;
        }
        if let Some(mean_s) = seen.mean_service_s.filter(|mean_s| mean_s.is_finite()) {
            self.sum = sane(self.sum + mean_s * seen.completions as f64);
            self.weight = sane(self.weight + seen.completions as f64);
        }
    }

    /// The mean in seconds; `None` before the first completion.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_durations_weigh_more_and_a_silence_forgets_none() {
        let seen = |t, completions, mean: f64| Observation {
            t,
            completions,
            mean_service_s: (completions > 0).then_some(mean),
            ..Observation::default()
        };
        let mut service = MeanService::new(180.0);
        assert_eq!(service.value(), None);
        service.observe(&seen(0.0, 2, 4.0));
        assert_eq!(service.value(), Some(4.0));
        service.observe(&seen(180.0, 1, 10.0));
        let old = 2.0 * (-1.0f64).exp();
        assert!((service.value().expect("three") - (old * 4.0 + 10.0) / (old + 1.0)).abs() < 1e-9);
        let before = service.value();
        service.observe(&seen(1e6, 0, 0.0));
        assert_eq!(service.value(), before);
    }
}
