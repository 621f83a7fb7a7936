//! The rule of the Knative pod autoscaler: concurrency over two windows.

use serde::{Deserialize, Serialize};

use super::{
    average::Average,
    common::{Check, EvaluationTimer, decision, whole},
};
use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode, stabilization::SlidingMaximum};

/// Settings of [`Knative`]; names and defaults are those of `config-autoscaler`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnativeSettings {
    /// Tasks an agent should have, waiting ones included: the utilisation target, as an agent does one at a time.
    pub target: f64,
    /// Seconds of the stable window, above 0.
    pub stable_window_s: f64,
    /// Panic window in per cent of the stable one, above 0 and at most 100.
    pub panic_window_percent: f64,
    /// Panics when the panic window wants this many per cent of the ready agents; at least 1.
    pub panic_threshold_percent: f64,
    /// Most agents wanted, as a multiple of the ready ones; at least 1.
    pub max_scale_up_rate: f64,
    /// Fewest agents wanted are the ready ones divided by this; at least 1.
    pub max_scale_down_rate: f64,
    /// Seconds for which a size keeps the pool from shrinking below it, 0 to 3600.
    pub scale_down_delay_s: f64,
    /// Seconds between two evaluations, above 0.
    pub interval_s: f64,
}

impl Default for KnativeSettings {
    fn default() -> Self {
        Self {
            target: 0.7,
            stable_window_s: 60.0,
            panic_window_percent: 10.0,
            panic_threshold_percent: 200.0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            scale_down_delay_s: 0.0,
            interval_s: 2.0,
        }
    }
}

impl KnativeSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("knative");
        check.target("target", self.target)?;
        check.seconds("stable_window_s", self.stable_window_s)?;
        check.target("panic_window_percent", self.panic_window_percent)?;
        check.at_least_one("panic_threshold_percent", self.panic_threshold_percent)?;
        check.at_least_one("max_scale_up_rate", self.max_scale_up_rate)?;
        check.at_least_one("max_scale_down_rate", self.max_scale_down_rate)?;
        check.delay("scale_down_delay_s", self.scale_down_delay_s)?;
        check.seconds("interval_s", self.interval_s)
    }
}

/// Wants enough agents for the mean concurrency of a minute, or in panic for that of the last seconds.
///
/// Concurrency counts waiting tasks too, as the activator's does. The rule panics when the short window wants a
/// multiple of the ready agents, does not shrink in panic, and calms down a stable window after the last trigger. It
/// begins in panic at the present size, so that a restart does not shrink the pool. Source:
/// `pkg/autoscaler/scaling/autoscaler.go` of Knative.
#[derive(Debug, Clone)]
pub struct Knative {
    settings: KnativeSettings,
    limits: PolicyLimits,
    stable: Average,
    burst: Average,
    timer: EvaluationTimer,
    /// Time of the last trigger and greatest size since the panic began; `None` when calm.
    panic: Option<(f64, u32)>,
    delayed: SlidingMaximum,
    last: Option<u32>,
}

impl Knative {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: KnativeSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self {
            settings,
            limits,
            stable: Average::new(settings.stable_window_s),
            burst: Average::new(settings.stable_window_s * settings.panic_window_percent / 100.0),
            timer: EvaluationTimer::new(settings.interval_s),
            panic: None,
            delayed: SlidingMaximum::default(),
            last: None,
        })
    }

    /// Agents wanted by the stable and by the panic window, each within the rates.
    fn windows(&self, ready: u32) -> (u32, u32) {
        let ready = f64::from(ready);
        let most = whole(self.settings.max_scale_up_rate * ready);
        let fewest = (ready / self.settings.max_scale_down_rate).floor() as u32;
        let within = |mean: f64| whole(mean / self.settings.target).max(fewest).min(most);
        (within(self.stable.mean()), within(self.burst.mean()))
    }

    /// Begins, extends or ends the panic.
    fn calm_or_panic(&mut self, t: f64, ready: u32) {
        let share = f64::from(whole(self.burst.mean() / self.settings.target)) / f64::from(ready);
        if share >= self.settings.panic_threshold_percent / 100.0 {
            self.panic = Some((t, self.panic.map_or(0, |(_, size)| size)));
        } else if self.panic.is_some_and(|(since, _)| since + self.settings.stable_window_s < t) {
            self.panic = None;
        }
    }

    fn wanted(&mut self, seen: &Observation) -> u32 {
        let ready = (seen.in_flight.saturating_sub(seen.draining) + seen.ready).max(1);
        if self.last.is_none() && seen.size() > 0 {
            self.panic = Some((seen.t, seen.size()));
        }
        self.calm_or_panic(seen.t, ready);
        let (stable, burst) = self.windows(ready);
        let Some((_, greatest)) = &mut self.panic else { return stable };
        *greatest = stable.max(burst).max(*greatest);
        *greatest
    }
}

