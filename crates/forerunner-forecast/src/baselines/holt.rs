//! Damped trend and a Poisson quantile.

use serde::{Deserialize, Serialize};

use super::{
    common::{Check, decision, whole},
    load::MeanService,
};
use crate::{
    DampedHolt, Decision, Error, Observation, Policy, PolicyLimits, ReasonCode, normal_quantile,
    stabilization::SlidingMaximum,
};

/// Settings of [`Holt`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoltSettings {
    /// Quantile of the tasks on agents at once that the pool should have room for, between 0 and 1.
    pub quantile: f64,
    /// Seconds for which a need keeps the pool from shrinking below it, 0 to 3600.
    pub stabilization_s: f64,
    /// Time constant of the mean time on an agent in seconds, above 0.
    pub service_tau_s: f64,
    /// Seconds between two evaluations, above 0.
    pub interval_s: f64,
}

impl Default for HoltSettings {
    fn default() -> Self {
        Self { quantile: 0.99, stabilization_s: 0.0, service_tau_s: 300.0, interval_s: 1.0 }
    }
}

impl HoltSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("holt");
        check.quantile("quantile", self.quantile)?;
        check.delay("stabilization_s", self.stabilization_s)?;
        check.seconds("service_tau_s", self.service_tau_s)?;
        check.seconds("interval_s", self.interval_s)
    }
}

/// Seconds of arrivals in one step of the trend.
const BUCKET_S: f64 = 10.0;

/// Wants a Poisson quantile of the load that a damped trend of the arrivals predicts.
///
/// The rate at now + cold start + interval by [`DampedHolt`] on steps of 10 s, times the mean time on an agent. The
/// number of busy agents in an unlimited pool is Poisson with the load as its mean.
#[derive(Debug, Clone)]
pub struct Holt {
    settings: HoltSettings,
    limits: PolicyLimits,
    trend: DampedHolt,
    service: MeanService,
    bucket_end: Option<f64>,
    arrivals: u64,
    recent_needs: SlidingMaximum,
}

impl Holt {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: HoltSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            limits,
            trend: DampedHolt::new(),
            service: MeanService::new(settings.service_tau_s),
            bucket_end: None,
            arrivals: 0,
            recent_needs: SlidingMaximum::default(),
        })
    }

    /// Closes the buckets that end by `t`. After a long silence no more than an hour of empty ones.
    fn count(&mut self, t: f64, arrivals: u64) {
        self.arrivals += arrivals;
        let end = *self.bucket_end.get_or_insert(t + BUCKET_S);
        let mut due = (((t - end) / BUCKET_S + 1.0).floor().clamp(0.0, 360.0)) as u32;
        if due > 0 {
            self.bucket_end = Some(end + f64::from(due) * BUCKET_S);
        }
        while due > 0 {
            self.trend.observe(std::mem::take(&mut self.arrivals) as f64 / BUCKET_S);
            due -= 1;
        }
    }
}

impl Policy for Holt {
    fn name(&self) -> &'static str {
        "holt"
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        self.count(seen.t, seen.arrivals);
        self.service.observe(seen);
        let cold_start_s = seen.cold_start_s.unwrap_or(self.limits.cold_start_s);
        let steps = (cold_start_s + self.settings.interval_s) / BUCKET_S;
        let rate = self.trend.forecast(steps).unwrap_or(0.0);
        let service_s = self.service.value().unwrap_or(0.0);
        let load = rate * service_s;
        let need = f64::from(poisson_quantile(load, self.settings.quantile));
        self.recent_needs.push(seen.t, need);
        let kept =
            self.recent_needs.greatest_since(seen.t - self.settings.stabilization_s).map_or(need, |(_, need)| need);
        let cause = if kept > need { ReasonCode::Stabilizing } else { ReasonCode::Utilisation };
        let detail = format!("{rate:.2}/s expected x {service_s:.1} s = {load:.1} busy; {need} with the margin");
        // Before the first completion the load is unknown.
        let wanted = whole(kept).max(u32::from(seen.queue_depth > 0));
        decision("holt", &self.limits, seen, need, wanted, cause, detail)
    }
}

/// Mean above which the quantile is that of the normal distribution with the first correction for skewness.
const LARGE_MEAN: f64 = 500.0;

/// The least whole number that a Poisson count of this mean does not exceed with probability `p`.
fn poisson_quantile(mean: f64, p: f64) -> u32 {
    if mean > LARGE_MEAN {
        // Cornish & Fisher 1938: the skewness of a Poisson count is one over the root of its mean.
        let z = normal_quantile(p);
        return whole(mean + z * mean.sqrt() + (z * z - 1.0) / 6.0);
    }
    let most = (mean + 40.0 * mean.sqrt()) as u32 + 40;
    let (mut term, mut sum, mut n) = ((-mean).exp(), 0.0, 0);
    loop {
        sum += term;
        if sum >= p || n >= most {
            return n;
        }
        n += 1;
        term *= mean / f64::from(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    #[test]
    fn a_steady_load_gets_its_quantile_and_a_hold_keeps_it() {
        let settings = HoltSettings { stabilization_s: 60.0, ..HoltSettings::default() };
        let mut rule = Holt::new(settings, LIMITS).expect("valid");
        let mut look = |t: u32, arrivals| {
            let now =
                Observation { arrivals, completions: 2, mean_service_s: Some(5.0), ..seen(f64::from(t), 0, 0, 0, 0) };
            rule.decide(&now).desired
        };
        let steady = (0..300).map(|t| look(t, 2)).last();
        assert_eq!(steady, Some(18), "a Poisson count of mean 10 is at most 18 with 99 %");
        let empty: Vec<u32> = (300..420).map(|t| look(t, 0)).collect();
        assert_eq!(empty[50], 18);
        assert!(empty[119] < 10, "{empty:?}");
    }

    #[test]
    fn quantiles_match_published_tables() {
        // Mean, probability, quantile: tables of the cumulative Poisson distribution.
        for (mean, p, quantile) in [(0.0, 0.99, 0), (1.0, 0.95, 3), (5.0, 0.99, 11), (10.0, 0.5, 10), (10.0, 0.99, 18)]
        {
            assert_eq!(poisson_quantile(mean, p), quantile, "{mean} {p}");
        }
        let (exact, approximate) = (poisson_quantile(499.9, 0.99), poisson_quantile(500.1, 0.99));
        assert!(exact.abs_diff(approximate) <= 1, "{exact} {approximate}");
    }
}
