//! The rule of Ray Serve: ongoing requests, with delays.

use serde::{Deserialize, Serialize};

use super::{
    average::Average,
    common::{Check, EvaluationTimer, decision, whole},
};
use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode};

/// Settings of [`RayServe`]; names and defaults are those of its `AutoscalingConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RayServeSettings {
    /// Tasks that an agent should have, waiting ones included, above 0. The default of 2 lets as many wait as run; as
    /// agents run one task at a time, below 1 leaves headroom.
    pub target_ongoing_requests: f64,
    /// Seconds over which tasks are averaged, above 0.
    pub look_back_period_s: f64,
    /// Seconds for which more agents must be wanted before the pool grows, 0 to 3600.
    pub upscale_delay_s: f64,
    /// Seconds for which fewer agents must be wanted before the pool shrinks, 0 to 3600.
    pub downscale_delay_s: f64,
    /// Share of the gap that a growth closes.
    pub upscaling_factor: f64,
    /// Share of the gap that a shrinking closes.
    pub downscaling_factor: f64,
    /// Seconds between two evaluations, above 0.
    pub interval_s: f64,
}

impl Default for RayServeSettings {
    fn default() -> Self {
        Self {
            target_ongoing_requests: 2.0,
            look_back_period_s: 30.0,
            upscale_delay_s: 30.0,
            downscale_delay_s: 600.0,
            upscaling_factor: 1.0,
            downscaling_factor: 1.0,
            interval_s: 1.0,
        }
    }
}

impl RayServeSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("ray-serve");
        check.target("target_ongoing_requests", self.target_ongoing_requests)?;
        check.seconds("look_back_period_s", self.look_back_period_s)?;
        check.delay("upscale_delay_s", self.upscale_delay_s)?;
        check.delay("downscale_delay_s", self.downscale_delay_s)?;
        check.factor("upscaling_factor", self.upscaling_factor)?;
        check.factor("downscaling_factor", self.downscaling_factor)?;
        check.seconds("interval_s", self.interval_s)
    }
}

/// Follows the mean of the waiting and running tasks, once it has wanted the same direction for a whole delay.
///
/// `ceil(current + factor x (tasks / target - current))`. Without agents it does not wait. Source:
/// `python/ray/serve/autoscaling_policy.py` of Ray.
#[derive(Debug, Clone)]
pub struct RayServe {
    settings: RayServeSettings,
    limits: PolicyLimits,
    tasks: Average,
    timer: EvaluationTimer,
    current: Option<u32>,
    /// The wanted direction, and the evaluations in a row that wanted it.
    streak: (bool, u32),
}

impl RayServe {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: RayServeSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            limits,
            // Samples at both ends of the period count.
            tasks: Average::new(settings.look_back_period_s + settings.interval_s),
            timer: EvaluationTimer::new(settings.interval_s),
            current: None,
            streak: (true, 0),
        })
    }

    /// The size the tasks call for, from `current`.
    fn called_for(&self, current: u32) -> u32 {
        let gap = self.tasks.mean() / self.settings.target_ongoing_requests - f64::from(current);
        let factor = if gap > 0.0 { self.settings.upscaling_factor } else { self.settings.downscaling_factor };
        whole(f64::from(current) + factor * gap)
    }

    /// Whether `wanted` has been wanted for long enough to be applied.
    fn delay_elapsed(&mut self, current: u32, wanted: u32) -> bool {
        let up = wanted > current;
        let evaluations = if self.streak.0 == up { self.streak.1 } else { 0 };
        let delay_s = if up { self.settings.upscale_delay_s } else { self.settings.downscale_delay_s };
        let done = current == 0 || evaluations + 1 > (delay_s / self.settings.interval_s) as u32;
        self.streak = (up, if done || wanted == current { 0 } else { evaluations + 1 });
        done && wanted != current
    }
}

impl Policy for RayServe {
    fn name(&self) -> &'static str {
        "ray-serve"
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let current = self.current.unwrap_or_else(|| seen.size());
        if !self.timer.due(seen.t) {
            let detail = format!("{current} wanted until the next evaluation");
            let cause = ReasonCode::Utilisation;
            return decision("ray-serve", &self.limits, seen, f64::from(current), current, cause, detail);
        }
        self.tasks.push(seen.t, f64::from(seen.queue_depth) + f64::from(seen.in_flight));
        let wanted = self.limits.clamp(self.called_for(current));
        let next = if self.delay_elapsed(current, wanted) { wanted } else { current };
        self.current = Some(next);
        let cause = if next == wanted { ReasonCode::Utilisation } else { ReasonCode::Stabilizing };
        let detail = format!(
            "{:.1} tasks at {} an agent: {wanted} called for, {next} after the delays",
            self.tasks.mean(),
            self.settings.target_ongoing_requests,
        );
        decision("ray-serve", &self.limits, seen, f64::from(wanted), next, cause, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    /// Evaluates once a second and returns the sizes wanted.
    fn fed(rule: &mut RayServe, from: u32, seconds: u32, tasks: u32) -> Vec<u32> {
        (from..from + seconds).map(|t| rule.decide(&seen(f64::from(t), 0, tasks, 0, 0)).desired).collect()
    }

    #[test]
    fn more_must_be_wanted_for_the_whole_delay() {
        let settings = RayServeSettings { target_ongoing_requests: 1.0, ..RayServeSettings::default() };
        let mut rule = RayServe::new(settings, LIMITS).expect("valid");
        assert_eq!(fed(&mut rule, 0, 1, 4), [4]);
        // The mean of 30 s is above 4 at once; the 31st evaluation in a row acts, when the window contains 8 alone.
        let sizes = fed(&mut rule, 1, 31, 8);
        assert_eq!((sizes[29], sizes[30]), (4, 8));
    }

    #[test]
    fn fewer_must_be_wanted_for_ten_minutes_and_a_break_starts_the_delay_anew() {
        let settings = RayServeSettings { target_ongoing_requests: 1.0, ..RayServeSettings::default() };
        let mut rule = RayServe::new(settings, LIMITS).expect("valid");
        assert_eq!(fed(&mut rule, 0, 40, 6).last(), Some(&6));
        assert!(fed(&mut rule, 40, 590, 2).iter().all(|&size| size == 6));
        assert!(fed(&mut rule, 630, 40, 9)[..29].iter().all(|&size| size == 6), "a break");
        let sizes = fed(&mut rule, 670, 700, 2);
        assert!(sizes[..600].iter().all(|&size| size >= 6) && sizes.last() == Some(&2), "{sizes:?}");
    }

    #[test]
    fn the_target_and_the_factor_shape_the_step() {
        // target, factor, mean of the tasks, size from 4.
        for (target, factor, tasks, size) in [(2.0, 1.0, 8, 4), (2.0, 1.0, 12, 6), (1.0, 0.5, 8, 6), (0.5, 1.0, 3, 6)] {
            let settings = RayServeSettings {
                target_ongoing_requests: target,
                upscaling_factor: factor,
                upscale_delay_s: 0.0,
                look_back_period_s: 1.0,
                ..RayServeSettings::default()
            };
            let mut rule = RayServe::new(settings, LIMITS).expect("valid");
            let first = Observation { ready: 4, ..seen(0.0, tasks, 0, 0, 0) };
            assert_eq!(rule.decide(&first).desired, size, "{target} {factor} {tasks}");
        }
    }
}
