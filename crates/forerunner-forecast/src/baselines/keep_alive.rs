//! The rule of serverless platforms: start on demand, stop after a while.

use serde::{Deserialize, Serialize};

use super::common::{Check, decision};
use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode, stabilization::SlidingMaximum};

/// Settings of [`KeepAlive`]. OpenWhisk stops an idle container after ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepAliveSettings {
    /// Seconds after which an idle agent stops, 0 to 3600.
    pub idle_ttl_s: f64,
    /// Agents beyond those in use.
    pub spares: u32,
    /// Seconds between two evaluations, above 0; short, since agents start on demand.
    pub interval_s: f64,
}

impl Default for KeepAliveSettings {
    fn default() -> Self {
        Self { idle_ttl_s: 600.0, spares: 0, interval_s: 0.25 }
    }
}

impl KeepAliveSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let check = Check("keep-alive");
        check.delay("idle_ttl_s", self.idle_ttl_s)?;
        check.seconds("interval_s", self.interval_s)
    }
}

/// Starts an agent for every waiting task that no starting agent is meant for, and stops agents idle for too long.
///
/// Agents that became idle last are used first. So as many agents have been idle for the whole time as were not needed
/// at its busiest moment, and the greatest number of tasks at once in that time is the size. Fixed keep-alive times are
/// the baseline of Shahrad et al. 2020, "Serverless in the Wild". As agents start on demand, an evaluation that an
/// event asks for happens at once.
#[derive(Debug, Clone)]
pub struct KeepAlive {
    settings: KeepAliveSettings,
    limits: PolicyLimits,
    in_use: SlidingMaximum,
}

impl KeepAlive {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: KeepAliveSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self { settings, limits, in_use: SlidingMaximum::default() })
    }
}

impl Policy for KeepAlive {
    fn name(&self) -> &'static str {
        "keep-alive"
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let tasks = seen.queue_depth.saturating_add(seen.in_flight);
        self.in_use.push(seen.t, f64::from(tasks.max(seen.peak_concurrency)));
        let since = seen.t - self.settings.idle_ttl_s;
        let kept = self.in_use.greatest_since(since).map_or(tasks, |(_, size)| size as u32).max(tasks);
        let wanted = kept.saturating_add(self.settings.spares);
        let cause = match () {
            () if wanted > seen.size() => ReasonCode::Backlog,
            () if kept > tasks => ReasonCode::Stabilizing,
            () => ReasonCode::Utilisation,
        };
        let detail = format!(
            "{tasks} tasks now, {kept} at most in the last {} s, {} spare",
            self.settings.idle_ttl_s, self.settings.spares
        );
        decision("keep-alive", &self.limits, seen, f64::from(wanted), wanted, cause, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines::common::fixtures::{LIMITS, seen};

    #[test]
    fn every_waiting_task_gets_an_agent_that_is_kept_until_it_was_idle_for_long() {
        let settings = KeepAliveSettings { idle_ttl_s: 60.0, spares: 1, ..KeepAliveSettings::default() };
        let mut rule = KeepAlive::new(settings, LIMITS).expect("valid");
        // time, queue, busy, idle, starting, wanted
        for (t, queue, busy, idle, starting, desired) in [
            (0.0, 0, 0, 1, 0, 1),
            (1.0, 3, 1, 0, 0, 5),
            (2.0, 3, 1, 0, 4, 5), // those starting are meant for them
            (9.0, 0, 2, 3, 0, 5),
            (61.0, 0, 2, 3, 0, 5),
            (63.0, 0, 2, 3, 0, 3), // four were last needed at 2 s
            (130.0, 0, 0, 3, 0, 1),
        ] {
            assert_eq!(rule.decide(&seen(t, queue, busy, idle, starting)).desired, desired, "at {t}");
        }
    }

    #[test]
    fn a_short_peak_between_two_looks_counts() {
        let mut rule = KeepAlive::new(KeepAliveSettings::default(), LIMITS).expect("defaults");
        let peak = Observation { peak_concurrency: 7, ..seen(0.0, 0, 2, 5, 0) };
        assert_eq!(rule.decide(&peak).desired, 7);
    }
}