impl Policy for Knative {
    fn name(&self) -> &'static str {
        "knative"
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let due = self.timer.due(seen.t);
        if let Some(last) = self.last.filter(|_| !due) {
            let detail = format!("{last} wanted until the next evaluation");
            return decision("knative", &self.limits, seen, f64::from(last), last, ReasonCode::Utilisation, detail);
        }
        let tasks = f64::from(seen.queue_depth) + f64::from(seen.in_flight);
        self.stable.push(seen.t, tasks);
        self.burst.push(seen.t, tasks);
        let wanted = self.wanted(seen);
        self.delayed.push(seen.t, f64::from(wanted));
        let since = seen.t - self.settings.scale_down_delay_s;
        let next = self.delayed.greatest_since(since).map_or(wanted, |(_, size)| size as u32);
        self.last = Some(next);
        let panic = self.panic.is_some();
        let cause = match () {
            () if next > wanted => ReasonCode::Stabilizing,
            () if panic && next > seen.size() => ReasonCode::Surge,
            () => ReasonCode::Utilisation,
        };
        let detail = format!(
            "{:.1} tasks in the stable window, {:.1} in the panic window, {} an agent{}: {wanted} wanted",
            self.stable.mean(),
            self.burst.mean(),
            self.settings.target,
            if panic { ", in panic" } else { "" },
        );
        decision("knative", &self.limits, seen, f64::from(wanted), next, cause, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    fn fed(rule: &mut Knative, from: u32, seconds: u32, tasks: u32, ready: u32) -> u32 {
        let looks = (from..from + seconds).step_by(2);
        let busy = tasks.min(ready);
        let look = |t| rule.decide(&seen(f64::from(t), tasks - busy, busy, ready - busy, 0)).desired;
        looks.map(look).last().expect("two seconds at least")
    }

    #[test]
    fn the_stable_window_rules_when_calm() {
        let mut rule = Knative::new(KnativeSettings::default(), LIMITS).expect("defaults");
        assert_eq!(fed(&mut rule, 0, 64, 7, 10), 10, "ceil(7 / 0.7)");
        // Half of the window at 14: ceil(10.5 / 0.7), with the panic window at 20 of 10 ready.
        assert_eq!(fed(&mut rule, 64, 30, 13, 10), 15, "ceil((7 + 13) / 2 / 0.7)");
    }

    #[test]
    fn panic_follows_the_short_window_and_does_not_shrink_until_it_is_over() {
        let mut rule = Knative::new(KnativeSettings::default(), LIMITS).expect("defaults");
        fed(&mut rule, 0, 64, 7, 10);
        assert_eq!(fed(&mut rule, 64, 6, 21, 10), 30, "21 in three looks: ceil(21 / 0.7), three times the ready ones");
        assert_eq!(fed(&mut rule, 70, 58, 1, 30), 30, "in panic");
        assert!(fed(&mut rule, 128, 10, 1, 30) < 30, "a minute after the last trigger");
    }

    #[test]
    fn it_begins_in_panic_at_the_size_it_finds_and_halves_at_most() {
        let mut rule = Knative::new(KnativeSettings::default(), LIMITS).expect("defaults");
        assert_eq!(fed(&mut rule, 0, 60, 0, 20), 20, "a restart does not shrink the pool");
        assert_eq!(fed(&mut rule, 60, 4, 0, 20), 10);
    }

    #[test]
    fn a_delay_keeps_the_greatest_size() {
        let settings = KnativeSettings { scale_down_delay_s: 300.0, ..KnativeSettings::default() };
        let mut rule = Knative::new(settings, LIMITS).expect("valid");
        fed(&mut rule, 0, 64, 7, 10);
        assert_eq!(fed(&mut rule, 64, 280, 1, 10), 10);
        assert!(fed(&mut rule, 344, 60, 1, 10) < 10);
    }
}
