//! What all the rules need: a timer, checks of ranges, and the way from a number to a decision.

use std::borrow::Cow;

use crate::{Decision, Error, Observation, PolicyLimits, ReasonCode};

/// Checks of the settings of one policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check(pub &'static str);

impl Check {
    fn fails(self, key: &'static str, value: f64, allowed: &'static str) -> Result<(), Error> {
        Err(Error::Setting { policy: self.0, key, value, allowed })
    }

    /// A share of a limit, or tasks on an agent: above 0 and at most 100.
    pub fn target(self, key: &'static str, value: f64) -> Result<(), Error> {
        if value > 0.0 && value <= 100.0 { Ok(()) } else { self.fails(key, value, "above 0 and at most 100") }
    }

    /// An interval or a window that time has to pass in: above 0 and at most a day.
    pub fn seconds(self, key: &'static str, value: f64) -> Result<(), Error> {
        if value > 0.0 && value <= 86_400.0 { Ok(()) } else { self.fails(key, value, "above 0 and at most 86400") }
    }

    /// A delay, which may be zero, at most as long as needs are recorded.
    pub fn delay(self, key: &'static str, value: f64) -> Result<(), Error> {
        if (0.0..=3600.0).contains(&value) { Ok(()) } else { self.fails(key, value, "0 to 3600") }
    }

    /// A factor or a number of standard deviations.
    pub fn factor(self, key: &'static str, value: f64) -> Result<(), Error> {
        if (0.0..=1e6).contains(&value) { Ok(()) } else { self.fails(key, value, "0 to 1000000") }
    }

    /// A probability.
    pub fn quantile(self, key: &'static str, value: f64) -> Result<(), Error> {
        let ok = (1e-6..=1.0 - 1e-6).contains(&value);
        if ok { Ok(()) } else { self.fails(key, value, "0.000001 to 0.999999") }
    }

    /// A factor of at least 1.
    pub fn at_least_one(self, key: &'static str, value: f64) -> Result<(), Error> {
        if (1.0..=1e6).contains(&value) { Ok(()) } else { self.fails(key, value, "1 to 1000000") }
    }
}

/// When a rule evaluates again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EvaluationTimer {
    interval_s: f64,
    evaluated_at: f64,
}

impl EvaluationTimer {
    pub fn new(interval_s: f64) -> Self {
        Self { interval_s, evaluated_at: f64::NEG_INFINITY }
    }

    /// Whether the rule evaluates at time `t`. Half a second, or half a short interval, allows for a timer that is
    /// early.
    pub fn due(&mut self, t: f64) -> bool {
        let due = t - self.evaluated_at >= self.interval_s - (0.5 * self.interval_s).min(0.5);
        if due {
            self.evaluated_at = t;
        }
        due
    }
}

/// Turns the size that a rule wants into a decision: within the limits, with a reason.
///
/// `cause` is the reason where the size changes, or where stabilisation prevents that.
pub(crate) fn decision(
    rule: &'static str,
    limits: &PolicyLimits,
    seen: &Observation,
    need: f64,
    wanted: u32,
    cause: ReasonCode,
    detail: String,
) -> Decision {
    let desired = limits.clamp(wanted);
    // A bound may limit an earlier need that still counts; that is not the reason then.
    let is_bounded = (desired < wanted && desired < whole(need)) || (desired > wanted && f64::from(desired) > need);
    let reason = match () {
        () if is_bounded => ReasonCode::Bounded,
        () if desired == seen.size() && cause != ReasonCode::Stabilizing => ReasonCode::Steady,
        () => cause,
    };
    Decision { desired, need, reason, detail, rule: Cow::Borrowed(rule), forecast: None }
}

/// Rounds up to whole agents. A little above a whole number is that number: quotients such as 2.1 / 0.7 are not exact.
pub(crate) fn whole(agents: f64) -> u32 {
    (agents - 1e-9).ceil().max(0.0) as u32
}

/// What the tests of the rules share.
#[cfg(test)]
pub(crate) mod fixtures {
    use crate::{Objective, Observation, PolicyLimits};

    pub const LIMITS: PolicyLimits = PolicyLimits {
        min: 1,
        max: 100,
        cold_start_s: 2.0,
        tick_s: 1.0,
        objective: Objective { share: 0.99, within_s: 1.0 },
    };

    /// The state at `t`: tasks waiting, agents busy, idle and starting.
    pub fn seen(t: f64, queue_depth: u32, in_flight: u32, ready: u32, starting: u32) -> Observation {
        Observation { t, queue_depth, in_flight, ready, starting, ..Observation::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_up_forgives_what_binary_fractions_add() {
        let cases = [(2.1 / 0.7, 3), (3.01, 4), (0.0, 0), (-1.0, 0), (f64::INFINITY, u32::MAX), (f64::NAN, 0)];
        for (agents, whole_agents) in cases {
            assert_eq!(whole(agents), whole_agents, "{agents}");
        }
    }

    #[test]
    fn a_bound_is_the_reason_only_where_it_is_in_the_way_of_the_need() {
        let limits = PolicyLimits { min: 2, max: 9, ..fixtures::LIMITS };
        let seen = fixtures::seen(0.0, 0, 0, 5, 0);
        let reason = |need, wanted| {
            let made = decision("rule", &limits, &seen, need, wanted, ReasonCode::Stabilizing, String::new());
            (made.desired, made.reason)
        };
        let (bounded, hold) = (ReasonCode::Bounded, ReasonCode::Stabilizing);
        assert_eq!([reason(9.2, 10), reason(8.9, 12), reason(0.3, 1)], [(9, bounded), (9, hold), (2, bounded)]);
    }

    #[test]
    fn looks_in_between_do_not_count() {
        let mut timer = EvaluationTimer::new(15.0);
        let due: Vec<bool> = [0.0, 1.0, 14.0, 14.9, 15.2, 29.8, 30.0].map(|t| timer.due(t)).to_vec();
        assert_eq!(due, [true, false, false, true, false, true, false]);
    }

    #[test]
    fn ranges_name_policy_key_value_and_remedy() {
        let text = Check("keda").target("target", 0.0).expect_err("0 tasks an agent").to_string();
        assert_eq!(text, "policy `keda`: `target` is 0, allowed is above 0 and at most 100");
        assert!(Check("keda").seconds("polling_interval_s", f64::NAN).is_err());
        assert!(Check("keda").delay("hold", 0.0).is_ok() && Check("keda").delay("hold", 3601.0).is_err());
    }
}
