//! Decisions between two ticks, as the running service makes them.

use forerunner_forecast::{Cause, DEBOUNCE_S, Decision, EventDetector, Observation, RecentServiceTime};

/// Detects what the service would detect, and returns when that would trigger a decision.
#[derive(Debug, Clone)]
pub(crate) struct Nudges {
    detector: EventDetector,
    service_time: RecentServiceTime,
    decided_at: f64,
    due: Option<f64>,
}

impl Nudges {
    pub fn new() -> Self {
        Self {
            detector: EventDetector::new(),
            service_time: RecentServiceTime::default(),
            decided_at: f64::NEG_INFINITY,
            due: None,
        }
    }

    /// A task arrived at `t`.
    pub fn arrived(&mut self, t: f64) {
        let trigger = self.detector.on_arrival(t);
        self.nudge(t, trigger);
    }

    /// A task ended on its agent at `t`.
    pub fn completed(&mut self, t: f64, service_s: f64) {
        let trigger = self.detector.on_completion(t, service_s);
        self.nudge(t, trigger);
    }

    /// So many tasks wait at `t`, and so many agents are idle.
    pub fn observe(&mut self, t: f64, depth: u32, idle: u32) {
        let trigger = self.detector.on_state(t, depth, idle);
        self.nudge(t, trigger);
    }

    /// When something is to be done next, if anything is.
    pub fn next(&self) -> Option<f64> {
        [self.due, self.detector.due_at()].into_iter().flatten().reduce(f64::min)
    }

    /// Returns whether to decide, at the time of [`next`](Self::next).
    pub fn wake(&mut self, t: f64) -> bool {
        if self.detector.due_at().is_some_and(|due| due <= t) {
            let trigger = self.detector.poll(t);
            self.nudge(t, trigger);
        }
        self.due.take_if(|due| *due <= t).is_some()
    }

    /// Notes a decision at `t`.
    pub fn decided(&mut self, t: f64, seen: &Observation, decision: &Decision) {
        self.decided_at = t;
        let Some(forecast) = decision.forecast else { return };
        let recent_s = self.service_time.follow(seen.completions, seen.mean_service_s, forecast.service_s);
        self.detector.expect(forecast.rate_per_s, recent_s);
    }

    /// One decision answers all nudges of a pause.
    fn nudge(&mut self, t: f64, trigger: Option<Cause>) {
        if trigger.is_some() {
            self.due.get_or_insert(t.max(self.decided_at + DEBOUNCE_S));
        }
    }
}

#[cfg(test)]
mod tests {
    use forerunner_forecast::{Forecast, ReasonCode};

    use super::*;

    fn decision() -> Decision {
        let forecast = Forecast { rate_per_s: 1.0, service_s: 1.0, ..Forecast::default() };
        Decision {
            desired: 1,
            need: 1.0,
            reason: ReasonCode::Steady,
            detail: String::new(),
            rule: "none".into(),
            forecast: Some(forecast),
        }
    }

    #[test]
    fn a_backlog_is_answered_at_once_or_a_tenth_of_a_second_after_the_last_decision() {
        let mut nudges = Nudges::new();
        nudges.observe(5.0, 1, 0);
        assert_eq!(nudges.next(), Some(5.0));
        assert!(nudges.wake(5.0) && nudges.next().is_none());
        nudges.decided(5.0, &Observation::default(), &decision());
        // It has doubled, within the time that separates two triggers.
        nudges.observe(5.05, 2, 0);
        assert_eq!(nudges.next(), Some(5.1));
        assert!(nudges.wake(5.1));
    }

    #[test]
    fn more_arrivals_than_expected_are_a_surge() {
        let mut nudges = Nudges::new();
        nudges.decided(0.0, &Observation::default(), &decision());
        (0..10).for_each(|i| nudges.arrived(1.0 + 0.01 * f64::from(i)));
        assert!(nudges.next().is_some_and(|due| (1.0..1.1).contains(&due)), "{nudges:?}");
    }
}
