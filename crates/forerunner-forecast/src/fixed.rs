//! A pool of one size.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode};

/// Settings of [`Fixed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedSettings {
    /// Agents to keep.
    pub size: u32,
}

/// Always wants the same number of agents.
#[derive(Debug, Clone)]
pub struct Fixed {
    size: u32,
    limits: PolicyLimits,
}

impl Fixed {
    /// Keeps `size` agents, brought into the limits.
    pub fn new(size: u32, limits: PolicyLimits) -> Self {
        Self { size, limits }
    }

    pub(crate) fn from_settings(settings: FixedSettings, limits: PolicyLimits) -> Result<Self, Error> {
        Ok(Self::new(settings.size, limits))
    }
}

impl Policy for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn interval_s(&self) -> f64 {
        self.limits.tick_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let desired = self.limits.clamp(self.size);
        let bounded = desired != self.size;
        Decision {
            desired,
            need: f64::from(self.size),
            reason: if bounded { ReasonCode::Bounded } else { ReasonCode::Fixed },
            detail: format!("fixed at {}; {} now", self.size, seen.size()),
            rule: Cow::Borrowed("fixed"),
            forecast: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Objective;

    #[test]
    fn the_size_is_kept_within_the_limits() {
        let limits = PolicyLimits { min: 2, max: 8, cold_start_s: 1.0, tick_s: 1.0, objective: Objective::default() };
        for (size, desired, reason) in
            [(5, 5, ReasonCode::Fixed), (1, 2, ReasonCode::Bounded), (9, 8, ReasonCode::Bounded)]
        {
            let decision = Fixed::new(size, limits).decide(&Observation::default());
            assert_eq!((decision.desired, decision.reason), (desired, reason));
        }
    }
}
