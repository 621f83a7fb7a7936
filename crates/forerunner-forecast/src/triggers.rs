//! Events that call for a decision before the next tick: a surge, a backlog, a lost agent, a shift of the service time.

use serde::{Deserialize, Serialize};

use crate::sizing::normal_quantile;

/// Least seconds between two triggers.
pub const DEBOUNCE_S: f64 = 0.1;

/// Arrivals are counted over the running and the previous slot of this many seconds.
const SLOT_S: f64 = 0.25;
/// Chance of a false alarm per pair of slots under Poisson arrivals at the expected rate.
const IMPROBABLE: f64 = 1e-5;
/// A surge is at least this much above what was expected: at high rates real traffic scatters more than Poisson.
const SURGE_RATIO: f64 = 1.5;
/// Durations that a shift is read from.
const SHIFT_TASKS: usize = 16;
/// Standard errors and share by which their mean must differ.
const SHIFT_SIGMAS: f64 = 3.0;
const SHIFT_SHARE: f64 = 0.25;

/// Completions that the recent service time is averaged over.
const RECENT_TASKS: f64 = 64.0;

/// Recent mean seconds on an agent: the baseline of a shift.
///
/// It is what was seen and not what is forecast: a trend that goes on as expected is no sharp change.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RecentServiceTime(Option<f64>);

impl RecentServiceTime {
    /// Records the durations of the tasks that completed since the last call, and returns the mean. It begins at
    /// `forecast_s`.
    pub fn follow(&mut self, completions: u64, mean_service_s: Option<f64>, forecast_s: f64) -> f64 {
        let recent_s = self.0.get_or_insert(forecast_s);
        if let Some(mean_s) = mean_service_s {
            *recent_s += (mean_s - *recent_s) * (completions as f64 / RECENT_TASKS).min(1.0);
        }
        *recent_s
    }
}

/// What makes a decision due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The policy's own rhythm.
    Tick,
    /// Arrivals exceed the forecast.
    Surge,
    /// Tasks wait and no agent is ready.
    Backlog,
    /// An agent ended unexpectedly.
    AgentLost,
    /// Tasks take suddenly longer or shorter.
    ServiceShift,
    /// The pool's settings changed.
    Settings,
}

impl Cause {
    /// Returns the name used in JSON, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Surge => "surge",
            Self::Backlog => "backlog",
            Self::AgentLost => "agent_lost",
            Self::ServiceShift => "service_shift",
            Self::Settings => "settings",
        }
    }
}

/// Watches single events for a picture that no longer fits the last forecast.
///
/// Fed on every task, so each call is a handful of instructions and none allocates. After a trigger the caller asks the
/// policy, and passes the new expectation to [`EventDetector::expect`]; until then the same kind of event does not
/// trigger again. A trigger within 100 ms of the last is returned by the first call after that.
#[derive(Debug, Clone)]
pub struct EventDetector {
    slot_end: f64,
    current: u32,
    previous: u32,
    improbable: u32,
    durations: [f64; SHIFT_TASKS],
    next: usize,
    filled: usize,
    sum: f64,
    /// Decayed mean and variance of the durations; `None` before the first.
    mean: f64,
    variance: Option<f64>,
    /// Bounds of the mean of the last durations that still fit.
    service_bounds: (f64, f64),
    /// Depth at which a backlog is news: 1, then twice the depth last reported.
    backlog_at: u32,
    quiet_until: f64,
    waiting: Option<Cause>,
}

impl EventDetector {
    /// Makes a detector that expects nothing: silent about arrivals and pace until [`EventDetector::expect`].
    pub fn new() -> Self {
        Self {
            slot_end: f64::NEG_INFINITY,
            current: 0,
            previous: 0,
            improbable: u32::MAX,
            durations: [0.0; SHIFT_TASKS],
            next: 0,
            filled: 0,
            sum: 0.0,
            mean: 0.0,
            variance: None,
            service_bounds: (f64::NEG_INFINITY, f64::INFINITY),
            backlog_at: 1,
            quiet_until: f64::NEG_INFINITY,
            waiting: None,
        }
    }

    /// Sets what is normal now: arrivals per second and mean seconds on an agent, as in a [`Forecast`](crate::Forecast).
    ///
    /// Call after each decision, with its forecast. Values that are not finite switch the check off.
    pub fn expect(&mut self, rate_per_s: f64, service_s: f64) {
        let mean = (rate_per_s * 2.0 * SLOT_S).max(0.0);
        self.improbable = improbable_count(mean);
        let sd_s = self.variance.map_or(service_s, f64::sqrt);
        let margin = (SHIFT_SIGMAS * sd_s / (SHIFT_TASKS as f64).sqrt()).max(SHIFT_SHARE * service_s);
        self.service_bounds = if margin.is_finite() {
            (service_s - margin, service_s + margin)
        } else {
            (f64::NEG_INFINITY, f64::INFINITY)
        };
    }

