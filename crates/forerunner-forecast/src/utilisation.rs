//! The reactive rule: one agent more when most are busy, one fewer when few are.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Decision, Error, Observation, Policy, PolicyLimits, ReasonCode};

/// Settings of [`Utilisation`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UtilisationSettings {
    /// Above this share of busy agents the pool grows by one, in (0, 1].
    pub scale_up_threshold: f64,
    /// Below this share it shrinks by one, in [0, 1) and below `scale_up_threshold`.
    pub scale_down_threshold: f64,
    /// Seconds between two evaluations, above 0.
    pub interval_s: f64,
    /// Whether nothing is decided while an agent is starting, as by a loop that awaits each start.
    pub await_start: bool,
    /// Whether agents that are starting count as agents when the share of busy ones is taken.
    pub count_starting: bool,
}

impl Default for UtilisationSettings {
    fn default() -> Self {
        Self {
            scale_up_threshold: 0.7,
            scale_down_threshold: 0.2,
            interval_s: 1.0,
            await_start: false,
            count_starting: true,
        }
    }
}

impl UtilisationSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |key, value, allowed| Err(Error::Setting { policy: "utilisation", key, value, allowed });
        let (up, down) = (self.scale_up_threshold, self.scale_down_threshold);
        if !(up > 0.0 && up <= 1.0) {
            return wrong("scale_up_threshold", up, "above 0 and at most 1");
        }
        if !(0.0..up).contains(&down) {
            return wrong("scale_down_threshold", down, "at least 0 and below scale_up_threshold");
        }
        if !(self.interval_s > 0.0 && self.interval_s.is_finite()) {
            return wrong("interval_s", self.interval_s, "above 0");
        }
        Ok(())
    }
}

/// Grows by one above an upper share of busy agents and shrinks by one below a lower share, at most once an interval.
///
/// Agents that are starting count as agents, unless set otherwise, so it does not ask again for agents that start.
/// Which idle agent goes is the pool's choice. It is a baseline, and suits pools whose load hardly changes: it sees
/// neither arrivals nor the queue.
#[derive(Debug, Clone)]
pub struct Utilisation {
    settings: UtilisationSettings,
    limits: PolicyLimits,
    desired: Option<u32>,
    evaluated_at: f64,
}

impl Utilisation {
    /// Makes the rule from checked settings.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn new(settings: UtilisationSettings, limits: PolicyLimits) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self { settings, limits, desired: None, evaluated_at: f64::NEG_INFINITY })
    }
}

