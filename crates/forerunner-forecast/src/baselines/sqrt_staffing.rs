//! Square-root staffing on a smoothed arrival rate.

use serde::{Deserialize, Serialize};

use super::{
    common::{Check, decision, whole},
    load::MeanService,
};
use crate::{Decision, Error, Ewma, Observation, Policy, PolicyLimits, ReasonCode};

/// Settings of [`SqrtStaffing`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqrtStaffingSettings {
    /// Agents beyond the load, in square roots of it; at least 0.
    pub beta: f64,
    /// Time constant of the arrival rate in seconds, above 0.
    pub tau_s: f64,
    /// Time constant of the mean time on an agent in seconds, above 0.
    pub service_tau_s: f64,
    /// Seconds between two evaluations, above 0.
    pub interval_s: f64,
}

impl Default for SqrtStaffingSettings {
    fn default() -> Self {
        Self { beta: 2.0, tau_s: 60.0, service_tau_s: 300.0, interval_s: 1.0 }
    }
}

impl SqrtStaffingSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("sqrt-staffing");
        check.factor("beta", self.beta)?;
        check.seconds("tau_s", self.tau_s)?;
        check.seconds("service_tau_s", self.service_tau_s)?;
        check.seconds("interval_s", self.interval_s)
    }
}

/// Wants `R + beta sqrt(R)` agents for an offered load `R`: smoothed arrival rate times mean time on an agent.
///
/// Source: Halfin & Whitt 1981, "Heavy-traffic limits for queues with many exponential servers".
#[derive(Debug, Clone)]
pub struct SqrtStaffing {
    settings: SqrtStaffingSettings,
    limits: PolicyLimits,
    rate: Ewma,
    service: MeanService,
    last_t: Option<f64>,
}

impl SqrtStaffing {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: SqrtStaffingSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        let (rate, service) = (Ewma::new(settings.tau_s), MeanService::new(settings.service_tau_s));
        Ok(Self { settings, limits, rate, service, last_t: None })
    }
}

impl Policy for SqrtStaffing {
    fn name(&self) -> &'static str {
        "sqrt-staffing"
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let dt = self.last_t.map_or(0.0, |last| (seen.t - last).max(0.0));
        if dt > 0.0 {
            self.rate.observe(seen.arrivals as f64 / dt, dt);
        }
        self.last_t = Some(seen.t);
        self.service.observe(seen);
        let rate = self.rate.value().unwrap_or(0.0);
        let service_s = self.service.value().unwrap_or(0.0);
        let load = rate * service_s;
        let need = load + self.settings.beta * load.sqrt();
        let detail = format!("{rate:.2}/s x {service_s:.1} s = {load:.1} busy; {need:.1} with the margin");
        // Before the first completion the load is unknown.
        let wanted = whole(need).max(u32::from(seen.queue_depth > 0));
        decision("sqrt-staffing", &self.limits, seen, need, wanted, ReasonCode::Utilisation, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    #[test]
    fn the_load_and_its_root_are_staffed() {
        // arrivals a second, seconds each, beta, wanted
        for (arrivals, mean_s, beta, desired) in
            [(4, 4.0, 2.0, 24), (4, 4.0, 0.0, 16), (1, 9.0, 1.5, 14), (0, 9.0, 2.0, 1)]
        {
            let settings = SqrtStaffingSettings { beta, ..SqrtStaffingSettings::default() };
            let mut rule = SqrtStaffing::new(settings, LIMITS).expect("valid");
            let mut desired_last = 0;
            for t in 0..600 {
                let completions = arrivals;
                let now = Observation {
                    arrivals,
                    completions,
                    mean_service_s: (completions > 0).then_some(mean_s),
                    ..seen(f64::from(t), 0, 0, 0, 0)
                };
                desired_last = rule.decide(&now).desired;
            }
            assert_eq!(desired_last, desired, "{arrivals}/s x {mean_s} s");
        }
    }
}
