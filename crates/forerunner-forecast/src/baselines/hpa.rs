//! The rule of the horizontal pod autoscaler of Kubernetes, on the share of busy agents.

use serde::{Deserialize, Serialize};

use super::{
    average::Average,
    common::{Check, EvaluationTimer, decision, whole},
    replicas::{Behaviour, Replicas, within_tolerance},
};
use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode};

/// Settings of [`Hpa`]; the defaults are those of Kubernetes, with the customary target of 70 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HpaSettings {
    /// Share of the agents that should be busy, above 0.
    pub target: f64,
    /// Deviation from the target, as a share of it, that the rule ignores.
    pub tolerance: f64,
    /// Most agents to add in 15 s, unless the percentage allows more.
    pub scale_up_pods: f64,
    /// Growth in 15 s, in per cent of the size, unless the number of agents allows more.
    pub scale_up_percent: f64,
    /// Seconds for which a proposed size keeps the pool from shrinking below it, 0 to 3600.
    pub scale_down_window_s: f64,
    /// Seconds over which use is averaged, above 0.
    pub metric_window_s: f64,
    /// Seconds between two evaluations, above 0.
    pub interval_s: f64,
}

impl Default for HpaSettings {
    fn default() -> Self {
        Self {
            target: 0.7,
            tolerance: 0.1,
            scale_up_pods: 4.0,
            scale_up_percent: 100.0,
            scale_down_window_s: 300.0,
            metric_window_s: 15.0,
            interval_s: 15.0,
        }
    }
}

impl HpaSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("hpa");
        check.target("target", self.target)?;
        check.factor("tolerance", self.tolerance)?;
        check.factor("scale_up_pods", self.scale_up_pods)?;
        check.factor("scale_up_percent", self.scale_up_percent)?;
        check.delay("scale_down_window_s", self.scale_down_window_s)?;
        check.seconds("metric_window_s", self.metric_window_s)?;
        check.seconds("interval_s", self.interval_s)
    }

    fn behaviour(&self) -> Behaviour {
        Behaviour {
            scale_up_pods: self.scale_up_pods,
            scale_up_percent: self.scale_up_percent,
            scale_down_window_s: self.scale_down_window_s,
        }
    }
}

/// Seconds between two samples of use.
const SAMPLE_S: f64 = 1.0;

/// Keeps the share of busy agents near a target.
///
/// `ceil(ready x use / target)`, unchanged within the tolerance. Agents that are starting count as unused when more are
/// wanted, and may not reverse the direction. Source: `pkg/controller/podautoscaler/replica_calculator.go` and
/// `pkg/apis/autoscaling/v2/defaults.go` of Kubernetes.
#[derive(Debug, Clone)]
pub struct Hpa {
    settings: HpaSettings,
    limits: PolicyLimits,
    busy: Average,
    ready: Average,
    timer: EvaluationTimer,
    replicas: Replicas,
    last: Option<u32>,
}

impl Hpa {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: HpaSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            limits,
            busy: Average::new(settings.metric_window_s),
            ready: Average::new(settings.metric_window_s),
            timer: EvaluationTimer::new(settings.interval_s),
            replicas: Replicas::new(settings.behaviour()),
            last: None,
        })
    }

    /// The size at which use is the target, for `used` agents' worth of use.
    fn proposed(&self, current: u32, ready: f64, used: f64) -> u32 {
        let HpaSettings { target, tolerance, .. } = self.settings;
        let starting = f64::from(current) - ready;
        let ratio = if ready > 0.0 { used / ready / target } else { 0.0 };
        if ready <= 0.0 || starting <= 0.0 || ratio <= 1.0 {
            return if ready <= 0.0 || within_tolerance(ratio, tolerance) { current } else { whole(used / target) };
        }
        // Those that are starting count as ready and unused.
        let ratio = used / f64::from(current) / target;
        if ratio <= 1.0 || within_tolerance(ratio, tolerance) { current } else { whole(used / target) }
    }
}

impl Policy for Hpa {
    fn name(&self) -> &'static str {
        "hpa"
    }

    fn interval_s(&self) -> f64 {
        SAMPLE_S.min(self.settings.interval_s)
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let (size, busy) = (seen.size(), seen.in_flight.saturating_sub(seen.draining));
        self.busy.push(seen.t, f64::from(busy));
        self.ready.push(seen.t, f64::from(busy + seen.ready));
        let due = self.timer.due(seen.t);
        if let Some(last) = self.last.filter(|_| !due) {
            let detail = format!("{last} wanted until the next evaluation");
            return decision("hpa", &self.limits, seen, f64::from(last), last, ReasonCode::Utilisation, detail);
        }
        let ready = f64::from(busy + seen.ready);
        let share = if self.ready.mean() > 0.0 { self.busy.mean() / self.ready.mean() } else { 0.0 };
        let proposed = match size {
            0 => u32::from(seen.queue_depth > 0),
            size => self.proposed(size, ready, share * ready),
        };
        let (next, stabilized) = self.replicas.next(seen.t, size, proposed);
        self.last = Some(next);
        let cause = if stabilized { ReasonCode::Stabilizing } else { ReasonCode::Utilisation };
        let detail = format!(
            "{:.0} % of {ready} ready agents busy, target {:.0} %: {proposed} proposed, {next} after windows and rates",
            100.0 * share,
            100.0 * self.settings.target,
        );
        decision("hpa", &self.limits, seen, f64::from(proposed), next, cause, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    #[test]
    fn the_size_brings_use_to_the_target() {
        // busy, idle, starting and the size wanted at the first evaluation.
        for (busy, idle, starting, desired) in [
            (7, 3, 0, 10),   // on target
            (10, 0, 0, 15),  // ceil(10 / 0.7)
            (15, 5, 0, 20),  // 7 % above the target is within the tolerance
            (0, 0, 5, 5),    // nothing to go by yet
            (4, 0, 2, 6),    // as if 4 of 6 were busy: below the target, but never the other way
            (6, 0, 2, 8),    // 75 % of 8: within the tolerance
            (8, 0, 2, 12),   // ceil(8 / 0.7)
            (10, 30, 0, 15), // nothing proposed before keeps it
        ] {
            let mut rule = Hpa::new(HpaSettings::default(), LIMITS).expect("defaults");
            assert_eq!(rule.decide(&seen(0.0, 0, busy, idle, starting)).desired, desired, "{busy} {idle} {starting}");
        }
    }

    #[test]
    fn use_is_averaged_and_looked_at_every_fifteen_seconds() {
        let mut rule = Hpa::new(HpaSettings::default(), LIMITS).expect("defaults");
        assert_eq!(rule.decide(&seen(0.0, 0, 7, 3, 0)).desired, 10);
        for t in 1..15 {
            assert_eq!(rule.decide(&seen(f64::from(t), 0, 10, 0, 0)).desired, 10, "not before the next look");
        }
        // Fifteen samples of 10 busy: ceil(10 / 0.7).
        assert_eq!(rule.decide(&seen(15.0, 0, 10, 0, 0)).desired, 15);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = HpaSettings { target: 0.0, ..HpaSettings::default() };
        assert_eq!(
            wrong.check().expect_err("0 %").to_string(),
            "policy `hpa`: `target` is 0, allowed is above 0 and at most 100"
        );
    }
}
