//! The naive forecast: what is, will be.

use std::borrow::Cow;

use forerunner_forecast::{Decision, Observation, Policy, PolicyLimits, ReasonCode};

/// Wants as many agents as there are waiting and running tasks: it assumes that the load one cold start ahead is the
/// present one.
///
/// What a forecast has to beat to be worth anything; not a rule to run a pool by.
#[derive(Debug, Clone)]
pub struct LastValue {
    limits: PolicyLimits,
}

impl LastValue {
    /// Makes the rule.
    pub fn new(limits: PolicyLimits) -> Self {
        Self { limits }
    }
}

impl Policy for LastValue {
    fn name(&self) -> &'static str {
        "last-value"
    }

    fn interval_s(&self) -> f64 {
        self.limits.tick_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let tasks = seen.queue_depth.saturating_add(seen.in_flight);
        let desired = self.limits.clamp(tasks);
        let reason = match () {
            () if desired != tasks => ReasonCode::Bounded,
            () if desired == seen.size() => ReasonCode::Steady,
            () => ReasonCode::Utilisation,
        };
        Decision {
            desired,
            need: f64::from(tasks),
            reason,
            detail: format!("{tasks} tasks now"),
            rule: Cow::Borrowed("last-value"),
            forecast: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forerunner_forecast::Objective;

    #[test]
    fn it_wants_an_agent_for_every_task() {
        let limits = PolicyLimits { min: 1, max: 9, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
        let mut rule = LastValue::new(limits);
        for (queue_depth, in_flight, desired) in [(0, 0, 1), (2, 5, 7), (40, 9, 9)] {
            let seen = Observation { queue_depth, in_flight, ..Observation::default() };
            assert_eq!(rule.decide(&seen).desired, desired);
        }
    }
}