impl Policy for Utilisation {
    fn name(&self) -> &'static str {
        "utilisation"
    }

    fn interval_s(&self) -> f64 {
        self.settings.interval_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let total = seen.size();
        let busy = seen.in_flight.saturating_sub(seen.draining);
        let counted = if self.settings.count_starting { total } else { total - seen.starting };
        let share = if counted == 0 { 0.0 } else { f64::from(busy) / f64::from(counted) };
        let may_evaluate = !self.settings.await_start || seen.starting == 0;
        // An evaluation asked for by an event must not make the steps come faster than the interval. Half of one
        // allows for a timer that fires a little early.
        let due = may_evaluate && seen.t - self.evaluated_at >= 0.5 * self.settings.interval_s;
        let wanted = match self.desired {
            Some(desired) if !due => desired,
            _ if total == 0 && seen.queue_depth > 0 => 1,
            _ if share > self.settings.scale_up_threshold => total.saturating_add(1),
            // While tasks wait, an agent that is still starting must not be given up for being idle.
            _ if share < self.settings.scale_down_threshold && seen.queue_depth == 0 => total.saturating_sub(1),
            _ => total,
        };
        if due {
            self.evaluated_at = seen.t;
        }
        let desired = self.limits.clamp(wanted);
        let before = self.desired.replace(desired).unwrap_or(total);
        let reason = match () {
            () if desired != wanted => ReasonCode::Bounded,
            () if desired != before || desired != total => ReasonCode::Utilisation,
            () => ReasonCode::Steady,
        };
        Decision {
            desired,
            need: f64::from(wanted),
            reason,
            detail: format!(
                "{busy} of {total} busy ({:.0} %; up above {:.0} %, down below {:.0} %): {wanted} wanted",
                100.0 * share,
                100.0 * self.settings.scale_up_threshold,
                100.0 * self.settings.scale_down_threshold,
            ),
            rule: Cow::Borrowed("utilisation"),
            forecast: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Objective;

    fn rule() -> Utilisation {
        let limits = PolicyLimits { min: 1, max: 10, cold_start_s: 1.0, tick_s: 1.0, objective: Objective::default() };
        Utilisation::new(UtilisationSettings::default(), limits).expect("defaults are in range")
    }

    fn seen(t: f64, in_flight: u32, ready: u32, starting: u32) -> Observation {
        Observation { t, in_flight, ready, starting, ..Observation::default() }
    }

    #[test]
    fn one_step_at_a_time_between_the_thresholds() {
        // busy, idle, starting and the size wanted: above 70 % up, below 20 % down, starting agents count.
        for (busy, idle, starting, desired) in [
            (8, 1, 0, 10),
            (7, 3, 0, 10),
            (7, 2, 0, 10),
            (1, 3, 0, 4),
            (1, 5, 0, 5),
            (0, 4, 0, 3),
            (5, 0, 3, 8),
            (0, 1, 0, 1),
        ] {
            assert_eq!(rule().decide(&seen(0.0, busy, idle, starting)).desired, desired, "{busy} {idle} {starting}");
        }
    }

    #[test]
    fn an_event_in_between_does_not_step_again() {
        let mut rule = rule();
        assert_eq!(rule.decide(&seen(0.0, 4, 0, 0)).desired, 5);
        assert_eq!(rule.decide(&seen(0.1, 4, 0, 1)).desired, 5);
        assert_eq!(rule.decide(&seen(0.2, 5, 0, 0)).desired, 5);
        assert_eq!(rule.decide(&seen(1.0, 5, 0, 0)).desired, 6);
    }

    #[test]
    fn an_empty_pool_with_a_queue_gets_an_agent() {
        let limits = PolicyLimits { min: 0, max: 10, cold_start_s: 1.0, tick_s: 1.0, objective: Objective::default() };
        let mut rule = Utilisation::new(UtilisationSettings::default(), limits).expect("in range");
        let waiting = Observation { queue_depth: 3, ..Observation::default() };
        assert_eq!(rule.decide(&waiting).desired, 1);
        assert_eq!(rule.decide(&Observation { t: 1.0, starting: 1, ..waiting }).desired, 1, "kept while it starts");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = UtilisationSettings { scale_down_threshold: 0.8, ..UtilisationSettings::default() };
        let text = wrong.check().expect_err("0.8 is above 0.7").to_string();
        assert!(text.contains("scale_down_threshold") && text.contains("0.8"), "{text}");
    }

    #[test]
    fn awaiting_a_start_asks_for_one_at_a_time_and_not_counting_starts_asks_again() {
        let limits = PolicyLimits { min: 1, max: 10, cold_start_s: 1.0, tick_s: 1.0, objective: Objective::default() };
        // Four of four busy, one starting: 80 % with it, 100 % without.
        for (await_start, count_starting, desired) in [(false, true, 6), (false, false, 6)] {
            let settings = UtilisationSettings { await_start, count_starting, ..UtilisationSettings::default() };
            let mut rule = Utilisation::new(settings, limits).expect("in range");
            assert_eq!(rule.decide(&seen(0.0, 4, 0, 1)).desired, desired, "{settings:?}");
        }
        let settings = UtilisationSettings { await_start: true, ..UtilisationSettings::default() };
        let mut rule = Utilisation::new(settings, limits).expect("in range");
        let sizes = [(0.0, 4, 0), (1.0, 4, 1), (2.0, 4, 1), (3.0, 5, 0)];
        let sizes = sizes.map(|(t, busy, starting)| rule.decide(&seen(t, busy, 0, starting)).desired);
        assert_eq!(sizes, [5, 5, 5, 6], "the next look is when the start is over");
        // Five starting: 44 % with them is no reason to grow, 100 % without is.
        for (count_starting, desired) in [(true, 9), (false, 10)] {
            let settings = UtilisationSettings { count_starting, ..UtilisationSettings::default() };
            let mut rule = Utilisation::new(settings, limits).expect("in range");
            assert_eq!(rule.decide(&seen(0.0, 4, 0, 5)).desired, desired, "{settings:?}");
        }
    }
}