    /// Counts a task that became due at `t` seconds.
    #[inline]
    pub fn on_arrival(&mut self, t: f64) -> Option<Cause> {
        if t >= self.slot_end {
            self.turn_slot(t);
        }
        self.current += 1;
        if self.current.saturating_add(self.previous) < self.improbable {
            return None;
        }
        // A surge is reported once: a new one is counted from here.
        (self.current, self.previous) = (0, 0);
        self.improbable = u32::MAX;
        self.raise(t, Cause::Surge)
    }

    /// Counts a task that left its agent at `t` after `service_s` seconds.
    #[inline]
    pub fn on_completion(&mut self, t: f64, service_s: f64) -> Option<Cause> {
        if !service_s.is_finite() {
            return None;
        }
        self.learn_spread(service_s);
        self.sum += service_s - self.durations[self.next];
        self.durations[self.next] = service_s;
        self.next = (self.next + 1) % SHIFT_TASKS;
        if self.next == 0 {
            // Summed afresh once a round, so that rounding does not add up over a billion tasks.
            self.sum = self.durations.iter().sum();
        }
        self.filled = (self.filled + 1).min(SHIFT_TASKS);
        let mean = self.sum / SHIFT_TASKS as f64;
        if self.filled < SHIFT_TASKS || (self.service_bounds.0 <= mean && mean <= self.service_bounds.1) {
            return None;
        }
        // Only tasks from here on can be news again.
        (self.durations, self.next, self.filled, self.sum) = ([0.0; SHIFT_TASKS], 0, 0, 0.0);
        self.service_bounds = (f64::NEG_INFINITY, f64::INFINITY);
        self.raise(t, Cause::ServiceShift)
    }

    /// Checks how many tasks wait and how many agents are idle at `t`.
    ///
    /// A backlog is news when it forms, and each time it has doubled.
    #[inline]
    pub fn on_state(&mut self, t: f64, depth: u32, ready: u32) -> Option<Cause> {
        if depth == 0 || ready > 0 {
            self.backlog_at = 1;
            return self.poll(t);
        }
        if depth < self.backlog_at {
            return self.poll(t);
        }
        self.backlog_at = depth.saturating_mul(2);
        self.raise(t, Cause::Backlog)
    }

    /// Reports that an agent was lost at `t`.
    pub fn on_agent_lost(&mut self, t: f64) -> Option<Cause> {
        self.raise(t, Cause::AgentLost)
    }

    /// Hands out a trigger that came too soon after another, once its time has come.
    #[inline]
    pub fn poll(&mut self, t: f64) -> Option<Cause> {
        if self.waiting.is_none() || t < self.quiet_until {
            return None;
        }
        self.quiet_until = t + DEBOUNCE_S;
        self.waiting.take()
    }

    /// When a delayed trigger is due, in seconds; `None` if there is none. For a timer of the caller.
    pub fn due_at(&self) -> Option<f64> {
        self.waiting.map(|_| self.quiet_until)
    }

    fn raise(&mut self, t: f64, trigger: Cause) -> Option<Cause> {
        self.waiting.get_or_insert(trigger);
        self.poll(t)
    }

    /// Exponentially weighted mean and variance over some hundred tasks (Finch 2009, "Incremental calculation of weighted
    /// mean and variance", §9).
    fn learn_spread(&mut self, service_s: f64) {
        const WEIGHT: f64 = 0.01;
        let Some(variance) = self.variance else {
            // One duration is no evidence of the spread; as much as the mean is that of exponential durations.
            (self.mean, self.variance) = (service_s, Some(service_s * service_s));
            return;
        };
        let off = service_s - self.mean;
        self.mean += WEIGHT * off;
        self.variance = Some((1.0 - WEIGHT) * (variance + WEIGHT * off * off));
    }

    #[cold]
    fn turn_slot(&mut self, t: f64) {
        let adjacent = t < self.slot_end + SLOT_S;
        self.previous = if adjacent { self.current } else { 0 };
        self.current = 0;
        self.slot_end = if adjacent { self.slot_end + SLOT_S } else { t + SLOT_S };
    }
}

impl Default for EventDetector {
    fn default() -> Self {
        Self::new()
    }
}

/// Least count that Poisson arrivals with this mean reach with a chance below 1e-5, and half as many again as expected.
///
/// `u32::MAX`, never, for a mean that is not finite. Exact tail for small means, else the normal quantile with the
/// Cornish-Fisher term for skewness, `m + z sqrt m + (z^2 - 1) / 6`.
fn improbable_count(mean: f64) -> u32 {
    if !mean.is_finite() {
        return u32::MAX;
    }
    let least = if mean < 30.0 {
        let (mut k, mut term, mut below) = (0u32, (-mean).exp(), 0.0);
        while 1.0 - below > IMPROBABLE && k < 200 {
            below += term;
            k += 1;
            term *= mean / f64::from(k);
        }
        f64::from(k)
    } else {
        let z = normal_quantile(1.0 - IMPROBABLE);
        mean + z * mean.sqrt() + (z * z - 1.0) / 6.0
    };
    least.max(SURGE_RATIO * mean).ceil().max(3.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn improbable_counts_match_the_poisson_table() {
        // P(Poisson(1) >= 9) = 1.1e-6 and P(>= 8) = 1.0e-5 (rounded up: 1.02e-5); P(Poisson(0) >= 1) = 0, but 3 at least.
        for (mean, count) in [(0.0, 3), (1.0, 9), (1e6, 1_500_000)] {
            assert_eq!(improbable_count(mean), count, "{mean}");
        }
        assert_eq!(improbable_count(f64::NAN), u32::MAX);
    }

    #[test]
    fn a_surge_is_reported_once_until_a_new_expectation() {
        let mut detector = EventDetector::new();
        detector.expect(2.0, 1.0);
        let burst: Vec<_> = (0..50).filter_map(|i| detector.on_arrival(10.0 + f64::from(i) * 0.004)).collect();
        assert_eq!(burst, [Cause::Surge]);
        detector.expect(2.0, 1.0);
        assert!((0..50).any(|i| detector.on_arrival(11.0 + f64::from(i) * 0.004).is_some()));
    }

    #[test]
    fn arrivals_at_the_expected_rate_are_no_surge() {
        let mut detector = EventDetector::new();
        detector.expect(100.0, 1.0);
        assert!((0..10_000).all(|i| detector.on_arrival(f64::from(i) * 0.01).is_none()));
    }

    #[test]
    fn a_backlog_is_news_when_it_forms_and_when_it_doubles() {
        let mut detector = EventDetector::new();
        // Depth, ready agents and the trigger; one second apart.
        let story = [
            (0, 2, None),
            (1, 1, None),
            (1, 0, Some(Cause::Backlog)),
            (1, 0, None),
            (2, 0, Some(Cause::Backlog)),
            (3, 0, None),
            (4, 0, Some(Cause::Backlog)),
            (0, 0, None),
            (1, 0, Some(Cause::Backlog)),
        ];
        for (i, (depth, ready, trigger)) in story.into_iter().enumerate() {
            assert_eq!(detector.on_state(i as f64, depth, ready), trigger, "step {i}");
        }
    }

    #[test]
    fn triggers_are_a_tenth_of_a_second_apart_and_none_is_lost() {
        let mut detector = EventDetector::new();
        assert_eq!(detector.on_agent_lost(1.0), Some(Cause::AgentLost));
        assert_eq!(detector.on_agent_lost(1.05), None);
        assert_eq!(detector.due_at(), Some(1.1));
        assert_eq!(detector.poll(1.09), None);
        assert_eq!(detector.poll(1.2), Some(Cause::AgentLost));
        assert_eq!(detector.poll(2.0), None);
    }

    #[test]
    fn the_recent_service_time_follows_what_was_seen() {
        let mut recent = RecentServiceTime::default();
        assert_eq!(recent.follow(0, None, 4.0), 4.0, "nothing was seen");
        assert_eq!(recent.follow(32, Some(6.0), 9.0), 5.0, "half of what it is averaged over");
        assert_eq!(recent.follow(1_000, Some(2.0), 9.0), 2.0);
    }

    #[test]
    fn slower_tasks_are_reported_and_equal_ones_are_not() {
        let mut detector = EventDetector::new();
        detector.expect(1.0, 4.0);
        assert!((0..500).all(|i| detector.on_completion(f64::from(i), 4.0 + f64::from(i % 3) * 0.2).is_none()));
        detector.expect(1.0, 4.0);
        let triggers: Vec<_> = (0..100).filter_map(|i| detector.on_completion(600.0 + f64::from(i), 6.0)).collect();
        assert_eq!(triggers, [Cause::ServiceShift]);
    }
}
